"""What MicrographCleaner's `cleanMics` does, done by this package: folder in, folder out.

Its thresholds keep their direction: a pick goes when the mean of the mask in its box reaches the
threshold, so a SMALLER threshold rejects more. The scores that are written are 1 minus that mean.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.cleaning import CleanSettings, clean
from micscreen.errors import MicscreenError, UsageError
from micscreen.io import (
    PickTable,
    Selection,
    match,
    read_coordinates,
    read_mask,
    read_micrograph,
    write_mask,
    write_subset,
)
from micscreen.io.files import write_whole
from micscreen.legacy.keras_import import BOX_PX, import_keras
from micscreen.model.backend import Backend, open_backend
from micscreen.preprocess import enlarge
from micscreen.run.engine import Engine
from micscreen.run.find import find_micrographs, unique_names
from micscreen.score import score

ENDINGS: Final = (".txt", ".tab", ".pos", ".star")
IGNORED_SCORE: Final = -1.0
"""Score of every pick of a micrograph whose mask was not believed."""


@dataclass(frozen=True, slots=True)
class CleanMics:
    """What `cleanMics` was asked for; the names are its own.

    Attributes
    ----------
    micrographs
        Files, folders, patterns, or one .txt file with such lines.
    coordinates, output
        Folders; both or none.
    box_size
        px of the micrographs.
    down_factor
        By which coordinates are divided before anything else.
    deep_threshold
        Picks with a mean mask below it stay; None or 0 keeps all, with scores.
    size_threshold
        With a mean of the whole mask above it, the mask is not believed and all picks stay.
    masks
        Folder of masks; those that are there are used.
    downsample
        Makes the network look at a larger scale, by this factor.
    windows
        Predict by windows and rotations, as the old program.
    """

    micrographs: tuple[str, ...]
    coordinates: Path | None
    output: Path | None
    box_size: int
    down_factor: float = 1.0
    deep_threshold: float | None = None
    size_threshold: float = 0.8
    masks: Path | None = None
    downsample: int = 1
    windows: bool = False

    def __post_init__(self) -> None:
        if self.box_size < 1 or self.downsample < 1 or not 0 < self.down_factor < float("inf"):
            raise UsageError("must be above 0", where="-b, -s, --preproDownsampleMic")
        for name, value in (("--deepThr", self.deep_threshold), ("--sizeThr", self.size_threshold)):
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"must lie in 0..1, not {value}", where=name)
        if self.coordinates is None and self.masks is None:
            raise UsageError("give coordinates, a folder for masks, or both", where="-c and -p")
        if (self.coordinates is None) != (self.output is None):
            raise UsageError("give both or none", where="-c and -o")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one micrograph.

    Attributes
    ----------
    name
        Of the micrograph.
    kept, picked
        How many picks stay, of how many; None without coordinates.
    problem
        Why it failed; None when it did not.
    notes
        What the user should know.
    """

    name: str
    kept: int | None = None
    picked: int | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()


@contextmanager
def open_model(model: Path | None, device: str) -> Iterator[Backend]:
    """Open the packaged weights, an ONNX file, or a Keras model, converted for this run."""
    if model is None or model.suffix.lower() == ".onnx":
        yield open_backend("default" if model is None else model, device=device, threads=1)
        return
    if not model.is_file():
        raise UsageError("there is no such file", where=model)
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "model.onnx"
        import_keras(model, onnx)
        yield open_backend(onnx, device=device, threads=1)


def clean_mics(
    asked: CleanMics, backend: Backend, engine: Engine, tell: Callable[[Result], None]
) -> int:
    """Write masks and filtered coordinates, as asked; return how many micrographs failed.

    Every micrograph with coordinates gets its file, also when no pick stays.

    Raises
    ------
    UsageError
        When nothing is there to work on, or the output would lie on the input.
    """
    problems: list[str] = []
    paths = find_micrographs(_listed(asked.micrographs), problems)
    if problems:
        raise UsageError("\n".join(problems), where="-i")
    if asked.coordinates and asked.output and asked.coordinates.resolve() == asked.output.resolve():
        raise UsageError("the output would overwrite its own input", where="-o")
    files = _coordinate_files(asked.coordinates)
    known = [str(p.with_suffix(".tsv") if p.suffix.lower() == ".tab" else p) for p in files]
    paired = match([str(p) for p in paths], known)
    mine = {i: files[j] for i, j in paired.pairs}
    names = unique_names(paths)
    if asked.coordinates is not None and not mine:
        raise UsageError("no coordinates fit any micrograph by name", where=asked.coordinates)
    jobs = []
    for i, path in enumerate(paths):
        if asked.coordinates is None or i in mine:
            jobs.append((names[i], path, mine.get(i)))
        else:
            tell(Result(names[i], notes=("no coordinates for this micrograph",)))
    failed = 0
    for result in engine.map(lambda job: _one(*job, asked, backend), jobs):
        failed += result.problem is not None
        tell(result)
    return failed


