"""What the page lists: the job, its drift over time, micrographs sorted and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from micscreen.errors import UsageError
from micscreen.picks import CLASS_NAMES
from micscreen.run.find import printable
from micscreen.view.index import Entry, JobIndex

SORTS: Final = (
    "order", "name", "contamination", "rejected", "rejected_share", "kept", "status",
    *CLASS_NAMES[1:],
)  # fmt: skip
SHOWS: Final = (
    "all", "done", "failed", "pending", "suspect", "empty", "flagged", "excluded", "accepted",
    "painted",
)  # fmt: skip
MOST: Final = 500
"""Micrographs in one answer, and in one of the overview's lists."""

THERE: Final = 0.001
"""Share of a micrograph from which a class counts as being there."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which micrographs are wanted, in which order.

    Attributes
    ----------
    sort, descending
        One of `SORTS`.
    show
        One of `SHOWS`.
    kind
        Class of `CLASS_NAMES` that must be there; empty for any.
    least
        Contamination from which on.
    text
        Part of the name.
    step
        Threshold * 1000.
    offset, limit
        Which part of the list.
    """

    sort: str = "order"
    descending: bool = False
    show: str = "all"
    kind: str = ""
    least: float = 0.0
    text: str = ""
    step: int = 800
    offset: int = 0
    limit: int = 100

    def __post_init__(self) -> None:
        known = self.sort in SORTS and self.show in SHOWS and self.kind in ("", *CLASS_NAMES[1:])
        if not known or not 0 <= self.step <= 1000:
            raise UsageError("there is no such order, list, class or threshold")
        if self.offset < 0 or not 0 < self.limit <= MOST or not 0 <= self.least <= 1:
            raise UsageError(f"a list has an offset from 0 and at most {MOST} rows")


def is_shown(entry: Entry, show: str) -> bool:
    """Return whether a micrograph belongs to one of `SHOWS`."""
    override = entry.override
    answers: dict[str, bool] = {
        "all": True,
        "suspect": entry.get("suspect") != "[]",
        "empty": not entry.get("picks_in"),
        "flagged": override.flag,
        "excluded": override.verdict == "exclude",
        "accepted": override.verdict == "accept",
        "painted": bool(override.strokes),
    }
    return answers[show] if show in answers else bool(entry.get("status") == show)


def listed(index: JobIndex, query: Query) -> dict[str, Any]:
    """Return the wanted part of the list, and how long it is in all."""
    entries, kept = index.judged(query.step)
    text = query.text.casefold()
    column = None if not query.kind else CLASS_NAMES.index(query.kind)
    chosen = [
        i
        for i, entry in enumerate(entries)
        if (query.show == "all" or is_shown(entry, query.show))
        and (not text or text in entry.name.casefold())
        and (column is None or (entry.area or [0.0] * 6)[column] >= THERE)
        and (not query.least or (entry.get("contamination") or 0.0) >= query.least)
    ]
    chosen.sort(key=lambda i: _order(entries[i], kept[i], query.sort), reverse=query.descending)
    part = chosen[query.offset : query.offset + query.limit]
    rows = [summary(entries[i], kept[i]) for i in part]
    return {"total": len(chosen), "offset": query.offset, "rows": rows}


def _order(entry: Entry, kept: int, sort: str) -> Any:
    """Return by what a micrograph is sorted; those of which it is not known come first."""
    n = len(entry.codes)
    if sort == "name":
        return entry.name.casefold()
    if sort == "status":
        return entry.get("status")
    if sort in CLASS_NAMES:
        return (entry.area or [-1.0] * len(CLASS_NAMES))[CLASS_NAMES.index(sort)]
    if sort == "contamination":
        known = entry.get("contamination")
        return -1.0 if known is None else known
    numbers = {
        "order": entry.get("position"),
        "kept": kept,
        "rejected": n - kept,
        "rejected_share": (n - kept) / max(n, 1),
    }
    return numbers[sort]


