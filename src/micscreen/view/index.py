"""A job in memory, small: what the page counts, sorts and lists, kept up while a run writes.

Of every pick two bytes stay: in which of 1001 bins its goodness lies, and what speaks against it.
The bins' edges are the thresholds 0.000, 0.001, ... 1.000 in single precision, so that sums over
bins are exactly the counts that `micscreen.score.keep` gives at these thresholds.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import JobError, MicscreenError
from micscreen.picks import CLASS_NAMES, REASONS
from micscreen.run.find import printable
from micscreen.run.overrides import (
    NOTHING,
    OVERRIDES_NAME,
    Override,
    Reviser,
    change_override,
    read_overrides,
)
from micscreen.run.rows import MicrographRow, Scores
from micscreen.run.store import AREA_COLUMNS, SCORE_TYPES, STORE_NAME, Store
from micscreen.run.summary import asked

STEPS: Final = 1000
EDGES: Final = (np.arange(STEPS + 1) / STEPS).astype(np.float32)
BINS: Final = STEPS + 1

GROUPS: Final = (*CLASS_NAMES, *REASONS[2:])
"""What speaks against a pick: its class, or why it has no image."""

CHUNK: Final = 400
"""Micrographs whose picks are read in one statement: a writer waits no longer than for one."""

COLUMNS: Final = (
    "id", "name", "position", "path", "status", "reason", "height", "width", "pixel_size",
    "screened_pixel_size", "box_size", "box_scale", "contamination", "suspect", "warnings",
    "picks_in", "fingerprint", "picks_digest", *AREA_COLUMNS,
)  # fmt: skip

Codes = NDArray[np.uint16]
NONE: Final[Codes] = np.empty(0, np.uint16)


@dataclass(slots=True, eq=False)
class Entry:
    """One micrograph: its light columns of the store, and the bins of its picks.

    Attributes
    ----------
    key
        Number by which the page names it, as long as this server runs.
    stored
        The values of `COLUMNS`.
    codes
        Shape (n,): group * BINS + bin; empty without scores.
    counted
        Whether `codes` are those of `stored`.
    problem
        Why what was decided about it cannot be applied; None when it can.
    """

    key: int
    stored: tuple[Any, ...]
    override: Override = NOTHING
    codes: Codes = field(default_factory=lambda: NONE)
    counted: bool = False
    problem: str | None = None

    def get(self, column: str) -> Any:
        """Return one of `COLUMNS`."""
        return self.stored[COLUMNS.index(column)]

    @property
    def name(self) -> str:
        """As the store has it."""
        return os.fsdecode(self.stored[1])

    @property
    def suspect(self) -> list[str]:
        """Why the guard distrusts it."""
        return list(json.loads(self.get("suspect")))

    @property
    def area(self) -> list[float] | None:
        """Share per class; None when it was not screened."""
        area = list(self.stored[-len(AREA_COLUMNS) :])
        return None if area[0] is None else area


def goodness_bins(goodness: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bin of each goodness, shape (n,): kept at step k exactly when bin >= k."""
    near = np.clip(goodness * np.float32(STEPS), 0, STEPS).astype(np.uint16)
    near -= (goodness < EDGES[near]) & (near > 0)  # what rounding put one bin too high
    near += (near < STEPS) & (goodness >= EDGES[np.minimum(near + 1, STEPS)])  # or too low
    return np.asarray(near, np.uint16)


