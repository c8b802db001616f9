"""Judging a network on labelled real pictures: the table of the first bar."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen import metrics
from micscreen.cleaning import Cleaned, CleanSettings, clean
from micscreen.micrograph import Micrograph
from micscreen.model.backend import Backend
from micscreen.picks import CLASS_NAMES, Picks
from micscreen.samples import load_real

CLASSES: Final = CLASS_NAMES[1:]
PICK_THRESHOLD: Final = 0.8


@dataclass(frozen=True)
class Row:
    """The figures of one picture; NaN where there is nothing to measure.

    Attributes
    ----------
    name, source
        Of the picture.
    iou, precision, recall, called_bad, calibration_error
        As in `micscreen.metrics`, at contamination >= 0.5.
    bad
        Share of labelled pixels that are bad.
    true_picks, lost
        True particles outside labelled bad regions, and the share lost at threshold 0.8.
    found
        Share of each bad class that is called bad, by its name.
    """

    name: str
    source: str
    bad: float
    iou: float
    precision: float
    recall: float
    called_bad: float
    calibration_error: float
    true_picks: int
    lost: float
    found: Mapping[str, float]


def particle_centres(discs: NDArray[np.uint8], diameter: float) -> NDArray[np.float64]:
    """Centres (n, 2), x and y in px, of discs (h, w) that may touch or overlap.

    A disc's centre is a plateau of the distance transform that stands out within 0.4 diameters.
    """
    inside = cv2.copyMakeBorder((discs > 0).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.GaussianBlur(cv2.distanceTransform(inside, cv2.DIST_L2, 5), (0, 0), 1.0)
    reach = max(3, round(0.8 * diameter) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    peaks = (depth >= cv2.dilate(depth, kernel) - 1e-6) & (depth > 0.25 * diameter)
    count, _, _, centres = cv2.connectedComponentsWithStats(peaks.astype(np.uint8))
    last = np.array(discs.shape[::-1]) - 1.0
    return np.asarray(
        np.clip(centres[1:count] - 1.0, 0.0, last)
    )  # of a disc cut by the border, on it at most


def evaluate(
    backend: Backend, folder: Path, box_px: float | None = None, only: Sequence[str] = ()
) -> list[Row]:
    """Screen every labelled picture of a folder, as users do, and compare.

    Parameters
    ----------
    backend
        Of `micscreen.model.backend.open_backend`.
    folder
        Holds ``images/``, ``labels/`` and perhaps ``particles/``; ``index.json`` lies beside it.
    box_px
        Box in px at which the network looks; None: as its weights say.
    only
        Beginnings of the names to take; all if empty.
    """
    entries = {e["name"]: e for e in json.loads((folder.parent / "index.json").read_text())}
    chosen = backend if box_px is None else _AtBox(backend, box_px)
    rows = []
    for name, image, labels, box in load_real(folder):
        if only and not name.startswith(tuple(only)):
            continue
        discs = folder / "particles" / f"{name}.png"
        centres = np.empty((0, 2))
        if discs.exists():
            truth = np.asarray(cv2.imread(str(discs), cv2.IMREAD_GRAYSCALE), np.uint8)
            centres = particle_centres(truth, entries[name]["particle_diameter_px"])
        at = labels[np.rint(centres[:, 1]).astype(int), np.rint(centres[:, 0]).astype(int)]
        true = Picks(x=centres[at == 0, 0], y=centres[at == 0, 1])
        settings = CleanSettings(box_size=box, contrast="dark")
        cleaned = clean(Micrograph(image, name=name), true, chosen, settings)
        source = source_of(name, entries[name]["source"])
        rows.append(_row(name, source, cleaned, labels))
    return rows


def mask_on(cleaned: Cleaned, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the contamination that was found, enlarged to (h, w)."""
    size = (shape[1], shape[0])
    mask = cv2.resize(cleaned.contamination, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(mask, dtype=np.float32)


class _AtBox:
    """A back end that looks at another box than its weights say."""

    def __init__(self, backend: Backend, box_px: float) -> None:
        self.spec, self.device = replace(backend.spec, box_px=box_px), backend.device
        self.predict = backend.predict


def _row(name: str, source: str, cleaned: Cleaned, labels: NDArray[np.uint8]) -> Row:
    """Compare what was found on one picture with its labels (h, w)."""
    contamination = mask_on(cleaned, labels.shape)
    count = metrics.confusion(contamination, labels)
    known = labels[labels != metrics.IGNORE]
    picks = cleaned.picks
    goodness = np.empty(0) if picks is None or picks.goodness is None else picks.goodness
    found = {
        label: metrics.class_recall(contamination, labels, index)
        for index, label in enumerate(CLASSES, start=1)
        if (labels == index).any()
    }
    return Row(
        name=name,
        source=source,
        bad=float((known > 0).mean()) if known.size else math.nan,
        iou=count.iou,
        precision=count.precision,
        recall=count.recall,
        called_bad=count.called_bad,
        calibration_error=metrics.calibration_error(contamination, labels),
        true_picks=len(goodness),
        lost=metrics.share_lost(goodness, PICK_THRESHOLD),
        found=found,
    )


def source_of(name: str, source: str) -> str:
    """Return a short name of the data set that a picture comes from; one per EMPIAR entry."""
    return name.split("_")[0] if name[0] == "e" and name[1:6].isdigit() else source.split(" ")[0]


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Return the first bar: IoU by source, clean area called bad, true particles lost."""
    with_bad = [row for row in rows if row.bad > 0]
    clean = [row for row in rows if row.bad == 0]
    picks = [row for row in rows if row.true_picks > 0]
    sources = sorted({row.source for row in with_bad})
    by_source = [_mean([r.iou for r in with_bad if r.source == source]) for source in sources]
    picked = sum(row.true_picks for row in picks)
    lost = sum(row.lost * row.true_picks for row in picks)
    figures = {
        "iou_mean_over_sources": _mean(by_source),
        "iou_mean_over_pictures": _mean([row.iou for row in with_bad]),
        "clean_area_called_bad": _mean([row.called_bad for row in clean]),
        "true_picks_lost": lost / picked if picked else math.nan,
        "true_picks": float(picked),
        "calibration_error": _mean([row.calibration_error for row in rows]),
    }
    figures.update({f"iou {s}": v for s, v in zip(sources, by_source, strict=True)})
    for label in CLASSES:
        figures[f"found {label}"] = _mean([r.found[label] for r in rows if label in r.found])
    return figures


def as_text(rows: Sequence[Row]) -> str:
    """Return the rows and the summary as a table to read."""
    lines = [f"{'picture':24s}  bad%  IoU   prec  rec  called%  ECE   picks lost%  found"]
    for r in rows:
        found = " ".join(f"{label}={share:.2f}" for label, share in r.found.items())
        lines.append(
            f"{r.name:24s} {100 * r.bad:5.1f} {r.iou:5.2f} {r.precision:5.2f} {r.recall:5.2f} "
            f"{100 * r.called_bad:6.1f} {r.calibration_error:6.3f} {r.true_picks:5d} "
            f"{100 * r.lost:5.1f}  {found}"
        )
    lines += [f"{name:45s} {value:.4f}" for name, value in summary(rows).items()]
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows and the summary as JSON; NaN as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(part) for key, part in value.items()}
        return None if isinstance(value, float) and math.isnan(value) else value

    content = {
        "summary": plain(summary(rows)),
        "pictures": [plain(asdict(row)) for row in rows],
    }
    return json.dumps(content, indent=1)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
