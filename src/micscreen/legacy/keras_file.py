"""What a Keras model file holds: its description and its numbers, without Keras.

Files come from anywhere, so nothing in them is run: the description is JSON, the numbers are plain
HDF5 arrays, archives are read in memory and never unpacked, and every size is checked before
anything of that size is read.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MissingDependencyError, ModelError

MAX_BYTES: Final = 1 << 30
"""No model, packed or unpacked, is larger; MicrographCleaner's takes 127 MiB."""

MAX_CONFIG: Final = 16 << 20
"""Bytes of a model's description."""

MAX_MEMBERS: Final = 1000
"""Files that are looked at in an archive."""

HINT: Final = (
    "Give the Keras model as it was published: .h5, .keras, or the .tgz with one of them in it."
)

Weights = dict[str, list[NDArray[np.float32]]]
"""Layer name -> its arrays, in Keras's order."""


@dataclass(frozen=True, slots=True, eq=False)
class KerasFile:
    """A model as a file holds it.

    Attributes
    ----------
    config
        Keras's description of the model: ``class_name`` and ``config``.
    weights
        Arrays per layer.
    version
        Of the Keras that wrote it, empty when the file does not say.
    inside
        Name of the model in the archive that held it, empty when there was none.
    """

    config: dict[str, Any]
    weights: Weights
    version: str
    inside: str = ""


def read_keras(path: Path) -> KerasFile:
    """Read a Keras model from .h5, .keras, or a tar archive, packed or not, with one of them in it.

    What a file is is told from its first bytes, not its name: MicrographCleaner's own download
    leaves a tar archive under the name ``defaultModel.h5``.

    Raises
    ------
    ModelError
        When the file is none of these, is damaged, larger than `MAX_BYTES`, or points elsewhere.
    MissingDependencyError
        When h5py is not installed.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"larger than {MAX_BYTES >> 20} MiB", where=path, hint=HINT)
        return _read(path.read_bytes(), path)
    except (
        OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RecursionError,
        zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        raise ModelError(f"cannot be read ({error})", where=path, hint=HINT) from error


def _read(data: bytes, path: Path, inside: str = "", depth: int = 0) -> KerasFile:
    """Read a model from the bytes of a file, or of a member of an archive."""
    where = f"{path}: {inside}" if inside else str(path)
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return _from_hdf5(data, where, inside)
    if data.startswith(b"PK\x03\x04"):
        return _from_zip(data, where, inside)
    if depth < 3 and data.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return _read(_limited(file, where), path, inside, depth + 1)
    if depth < 3 and data[257:262] == b"ustar":
        name, member = _from_tar(data, where)
        return _read(member, path, name, depth + 1)
    raise ModelError("no Keras model (neither HDF5 nor a .keras archive)", where=where, hint=HINT)


def _limited(file: IO[bytes] | gzip.GzipFile, where: str, limit: int = MAX_BYTES) -> bytes:
    """Read a stream that may unpack to anything."""
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ModelError(f"unpacks to more than {limit >> 20} MiB", where=where, hint=HINT)
    return data


def _from_tar(data: bytes, where: str) -> tuple[str, bytes]:
    """Return name and bytes of the one model in a tar archive; nothing is unpacked to disk."""
    found: list[tuple[str, bytes]] = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for _ in range(MAX_MEMBERS):
            member = archive.next()
            if member is None:
                break
            model = member.name.lower().endswith((".h5", ".hdf5", ".keras"))
            if not (model and member.isreg()) or Path(member.name).name.startswith("."):
                continue
            file = archive.extractfile(member)
            assert file is not None
            found.append((member.name, _limited(file, where)))
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise ModelError(f"one .h5 or .keras file was expected inside, not: {names}", where=where)
    return found[0]


def _from_zip(data: bytes, where: str, inside: str) -> KerasFile:
    """Read Keras 3's archive: config.json, metadata.json, model.weights.h5."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        with archive.open("config.json") as file:
            config = json.loads(_limited(file, where, MAX_CONFIG))
        with archive.open("metadata.json") as file:
            version = str(json.loads(_limited(file, where, MAX_CONFIG)).get("keras_version", ""))
        with archive.open("model.weights.h5") as file:
            numbers = _limited(file, where)
    weights: Weights = {}
    with _open_hdf5(numbers) as file5:
        layers = _inside(file5, "layers", where)
        for key in layers:
            arrays = _inside(_inside(layers, key, where), "vars", where)
            name = _text(arrays.attrs.get("name", key))
            weights[name] = [
                _array(_inside(arrays, str(i), where), where) for i in range(len(arrays))
            ]
            _check_total(weights, where)
    return KerasFile(config, weights, version, inside)


def _from_hdf5(data: bytes, where: str, inside: str) -> KerasFile:
    """Read the old single file: the description in an attribute, arrays in groups per layer."""
    weights: Weights = {}
    with _open_hdf5(data) as file:
        text = file.attrs.get("model_config")
        if text is None:
            raise ModelError(
                "this file holds weights without the model they belong to", where=where, hint=HINT
            )
        config = json.loads(_text(text))
        root = _inside(file, "model_weights", where)
        for name in _names(root, "layer_names"):
            group = _inside(root, name, where)
            weights[name] = [
                _array(_inside(group, weight, where), where)
                for weight in _names(group, "weight_names")
            ]
            _check_total(weights, where)
        version = _text(file.attrs.get("keras_version", ""))
    return KerasFile(config, weights, version, inside)


def _check_total(weights: Weights, where: str) -> None:
    """Raise ModelError when all arrays together are too large: HDF5 can hold zeros in no space."""
    if sum(array.nbytes for arrays in weights.values() for array in arrays) > MAX_BYTES:
        raise ModelError(f"more than {MAX_BYTES >> 20} MiB of weights", where=where, hint=HINT)


def _open_hdf5(data: bytes) -> Any:
    """Open HDF5 in memory."""
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            "reading Keras models needs h5py", hint="pip install 'micscreen[keras]'"
        ) from error
    return h5py.File(io.BytesIO(data), "r")


def _inside(group: Any, name: str, where: str) -> Any:
    """Return a member of an HDF5 group, by hard links only: others lead to other files."""
    import h5py

    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ModelError(f"{name} is missing, or lies in another file", where=where, hint=HINT)
        group = group[part]
    return group


def _names(group: Any, attribute: str) -> Iterator[str]:
    """Return the names in an attribute, which Keras splits when it is too long for HDF5."""
    if attribute in group.attrs:
        yield from map(_text, group.attrs[attribute])
        return
    for i in range(MAX_MEMBERS):
        if f"{attribute}{i}" not in group.attrs:
            return
        yield from map(_text, group.attrs[f"{attribute}{i}"])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _array(dataset: Any, where: str) -> NDArray[np.float32]:
    """Read one array, of floats that lie in this very file."""
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ModelError("an array of the model lies in another file", where=where, hint=HINT)
    if dataset.dtype.kind != "f" or dataset.size * 4 > MAX_BYTES:
        raise ModelError(
            f"{dataset.name}: {dataset.dtype} of shape {dataset.shape} is no array of weights",
            where=where,
        )
    values = np.asarray(dataset[()], np.float32)
    if not np.isfinite(values).all():
        raise ModelError(f"{dataset.name} holds numbers that are not finite", where=where)
    return values