def summary(entry: Entry, kept: int) -> dict[str, Any]:
    """Return what a tile of the gallery says of a micrograph."""
    return {
        "key": entry.key,
        "name": printable(entry.name),
        "status": entry.get("status"),
        "picks_in": entry.get("picks_in"),
        "scored": len(entry.codes),
        "kept": kept,
        "contamination": entry.get("contamination"),
        "area": entry.area,
        "suspect": entry.get("suspect") != "[]",
        "verdict": entry.override.verdict,
        "flag": entry.override.flag,
        "painted": len(entry.override.strokes),
        "height": entry.get("height"),
        "width": entry.get("width"),
        "box_size": (entry.get("box_size") or 0.0) * (entry.get("box_scale") or 1.0),
        "version": version(entry),
    }


def version(entry: Entry) -> int:
    """Return a number that changes when a micrograph's pictures or picks may have."""
    return hash((entry.stored, entry.override)) & 0x7FFFFFFF


def details(index: JobIndex, key: int) -> dict[str, Any]:
    """Return all that is known of one micrograph."""
    entry = index.entry(key)
    keys = [one.key for one in index.snapshot()]
    return summary(entry, 0) | {
        "place": keys.index(key) if key in keys else 0,
        "path": printable(os_text(entry.get("path"))),
        "reason": printable(entry.get("reason") or ""),
        "suspect": [printable(text) for text in entry.suspect],
        "pixel_size": entry.get("screened_pixel_size"),
        "problem": entry.problem,
        "override": asdict(entry.override),
    }


def os_text(value: Any) -> str:
    """Return a path of the store as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def drift(index: JobIndex) -> dict[str, Any]:
    """Return the contaminated area per micrograph in the order of the run."""
    entries = [entry for entry in index.snapshot() if entry.area is not None]
    areas = np.array([entry.area for entry in entries], np.float64).reshape(-1, len(CLASS_NAMES))
    return {
        "revision": index.revision,
        "keys": [entry.key for entry in entries],
        "positions": [entry.get("position") + 1 for entry in entries],
        "areas": areas[:, 1:].T.round(4).tolist(),
    }


def notes(index: JobIndex) -> dict[str, Any]:
    """Return the suspect, failed and empty micrographs with reasons, and how many there are."""
    found: dict[str, list[dict[str, Any]]] = {"suspect": [], "failed": [], "empty": []}
    totals = dict.fromkeys(found, 0)
    for entry in index.snapshot():
        reasons: dict[str, Sequence[str]] = {
            "suspect": entry.suspect,
            "failed": [entry.get("reason") or ""] if entry.get("status") == "failed" else [],
            "empty": [] if entry.get("picks_in") else ["no picks came in"],
        }
        for name, said in reasons.items():
            if not said:
                continue
            totals[name] += 1
            if len(found[name]) < MOST:
                text = printable(" ".join("; ".join(said).split()))
                row = {"key": entry.key, "name": printable(entry.name), "reason": text}
                found[name].append(row)
    return {"lists": found, "totals": totals}


def job_facts(index: JobIndex) -> dict[str, Any]:
    """Return what the page says of the whole job."""
    info = index.info
    identity = info["identity"]
    statuses = {"done": 0, "failed": 0, "pending": 0}
    for entry in index.snapshot():
        statuses[entry.get("status")] += 1
    return {
        "name": printable(index.job.resolve().name),
        "folder": printable(str(index.job.resolve())),
        "ready": index.ready,
        "revision": index.revision,
        "threshold": identity["outputs"]["threshold"],
        "on_suspect": identity["scoring"]["on_suspect"],
        "rule": identity["scoring"]["rule"],
        "model": printable(str(info.get("model", {}).get("name", ""))),
        "masks": bool(identity["outputs"]["save_masks"]),
        "statuses": statuses,
        "classes": list(CLASS_NAMES),
        "warnings": [printable(str(text)) for text in info.get("warnings", ())],
        "overrides": sum(override.judges for override in index.overrides.values()),
    }
