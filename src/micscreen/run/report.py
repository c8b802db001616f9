"""`JOB/report.html`: the job as one file to send to a colleague, from the store alone.

Micrographs are read only to draw the worst and the best, where they are still there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicscreenError
from micscreen.io import read_mask, read_micrograph
from micscreen.io.cuts import unchanged
from micscreen.io.files import write_whole
from micscreen.io.masks import MASK_SUFFIXES
from micscreen.model.weights import model_card
from micscreen.pages.job import (
    TABLED,
    Chosen,
    JobFigures,
    MicrographFigures,
    choose,
    job_page,
    known_settings,
)
from micscreen.pages.pictures import Picture, inside
from micscreen.picks import CLASS_NAMES, Picks
from micscreen.report import draw_thumbnail, sharp_preview
from micscreen.run.find import printable
from micscreen.run.rows import MicrographRow, Scores, kept
from micscreen.run.settings import check_threshold
from micscreen.run.store import Store
from micscreen.run.summary import asked
from micscreen.run.watch import fingerprint

BINS: Final = 50
"""Of the histogram of goodness."""

CURVE: Final = np.linspace(0.0, 1.0, 101)
"""Thresholds of the curve."""

EACH: Final = 6
"""Worst and best micrographs."""

SAMPLE: Final = 24
"""Most pictures in the gallery, whatever the number of thumbnails."""

PICTURE_BYTES: Final = 7_000_000
"""All pictures together, as text in the page; the rest of any job stays below 1 MB."""

PICTURE_LIMIT: Final = 400_000
"""One picture."""


def write_report(job: Path, output: Path | None = None, threshold: float | None = None) -> Path:
    """Write a job's report, whole or not at all; the same job gives the same bytes.

    Parameters
    ----------
    job
        The job folder; it may still be running.
    output
        The file; None for `JOB/report.html`.
    threshold
        At which picks are counted; None for the one of the run.

    Returns
    -------
    The file.

    Raises
    ------
    JobError
        When it is no job, or nothing was screened in it yet.
    UsageError
        For an impossible threshold.
    """
    path = output or job / "report.html"
    with Store(job) as store:
        figures = gather(store, threshold)
        sampled = _sampled(job, figures)
        chosen = choose(figures.micrographs, sampled, EACH)
        pictures = _pictures(store, figures, chosen)
    write_whole(path, job_page(figures, chosen, pictures).encode("utf-8", "backslashreplace"))
    return path


def gather(store: Store, threshold: float | None = None) -> JobFigures:
    """Return all figures of a job, in one pass over the store.

    Parameters
    ----------
    store
        The job's.
    threshold
        None for the one of the run.
    """
    identity, info = asked(store), store.info()
    on_suspect = identity["scoring"]["on_suspect"]
    wanted = float(identity["outputs"]["threshold"] if threshold is None else threshold)
    check_threshold(wanted)
    tabled = np.unique([*TABLED, wanted])
    thresholds = np.concatenate([tabled, CURVE])
    counts = np.zeros(len(thresholds), np.int64)
    histogram = np.zeros(BINS, np.int64)
    micrographs = []
    for row, scores in store.scored():
        micrographs.append(_figures(row, scores, wanted, on_suspect))
        if scores is not None:
            histogram += np.histogram(scores.goodness, bins=BINS, range=(0.0, 1.0))[0]
            counts += kept_at(row, scores, thresholds, on_suspect)
    at = list(zip(thresholds.tolist(), counts.tolist(), strict=True))
    return JobFigures(
        name=printable(store.folder.resolve().name),
        threshold=wanted,
        on_suspect=on_suspect,
        micrographs=tuple(micrographs),
        histogram=tuple(histogram.tolist()),
        kept_at=tuple(at[len(tabled) :]),
        tabled=tuple(at[: len(tabled)]),
        about=_about(store, identity, info),
        warnings=tuple(info.get("warnings", ())),
        card=_card(info.get("model", {})),
    )


def _figures(
    row: MicrographRow, scores: Scores | None, threshold: float, on_suspect: Any
) -> MicrographFigures:
    """Return what the page says of one micrograph."""
    going_on, rejected = 0, (0,) * len(CLASS_NAMES)
    if scores is not None:
        keeps = kept(row, scores, threshold, on_suspect)
        found = np.bincount(scores.class_index[~keeps], minlength=len(CLASS_NAMES))
        going_on, rejected = int(keeps.sum()), tuple(found.tolist())
    return MicrographFigures(
        name=row.name,
        status=row.status,
        reason=printable(" ".join((row.reason or "").split())),
        picks_in=row.picks_in,
        kept=going_on,
        rejected=rejected,
        contamination=row.contamination,
        area=row.area,
        suspect=row.suspect,
    )


def kept_at(
    row: MicrographRow, scores: Scores, thresholds: NDArray[np.float64], on_suspect: Any
) -> NDArray[np.int64]:
    """Return how many picks of a micrograph go on at each threshold, as `kept` decides.

    Parameters
    ----------
    row, scores
        The micrograph and its picks.
    thresholds
        Shape (n,), in [0, 1] or -1.
    on_suspect
        What happens to picks of suspect micrographs.

    Returns
    -------
    Shape (n,).
    """
    if row.suspect and on_suspect != "flag":
        every = len(scores.goodness)
        return np.where(thresholds == -1, every, every if on_suspect == "keep" else 0)
    goodness = np.sort(scores.goodness.astype(np.float32))
    below = np.searchsorted(goodness, thresholds.astype(np.float32), side="left")
    return np.asarray(len(goodness) - below, np.int64)


def _about(store: Store, identity: dict[str, Any], info: dict[str, Any]) -> dict[str, str]:
    """Return parameters and versions."""
    model = info.get("model", {})
    about = {
        "micscreen": str(info.get("version", "")),
        "begun": str(info.get("created", "")),
        "weights": str(model.get("name", "")),
        "sha256 of the weights": str(model.get("sha256", "")),
        "working folder": printable(str(info.get("folder", ""))),
    }
    formats = sorted({source.format for source in store.sources()})
    if formats:
        about["coordinate formats"] = ", ".join(formats)
    if info.get("frame", {}).get("flip_y"):
        about["y of the coordinates"] = "counted from the other end of the rows"
    return about | {name: printable(text) for name, text in known_settings(identity).items()}


def _card(model: dict[str, str]) -> tuple[str, str]:
    """Return the model card of the job's weights, and a sentence about it."""
    name, sha256 = model.get("name", "unknown"), model.get("sha256", "")
    text = model_card(name, sha256)
    if text:
        return text, f"The job was screened with the weights {name} of the package."
    return "", f"This package has no card of the weights {name} with which the job was screened."


