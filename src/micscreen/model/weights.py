"""Named weights: where they lie, that they are the right ones, and what they expect.

The weights that ship are ONNX files in ``model/data``; ``models.json`` beside them names them and
holds their sha256. After new weights were put there::

    python -m micscreen.model.weights src/micscreen/model/data/micscreen-1.onnx
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from micscreen.errors import ModelError
from micscreen.picks import CLASS_NAMES

DATA: Final = Path(__file__).parent / "data"
INDEX: Final = "models.json"
METADATA_KEY: Final = "micscreen"
"""Under which an ONNX file says, as JSON, what is read by `spec_from`."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What weights are, and what they expect.

    Attributes
    ----------
    name, version
        Of the weights.
    classes
        Names of the output channels, in order; the first is good.
    box_px
        Side of the particle box at which the network looks, px.
    normalisation
        Name of the recipe that turns a picture into channels.
    margin
        Reflection around the picture, px.
    multiple
        Of which height and width must be multiples.
    contrast
        `dark`: particles are dark on bright in what the network gets; `any`: as they come.
    sha256
        Of the file.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    box_px: float
    normalisation: str
    margin: int
    multiple: int
    contrast: str
    sha256: str


def spec_from(metadata: Mapping[str, str], path: Path) -> ModelSpec:
    """Read what weights expect from an ONNX file's metadata.

    Parameters
    ----------
    metadata
        The file's metadata; `METADATA_KEY` holds JSON.
    path
        The file, for its sha256 and for errors.

    Raises
    ------
    ModelError
        When there is none, when it is garbled, or when the weights were made for other classes or
        another normalisation than this version of micscreen has.
    """
    hint = "Give an ONNX file that micscreen's training exported, or leave --model away."
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError("this ONNX file does not say what it expects", where=path, hint=hint)
    try:
        about: dict[str, Any] = json.loads(text)
        spec = ModelSpec(
            name=str(about["name"]),
            version=str(about["version"]),
            classes=tuple(about["classes"]),
            box_px=float(about["box_px"]),
            normalisation=str(about["normalisation"]),
            margin=int(about["margin"]),
            multiple=int(about["multiple"]),
            contrast=str(about["contrast"]),
            sha256=sha256_of(path),
        )
    except (ValueError, TypeError, KeyError) as error:
        what = f"what this ONNX file says about itself is garbled ({error!r})"
        raise ModelError(what, where=path, hint=hint) from error
    _check(spec, path)
    return spec


def _check(spec: ModelSpec, path: Path) -> None:
    """Raise ModelError, naming everything, when this version cannot use the weights."""
    from micscreen.preprocess import IQR_NORMALISATION, NORMALISATION

    wrong = []
    if spec.classes != CLASS_NAMES:
        wrong.append(f"its classes are {', '.join(spec.classes)}")
    if spec.normalisation not in (NORMALISATION, IQR_NORMALISATION):
        wrong.append(f"its normalisation is {spec.normalisation}, not {NORMALISATION}")
    if spec.contrast != ("any" if spec.normalisation == IQR_NORMALISATION else "dark"):
        wrong.append(f"it expects {spec.contrast} particles")
    if not (spec.box_px > 0 and spec.margin >= 0 and spec.multiple >= 1):
        wrong.append(f"box {spec.box_px} px, margin {spec.margin}, multiple {spec.multiple}")
    if wrong:
        raise ModelError(
            f"this version of micscreen cannot use these weights: {'; '.join(wrong)}",
            where=path,
            hint="Use weights and micscreen of the same release.",
        )


def model_path(model: str = "default") -> Path:
    """Return the file of named weights, or of an ONNX file that is given by its path.

    Raises
    ------
    ModelError
        When there is no such name or file, or a packaged file is not what it was when released.
    """
    index = _index()
    name = index["default"] if model == "default" else model
    if name in index["models"]:
        return _packaged(index["models"][name])
    given = Path(model).expanduser()
    if given.is_file():
        return given
    names = ", ".join(["default", *index["models"]])
    raise ModelError(
        "there are no weights of this name, and no such file",
        where=model,
        hint=f"Known names: {names}. Or give the path of an ONNX file.",
    )


def int8_twin(path: Path) -> Path | None:
    """Return the int8 form of packaged weights, which is for CPUs; None when there is none.

    Raises
    ------
    ModelError
        When it is not what it was when released.
    """
    for entry in _index()["models"].values():
        twin = entry.get("int8")
        if twin and path == DATA / entry["file"]:
            return _packaged(twin)
    return None


def _packaged(entry: Mapping[str, Any]) -> Path:
    """Return the path of a packaged file; ModelError when it is not what it was when released."""
    path: Path = DATA / entry["file"]
    if not path.is_file() or sha256_of(path) != entry["sha256"]:
        raise ModelError(
            "the packaged weights are missing or damaged",
            where=path,
            hint="Install again: pip install --force-reinstall micscreen",
        )
    return path


def model_card(name: str, sha256: str) -> str:
    """Return the card of packaged weights as Markdown; empty for weights that are not these.

    Parameters
    ----------
    name, sha256
        Of the weights, as a job has noted them.
    """
    known = [e for e in _index()["models"].values() if e["sha256"] == sha256]
    path = DATA / f"{Path(known[0]['file']).stem if known else name}.md"
    return path.read_text() if known and path.is_file() else ""


def _index() -> dict[str, Any]:
    """Return the table of packaged weights; empty when none were registered."""
    path = DATA / INDEX
    if not path.is_file():
        return {"default": "", "models": {}}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def register(path: Path) -> None:
    """Write weights that lie in the package into `models.json`, as the default ones.

    Their int8 twin, when it lies beside them, goes with them.
    """
    index = _index()
    files = {"": path.name, "int8": f"{path.stem}-int8.onnx"}
    about = {
        kind: {"file": file, "sha256": sha256_of(DATA / file)}
        for kind, file in files.items()
        if (DATA / file).is_file()
    }
    index["models"][path.stem] = about.pop("") | about
    index["default"] = path.stem
    (DATA / INDEX).write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        register(Path(argument))
