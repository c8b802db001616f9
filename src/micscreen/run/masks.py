"""Masks alone: what the network sees, for any picker to use."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from micscreen.cleaning import Cleaned, CleanSettings, clean
from micscreen.errors import JobMismatchError, MicscreenError, UsageError
from micscreen.io import read_micrograph, write_class_map, write_mask
from micscreen.io.cuts import unchanged
from micscreen.io.files import write_whole
from micscreen.micrograph import Micrograph
from micscreen.model.backend import Backend
from micscreen.preprocess import enlarge
from micscreen.run.engine import Engine, stop_on_signals
from micscreen.run.find import find_micrographs, unique_names
from micscreen.run.watch import settled

RECORD_NAME: Final = "micscreen_mask.json"
"""Beside the masks: with what they were made."""


@dataclass(frozen=True, slots=True)
class MaskSettings:
    """What masks are wanted.

    Attributes
    ----------
    micrographs
        Files, folders or glob patterns.
    output
        Folder of the masks.
    box_size
        px.
    pixel_size
        Å/px; None = from the headers.
    mask_size, mask_format
        At model or full size; tif, mrc, png or npy.
    classes
        Whether the class map is written beside each mask.
    contrast, tiff_flip_y, model, windows
        As in the main job.
    """

    micrographs: tuple[str, ...]
    output: Path
    box_size: float
    pixel_size: float | None = None
    mask_size: Literal["model", "full"] = "full"
    mask_format: Literal["tif", "mrc", "png", "npy"] = "mrc"
    classes: bool = False
    contrast: Literal["auto", "dark", "bright"] = "auto"
    tiff_flip_y: bool = True
    model: str = "default"
    windows: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.box_size < float("inf"):
            raise UsageError(f"must be a positive number, not {self.box_size}", where="--box-size")


@dataclass(frozen=True, slots=True)
class MaskResult:
    """What came of one micrograph.

    Attributes
    ----------
    name
        Of the mask, without extension.
    contamination
        Mean over the micrograph, 0 to 1; None when it failed.
    problem
        Why it failed; None when it did not.
    notes
        What the user should know.
    """

    name: str
    contamination: float | None
    problem: str | None = None
    notes: tuple[str, ...] = ()


def predict_masks(
    settings: MaskSettings,
    backend: Backend,
    engine: Engine,
    tell: Callable[[MaskResult, int, int], None],
) -> tuple[int, int, bool]:
    """Write a mask for each micrograph; masks that are there already are kept.

    Parameters
    ----------
    settings
        What is wanted.
    backend, engine
        The network, and where micrographs are worked on.
    tell
        Is told of each result, with how many are done and how many there are.

    Returns
    -------
    How many were written now, how many failed, and whether a signal stopped it.

    Raises
    ------
    UsageError
        When there are no micrographs.
    JobMismatchError
        When the folder holds masks made with other arguments.
    """
    problems: list[str] = []
    paths = find_micrographs(settings.micrographs, problems)
    if problems:
        raise UsageError("\n".join(problems), hint="Give files, folders or quoted patterns.")
    _note_settings(settings, backend)
    jobs = list(zip(unique_names(paths), paths, strict=True))
    written = failed = 0
    with stop_on_signals() as stop:
        missing = [job for job in jobs if not all(p.exists() for p in _targets(job[0], settings))]
        done = len(jobs) - len(missing)
        wanted = settled(missing, lambda: stop.asked)
        for result in engine.map(lambda job: _one(*job, settings, backend), wanted):
            done += 1
            written += result.problem is None
            failed += result.problem is not None
            tell(result, done, len(jobs))
        return written, failed, stop.asked and done < len(jobs)


def _targets(name: str, settings: MaskSettings) -> tuple[Path, ...]:
    """Return the files that are written for one micrograph."""
    mask = settings.output / f"{name}.{settings.mask_format}"
    classes = settings.output / f"{name}_classes.{settings.mask_format}"
    return (mask, classes) if settings.classes else (mask,)


def _one(name: str, path: Path, settings: MaskSettings, backend: Backend) -> MaskResult:
    """Predict and write the mask of one micrograph; what goes wrong stands in the result."""
    try:
        cleaning = CleanSettings(
            settings.box_size, contrast=settings.contrast, windows=settings.windows
        )
        with unchanged(path):
            micrograph = read_micrograph(
                path, pixel_size=settings.pixel_size, tiff_flip_y=settings.tiff_flip_y
            )
            cleaned = clean(micrograph, None, backend, cleaning)
        _write(name, micrograph, cleaned, settings)
    except (MicscreenError, OSError, MemoryError) as error:
        return MaskResult(name, None, str(error) or type(error).__name__)
    notes = (*micrograph.notes, *cleaned.notes, *cleaned.suspect)
    return MaskResult(name, float(cleaned.contamination.mean()), notes=notes)


def _write(name: str, micrograph: Micrograph, cleaned: Cleaned, settings: MaskSettings) -> None:
    """Write mask and class map; the mask last, because it says that both are there."""
    mask, pixel_size = cleaned.contamination, micrograph.pixel_size
    classes = cleaned.classes  # (h', w')
    if settings.mask_size == "full":
        mask = enlarge(mask, micrograph.shape)
        rows = np.arange(micrograph.shape[0]) * classes.shape[0] // micrograph.shape[0]
        columns = np.arange(micrograph.shape[1]) * classes.shape[1] // micrograph.shape[1]
        classes = classes[rows[:, None], columns]  # (h, w)
    elif pixel_size is not None:
        pixel_size = pixel_size / cleaned.scale
    mask_path, *class_path = _targets(name, settings)
    for path in class_path:
        write_class_map(path, classes, tiff_flip_y=settings.tiff_flip_y)
    write_mask(
        mask_path,
        np.asarray(mask, np.float32),
        pixel_size=pixel_size,
        tiff_flip_y=settings.tiff_flip_y,
    )


def _note_settings(settings: MaskSettings, backend: Backend) -> None:
    """Note beside the masks how they are made, or check that those there were made so."""
    record = {k: v for k, v in asdict(settings).items() if k not in ("micrographs", "output")}
    record["weights"] = backend.spec.sha256
    path = settings.output / RECORD_NAME
    if path.exists():
        known = json.loads(path.read_text())
        changed = [name for name in record if record[name] != known.get(name)]
        if changed:
            raise JobMismatchError(
                "the folder holds masks made with other arguments: "
                + ", ".join(f"{n} was {known.get(n)}, is now {record[n]}" for n in changed),
                where=settings.output,
                hint="Give another --output.",
            )
        return
    write_whole(path, json.dumps(record, indent=1).encode())