def _sampled(job: Path, figures: JobFigures) -> list[str]:
    """Return the names of micrographs that have a thumbnail, at most `SAMPLE`."""
    folder = job / "thumbnails"
    there = {path.stem for path in folder.glob("*.png")} if folder.is_dir() else set()
    found = [m.name for m in figures.micrographs if m.area and m.name in there]
    step = max(len(found) / SAMPLE, 1.0)
    return [found[int(i * step)] for i in range(min(len(found), SAMPLE))]


def _pictures(store: Store, figures: JobFigures, chosen: Chosen) -> dict[str, str]:
    """Return HTML of the pictures of the chosen micrographs, by name.

    Of the worst and the best that got no thumbnail, one is drawn now.
    """
    limit = min(PICTURE_LIMIT, PICTURE_BYTES // max(2 * EACH + len(chosen.sample), 1))
    found: dict[str, Picture | None] = {}
    for i in (*chosen.worst, *chosen.best, *chosen.sample):
        name = figures.micrographs[i].name
        found[name] = _thumbnail(store.folder / "thumbnails" / f"{name}.png")
    if any(picture is None for picture in found.values()):
        info = store.info()
        for row, scores in store.scored():
            if scores is not None and row.name in found and found[row.name] is None:
                found[row.name] = _drawn(row, scores, store.folder, info, figures.threshold)
    return {
        name: inside(picture, limit, f"{name} with bad regions and picks")
        for name, picture in found.items()
        if picture is not None
    }


def _drawn(
    row: MicrographRow, scores: Scores, job: Path, info: dict[str, Any], threshold: float
) -> Picture | None:
    """Draw a micrograph with its picks, and its mask where that was saved; RGB (h, w, 3).

    None where the micrograph is not there any more, or not as it was.
    """
    inputs = info["identity"]["inputs"]
    path = Path(info.get("folder", "."), row.path)
    try:
        if fingerprint(path) != row.fingerprint:
            return None
        with unchanged(path):
            image = read_micrograph(path, tiff_flip_y=inputs["tiff_flip_y"]).image
            preview = sharp_preview(image)
        masks = (job / "masks" / f"{row.name}{ending}" for ending in MASK_SUFFIXES)
        mask = next((path for path in masks if path.is_file()), None)
        bad = np.zeros((2, 2), np.float32)
        if mask is not None:
            bad = read_mask(mask, tiff_flip_y=inputs["tiff_flip_y"])
    except (MicscreenError, OSError):
        return None
    x, y = scores.x.astype(np.float64), scores.y.astype(np.float64)
    if info.get("frame", {}).get("flip_y") and row.picked_height is not None:
        y = row.picked_height - 1 - y
    picks = Picks(x=x, y=y, box_size=row.box_size, goodness=scores.goodness)
    return draw_thumbnail(
        preview,
        np.stack([1 - bad, bad]),
        picks.rescaled(row.box_scale or 1.0),
        preview.shape[1] / image.shape[1],
        threshold,
        pixel_size=row.screened_pixel_size,
        title=row.name,
    )


def _thumbnail(path: Path) -> Picture | None:
    """Return a thumbnail of the run, RGB (h, w, 3); None when there is none."""
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return None if picture is None else np.asarray(picture[..., ::-1], np.uint8)
