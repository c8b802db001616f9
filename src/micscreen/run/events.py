"""What happens during a run as plain values, one JSON object per line: docs/events.md."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

import numpy as np

from micscreen.errors import UsageError
from micscreen.picks import CLASS_NAMES, REASONS
from micscreen.run.loop import Event
from micscreen.run.pipeline import Outcome
from micscreen.run.rows import MicrographRow, Scores, kept
from micscreen.run.settings import ScreenSettings

EVENTS_VERSION: Final = 1
"""Of these records; grows when a field changes its meaning."""

QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)


def event_record(event: Event, settings: ScreenSettings) -> dict[str, Any]:
    """Return one event as plain values.

    Parameters
    ----------
    event
        Of `screen`.
    settings
        Of the run; its threshold decides what counts as kept.
    """
    record: dict[str, Any] = {
        "event": event.kind,
        "version": EVENTS_VERSION,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    if event.kind == "micrograph":
        assert event.row is not None
        record |= {"done": event.done, "total": event.total}
        return record | _micrograph(event.row, event.scores, settings)
    if event.kind == "start":
        return record | {"done": event.done, "total": event.total}
    return record | {"text": event.text}


def _micrograph(
    row: MicrographRow, scores: Scores | None, settings: ScreenSettings
) -> dict[str, Any]:
    """Return what a program wants to know about one micrograph."""
    goodness = np.empty(0) if scores is None else scores.goodness
    quantiles = np.quantile(goodness, QUANTILES) if len(goodness) else ()
    keep, by = 0, Counter[str]()
    if scores is not None:
        chosen = kept(row, scores, settings.outputs.threshold, settings.scoring.on_suspect)
        keep = int(chosen.sum())
        for reason, index in zip(scores.reason[~chosen], scores.class_index[~chosen], strict=True):
            inside = reason <= REASONS.index("bad_region")
            by[CLASS_NAMES[index] if inside else REASONS[reason]] += 1
    return {
        "name": row.name,
        "path": row.path,
        "picked_path": row.picked_path,
        "status": row.status,
        "reason": row.reason,
        "picks_in": row.picks_in,
        "picks_kept": keep if row.status == "done" else None,
        "picks_rejected": len(goodness) - keep if row.status == "done" else None,
        "rejected_by": dict(sorted(by.items())),
        "goodness_quantiles": [round(float(q), 4) for q in quantiles],
        "contamination": row.contamination,
        "area": None if row.area is None else dict(zip(CLASS_NAMES, row.area, strict=True)),
        "contrast": row.contrast,
        "pixel_size": row.pixel_size,
        "box_size": row.box_size,
        "suspect": list(row.suspect),
        "warnings": list(row.warnings),
        "seconds": {name: round(seconds, 5) for name, seconds in row.timings},
    }


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """Return what came of a run as plain values, for programs."""
    report = outcome.export
    return {
        "event": "end",
        "version": EVENTS_VERSION,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "job": str(outcome.job),
        "micrographs": outcome.micrographs,
        "done": outcome.done,
        "skipped": outcome.skipped,
        "failed": [{"name": name, "reason": reason} for name, reason in outcome.failed],
        "suspect": [{"name": name, "reason": reason} for name, reason in outcome.suspect],
        "picks_in": outcome.picks_in,
        "threshold": None if report is None else report.threshold,
        "kept": None if report is None else report.kept,
        "rejected": None if report is None else report.rejected,
        "unscreened": None if report is None else report.unscreened,
        "rejected_by": {} if report is None else report.rejected_by,
        "folders": [] if report is None else [str(folder) for folder in report.folders],
        "interrupted": outcome.interrupted,
        "seconds": round(outcome.seconds, 3),
    }


class EventLog:
    """A file to which events are appended, one JSON object per line, each written at once.

    Parameters
    ----------
    path
        Made when it is missing; earlier lines stay.
    settings
        Of the run.

    Raises
    ------
    UsageError
        When it cannot be written.
    """

    def __init__(self, path: Path, settings: ScreenSettings) -> None:
        self._settings = settings
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise UsageError(
                f"cannot be written ({error.strerror})", where=f"--events {path}"
            ) from error

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def tell(self, event: Event) -> None:
        """Append one event."""
        self._file.write(json.dumps(event_record(event, self._settings)) + "\n")

    def finish(self, outcome: Outcome) -> None:
        """Append what came of the run."""
        self._file.write(json.dumps(outcome_record(outcome)) + "\n")
