"""The evaluation from the folder to the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from micscreen import __version__
from micscreen.errors import UsageError
from micscreen.evaluation.data import Entry, find_labelled, kind_of, read_truth
from micscreen.evaluation.measure import Measured, measure, measure_all, summary
from micscreen.evaluation.page import evaluation_page, worst_first
from micscreen.io.files import write_whole
from micscreen.model.backend import open_backend
from micscreen.run.find import printable


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is measured, and where to.

    Attributes
    ----------
    folder, output
        The labelled pictures; where `evaluation.html` and `evaluation.json` go.
    box_size
        px, where the folder's index does not say it.
    coordinates
        Files and folders with a picker's coordinates.
    contrast, tiff_flip_y, model, device
        As for `micscreen screen`.
    """

    folder: Path
    output: Path
    box_size: float | None = None
    coordinates: tuple[Path, ...] = ()
    contrast: Literal["auto", "dark", "bright"] = "auto"
    tiff_flip_y: bool = True
    model: str = "default"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.box_size is not None and not 0 < self.box_size < float("inf"):
            raise UsageError(f"must be a positive number, not {self.box_size}", where="--box-size")


def evaluate_folder(
    settings: EvaluationSettings, told: Callable[[int, int], None] = lambda done, total: None
) -> tuple[dict[str, Any], list[tuple[str, str]], tuple[Path, Path]]:
    """Measure a network on a labelled folder, and write page and JSON.

    Parameters
    ----------
    settings
        What is asked for.
    told
        Gets how many pictures are measured, and of how many.

    Returns
    -------
    The summary, (name, reason) of pictures that could not be measured, and the two files.

    Raises
    ------
    UsageError
        When nothing could be measured.
    """
    entries = find_labelled(settings.folder, settings.box_size, settings.coordinates)
    kind = kind_of(entries, settings.tiff_flip_y)
    backend = open_backend(settings.model, device=settings.device)

    def one(entry: Entry) -> Measured:
        truth = read_truth(entry, kind, settings.tiff_flip_y)
        return measure(entry, truth, backend, settings.contrast)

    measured, failed = measure_all(entries, one, told)
    if not measured:
        raise UsageError("no picture could be measured", where=settings.folder, hint=failed[0][1])
    figures = summary(measured)
    about = {
        "folder": printable(str(settings.folder)),
        "labels": "class maps" if kind == "classes" else "masks",
        "coordinates": ", ".join(printable(str(path)) for path in settings.coordinates) or "none",
        "contrast": settings.contrast,
        "weights": backend.spec.name,
        "sha256 of the weights": backend.spec.sha256,
        "micscreen": __version__,
    }
    title = f"Evaluation on {printable(settings.folder.resolve().name)}"
    paths = settings.output / "evaluation.html", settings.output / "evaluation.json"
    page = evaluation_page(title, figures, measured, about, failed)
    pictures = [
        {"name": m.name, "source": m.source, **m.figures.record()} for m in worst_first(measured)
    ]
    content = {"about": about, "summary": figures, "pictures": pictures, "failed": failed}
    write_whole(paths[0], page.encode("utf-8", "backslashreplace"))
    write_whole(paths[1], (json.dumps(content, indent=1) + "\n").encode())
    return figures, failed, paths