def _listed(given: tuple[str, ...]) -> list[str]:
    """Return the patterns, read from a list when one .txt file was given."""
    if len(given) != 1 or not given[0].lower().endswith(".txt") or not Path(given[0]).is_file():
        return list(given)
    lines = (line.strip() for line in Path(given[0]).read_text().splitlines())
    return [str(Path(line).expanduser()) for line in lines if line and not line.startswith("#")]


def _coordinate_files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise UsageError("this is no folder", where=folder)
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and p.is_file())


def _one(
    name: str, path: Path, coordinates: Path | None, asked: CleanMics, backend: Backend
) -> Result:
    """Work on one micrograph; what goes wrong stands in the result."""
    try:
        mask, shape, notes = _mask(name, path, asked, backend)
        if coordinates is None or asked.output is None:
            return Result(name, notes=notes)
        table = _read(coordinates)
        if len(table.micrographs) > 1:
            raise UsageError("holds the picks of several micrographs", where=coordinates)
        rows = np.arange(len(table))
        picks = table.picks(rows, shape)
        x, y = picks.x / asked.down_factor, picks.y / asked.down_factor
        maps = np.zeros((6, *mask.shape), np.float32)
        maps[0], maps[1] = 1 - mask, mask
        placed = replace(picks, x=x, y=y, box_size=float(asked.box_size))
        goodness = score(placed, maps, shape).goodness
        assert goodness is not None
        keep = np.ones(len(table), np.bool_)
        if asked.deep_threshold and float(mask.mean()) > asked.size_threshold:
            goodness = np.full(len(table), IGNORED_SCORE, np.float32)
            notes += (f"more than {asked.size_threshold:.0%} is masked: all picks stay, score -1",)
        elif asked.deep_threshold:
            keep = goodness > np.float32(1 - asked.deep_threshold)
        moved = asked.down_factor != 1
        selection = Selection(
            keep, goodness, x=x if moved else None, y=y if moved else None,
            scale=1 / asked.down_factor,
        )  # fmt: skip
        _write(table, selection, asked.output)
    except (MicscreenError, OSError, MemoryError, ValueError) as error:
        return Result(name, problem=str(error) or type(error).__name__)
    return Result(name, int(keep.sum()), len(keep), notes=notes)


def _mask(
    name: str, path: Path, asked: CleanMics, backend: Backend
) -> tuple[NDArray[np.float32], tuple[int, int], tuple[str, ...]]:
    """Return the mask (h', w') at model scale, the micrograph's shape, and notes."""
    file = None if asked.masks is None else asked.masks / f"{name}.mrc"
    micrograph = read_micrograph(path)
    shape = micrograph.shape
    if file is not None and file.is_file():
        whole = read_mask(file)
        scale = BOX_PX / asked.box_size
        small = (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))
        return np.clip(enlarge(whole, small), 0, 1), shape, ("the mask was there already",)
    settings = CleanSettings(asked.box_size * asked.downsample, windows=asked.windows)
    found = clean(micrograph, None, backend, settings)
    if file is not None:
        write_mask(file, enlarge(found.contamination, shape), pixel_size=micrograph.pixel_size)
    return found.contamination, shape, (*found.notes, *found.suspect)


def _read(path: Path) -> PickTable:
    """Read coordinates; .tab is blanks between values, with a header or without."""
    if path.suffix.lower() != ".tab":
        return read_coordinates(path)
    first = path.read_text(errors="replace").split(maxsplit=1)[:1]
    number = bool(first) and first[0].lstrip("+-").replace(".", "", 1).isdigit()
    return read_coordinates(path, format="txt" if number else "tsv")


def _write(table: PickTable, selection: Selection, output: Path) -> None:
    """Write the kept rows under the input's name; text tables name the score as the old ones."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=output) as aside:
        for file in write_subset(table, selection, aside):
            text = file.read_bytes()
            if table.format in ("csv", "tsv"):
                header, end, rest = text.partition(b"\n")
                header = header.replace(b"goodness", b"goodRegionScore")
                text = header + end + rest
            write_whole(output / file.name, text)