class JobIndex:
    """What the page shows of a job; every method may be called from any thread.

    Parameters
    ----------
    job
        The job folder.

    Raises
    ------
    JobError
        When it is no job, or nothing was screened in it yet.
    """

    def __init__(self, job: Path) -> None:
        self.job = job
        with Store(job) as store:
            asked(store)
            self.info = store.info()
        self.reviser = Reviser(job, self.info)
        self.revision = 0
        self.ready = False
        self.entries: list[Entry] = []
        self._known: dict[str, Entry] = {}
        self._by_key: list[Entry] = []
        self._seen: tuple[Any, ...] = ()
        self._overrides: dict[str, Override] = {}
        self._lock = threading.RLock()
        self._counts = np.zeros((len(GROUPS), BINS), np.int64)
        self._flat: tuple[int, Codes, NDArray[np.int64]] | None = None

    def refresh(self) -> int:
        """Read what the run or another window has written since; return the revision."""
        with self._lock:
            now = tuple(_stamp(self.job / name) for name in (STORE_NAME, OVERRIDES_NAME))
            if now == self._seen:
                return self.revision
            overrides = read_overrides(self.job)
            with Store(self.job) as store:
                self.info = store.info()
                self._take(store, overrides)
            self._seen, self._overrides, self.ready = now, overrides, True
            self.revision += 1
            return self.revision

    def _take(self, store: Store, overrides: dict[str, Override]) -> None:
        """Bring the entries to the state of the store."""
        rows = store.select(f"SELECT {', '.join(COLUMNS)} FROM micrographs ORDER BY position, name")
        entries, changed = [], []
        for stored in rows:
            name = os.fsdecode(stored[1])
            entry = self._known.get(name)
            if entry is None:
                entry = Entry(len(self._by_key), ())
                self._known[name] = entry
                self._by_key.append(entry)
            override = overrides.get(name, NOTHING)
            if not entry.counted or entry.stored != stored or entry.override != override:
                entry.stored, entry.override, entry.counted = stored, override, False
                changed.append(entry)
            entries.append(entry)
        there = {entry.key for entry in entries}
        for name in [name for name, entry in self._known.items() if entry.key not in there]:
            self._recount([self._known.pop(name)], [NONE])
        self.entries = entries
        on_suspect = self.info["identity"]["scoring"]["on_suspect"]
        for start in range(0, len(changed), CHUNK):
            self._read(store, changed[start : start + CHUNK], on_suspect)

    def _read(self, store: Store, entries: Sequence[Entry], on_suspect: str) -> None:
        """Read the picks of some micrographs into bins."""
        marks = ", ".join("?" * len(entries))
        query = (
            f"SELECT micrograph, goodness, class_index, reason FROM picks "
            f"WHERE micrograph IN ({marks})"
        )
        blobs = {row[0]: row[1:] for row in store.select(query, [e.stored[0] for e in entries])}
        found = [blobs.get(entry.stored[0], (b"", b"", b"")) for entry in entries]
        goodness, class_index, reason = (
            np.frombuffer(b"".join(column), dtype)
            for column, dtype in zip(zip(*found, strict=True), ("<f4", "u1", "u1"), strict=True)
        )
        codes = pick_codes(goodness, class_index, reason)
        ends = np.cumsum([len(one[1]) for one in found]).tolist()
        new = [codes[end - len(one[1]) : end] for end, one in zip(ends, found, strict=True)]
        for i, (entry, one) in enumerate(zip(entries, found, strict=True)):
            entry.problem = None
            distrusted = on_suspect != "flag" and entry.get("suspect") != "[]"
            if one[1] and (distrusted or entry.override.judges):
                new[i] = self._decided(store, entry, on_suspect)
        self._recount(entries, new)

    def _decided(self, store: Store, entry: Entry, on_suspect: str) -> Codes:
        """Return the bins of a micrograph about which a person or the guard has a say."""
        row, scores = self._revised(store, entry)
        goodness = scores.goodness
        if row.suspect and on_suspect != "flag":
            goodness = np.full(len(goodness), on_suspect == "keep", np.float32)
        return pick_codes(goodness, scores.class_index, scores.reason)

    def _recount(self, entries: Sequence[Entry], new: Sequence[Codes]) -> None:
        """Put the bins of some micrographs in the old ones' place, in the sums too."""
        flat, length = self._counts.reshape(-1), self._counts.size
        for sign, codes in ((-1, [entry.codes for entry in entries]), (1, new)):
            flat += sign * np.bincount(np.concatenate([*codes, NONE]), minlength=length)
        for entry, codes_now in zip(entries, new, strict=True):
            entry.codes, entry.counted = codes_now, True

    def _revised(self, store: Store, entry: Entry) -> tuple[MicrographRow, Scores]:
        """Return row and scores of a screened micrograph after what was decided about it."""
        row = store.micrograph(entry.name)
        query = f"SELECT {', '.join(SCORE_TYPES)} FROM picks WHERE micrograph = ?"
        found = store.select(query, [entry.stored[0]])
        if row is None or not found:
            raise JobError("it is being screened anew; look again in a moment", where=entry.name)
        arrays: dict[str, Any] = {
            name: np.frombuffer(blob, dtype)
            for (name, dtype), blob in zip(SCORE_TYPES.items(), found[0], strict=True)
        }
        arrays["distance"] = (arrays["distance"] / (row.pixel_size or 1.0)).astype(np.float32)
        scores = Scores(**arrays)
        try:
            return self.reviser.revise(row, scores, entry.override)
        except MicscreenError as error:
            entry.problem = printable(str(error))
            return row, scores

    def entry(self, key: int) -> Entry:
        """Return a micrograph.

        Raises
        ------
        KeyError
            When there is none of this key.
        """
        with self._lock:
            if not 0 <= key < len(self._by_key):
                raise KeyError(key)
            return self._by_key[key]

    def scored(self, key: int) -> tuple[MicrographRow, Scores | None]:
        """Return a micrograph's row and, where it was screened, its scores as decided."""
        entry = self.entry(key)
        with self._lock, Store(self.job) as store:
            row = store.micrograph(entry.name)
            if row is None:
                raise KeyError(key)
            return self._revised(store, entry) if row.status == "done" else (row, None)

    def change(self, key: int, change: dict[str, Any]) -> Override:
        """Decide about a micrograph, and count again."""
        entry = self.entry(key)
        touches = {"stroke", "undo", "clear"} & set(change)
        if touches and self.reviser.regions(entry.name) is None:
            raise JobError(
                "this job saved no masks, so there is nothing to paint on",
                hint="Screen with --save-masks into another folder.",
            )
        with self._lock:
            override = change_override(self.job, entry.name, change)
            self.refresh()
        return override

    def counts(self) -> NDArray[np.int64]:
        """Return how many picks lie in each bin, shape (groups, BINS)."""
        with self._lock:
            return self._counts.copy()

    def kept_at(self, step: int) -> NDArray[np.int64]:
        """Return how many picks of each entry are kept at threshold step / 1000, shape (n,)."""
        with self._lock:
            if self._flat is None or self._flat[0] != self.revision:
                codes = [entry.codes for entry in self.entries]
                lengths = np.array([len(one) for one in codes], np.int64)
                flat = np.concatenate([*codes, NONE])
                self._flat = (self.revision, np.asarray(flat % BINS, np.uint16), lengths)
            _, bins, lengths = self._flat
        ends = np.concatenate([[0], np.cumsum(bins >= step)])
        stops = np.cumsum(lengths)
        return np.asarray(ends[stops] - ends[stops - lengths], np.int64)

    def snapshot(self) -> list[Entry]:
        """Return the micrographs in the order of the run."""
        with self._lock:
            return list(self.entries)

    def judged(self, step: int) -> tuple[list[Entry], list[int]]:
        """Return the micrographs, and how many picks of each are kept at step / 1000."""
        with self._lock:
            return list(self.entries), self.kept_at(step).tolist()

    @property
    def overrides(self) -> dict[str, Override]:
        """What was decided, by name."""
        return self._overrides


def pick_codes(
    goodness: NDArray[np.float32], class_index: NDArray[np.uint8], reason: NDArray[np.uint8]
) -> Codes:
    """Return group * BINS + bin of each pick, shape (n,)."""
    outside = reason > REASONS.index("bad_region")
    group = np.where(outside, len(CLASS_NAMES) - 2 + reason.astype(np.uint16), class_index)
    return np.asarray(group * np.uint16(BINS) + goodness_bins(goodness), np.uint16)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what tells that a file has changed; None when there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
