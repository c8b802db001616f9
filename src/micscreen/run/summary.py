"""A job in numbers: from the store alone, at any time, at any threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from micscreen.errors import JobError
from micscreen.picks import CLASS_NAMES
from micscreen.report import SummaryRow
from micscreen.run.rows import kept
from micscreen.run.settings import check_threshold
from micscreen.run.store import Store

BINS: Final = 20
"""Of the histogram of goodness."""


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a job holds.

    Attributes
    ----------
    threshold
        At which picks are counted as kept.
    statuses
        Number of micrographs that are done, failed, pending.
    rows
        One per micrograph that is done or failed.
    histogram
        Picks per bin of goodness, 0 to 1.
    area
        Mean share of the micrographs per class.
    model
        Name and sha256 of the weights.
    frame
        Whether y is flipped for scoring, and the evidence of each frame in standard errors.
    warnings
        What the run told the user.
    """

    threshold: float
    statuses: dict[str, int]
    rows: tuple[SummaryRow, ...]
    histogram: tuple[int, ...]
    area: dict[str, float]
    model: dict[str, str]
    frame: dict[str, Any]
    warnings: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return the summary as plain values, for programs."""
        picks_in = sum(row.picks_in for row in self.rows)
        going_on = sum(row.kept for row in self.rows)
        rejected = np.sum([row.rejected for row in self.rows] or [(0,) * len(CLASS_NAMES)], axis=0)
        by_class = {name: int(n) for name, n in zip(CLASS_NAMES, rejected, strict=True)}
        return {
            "threshold": self.threshold,
            "micrographs": self.statuses,
            "suspect": sum(row.suspect for row in self.rows),
            "picks_in": picks_in,
            "kept": going_on,
            "rejected": sum(by_class.values()),
            "rejected_by": {"no_class": by_class.pop("good"), **by_class},
            "unscreened": picks_in - going_on - int(rejected.sum()),
            "area": {name: round(share, 5) for name, share in self.area.items()},
            "goodness_histogram": list(self.histogram),
            "model": self.model,
            "frame": self.frame,
            "warnings": list(self.warnings),
        }


def asked(store: Store) -> dict[str, Any]:
    """Return the settings with which the job was begun, as `ScreenSettings.identity` gave them.

    Raises
    ------
    JobError
        When nothing was screened in it yet.
    """
    identity = store.info().get("identity")
    if not isinstance(identity, dict):
        raise JobError("nothing was screened in this job yet", where=store.folder)
    return identity


def summarise(store: Store, threshold: float | None = None) -> JobSummary:
    """Sum up a job.

    Parameters
    ----------
    store
        The job's.
    threshold
        None for the one of the run.

    Raises
    ------
    JobError
        When nothing was screened in it yet.
    UsageError
        For an impossible threshold.
    """
    identity = asked(store)
    on_suspect = identity["scoring"]["on_suspect"]
    wanted = identity["outputs"]["threshold"] if threshold is None else threshold
    check_threshold(wanted)
    statuses = {"done": 0, "failed": 0, "pending": 0}
    histogram = np.zeros(BINS, np.int64)
    area = np.zeros(len(CLASS_NAMES))
    rows = []
    for row, scores in store.scored():
        statuses[row.status] += 1
        if row.status == "pending":
            continue
        if scores is None:
            rows.append(SummaryRow(row.picks_in, failed=True))
            continue
        keep = kept(row, scores, wanted, on_suspect)
        rejected = np.bincount(scores.class_index[~keep], minlength=len(CLASS_NAMES))
        counts = tuple(int(n) for n in rejected)
        rows.append(SummaryRow(row.picks_in, int(keep.sum()), counts, suspect=bool(row.suspect)))
        histogram += np.histogram(scores.goodness, bins=BINS, range=(0.0, 1.0))[0]
        area += row.area or np.zeros(len(CLASS_NAMES))
    area /= max(statuses["done"], 1)
    info = store.info()
    return JobSummary(
        threshold=wanted,
        statuses=statuses,
        rows=tuple(rows),
        histogram=tuple(int(n) for n in histogram),
        area={name: float(a) for name, a in zip(CLASS_NAMES, area, strict=True)},
        model=info.get("model", {}),
        frame={k: v for k, v in info.get("frame", {}).items() if k in ("flip_y", "evidence")},
        warnings=tuple(info.get("warnings", ())),
    )
