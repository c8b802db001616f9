"""From stored scores and a threshold to sets of coordinates: kept, rejected, unscreened.

Nothing but the store and the original coordinate files is needed: thresholds are applied, not
stored. Each set is a folder that appears whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import JobError, UsageError
from micscreen.io import FORMATS, write_picks, write_subset
from micscreen.io.files import synced_later
from micscreen.io.table import PickTable, Selection
from micscreen.picks import Picks
from micscreen.run.lock import JobLock
from micscreen.run.overrides import Reviser, read_overrides, revised
from micscreen.run.rows import MicrographRow, Scores
from micscreen.run.settings import check_threshold, threshold_name
from micscreen.run.sources import check_sources, read_again
from micscreen.run.store import STORE_NAME, Store
from micscreen.run.trouble import told
from micscreen.run.verdicts import Verdicts, judge

ASIDE: Final = ".tmp-set-"
"""Start of the names of folders that are not whole yet, or no longer wanted."""

SETS_LOCK: Final = ".lock-sets"
"""Held by whoever writes sets; a run in progress leaves it free for `rethreshold`."""

WRITERS: Final = 2
"""Threads that write files of a set: the disk is waited for once per set, so more only get into
each other's way."""

AT_ONCE: Final = 256
"""Files of a set that are handed to the writers together."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How sets are written; see `OutputSettings` and `ScoreSettings` for the words."""

    threshold: float = 0.8
    on_suspect: Literal["keep", "drop", "flag"] = "flag"
    coordinate_scale: Literal["original", "micrographs"] = "original"
    output_format: str | None = None
    prefix: str = "auto"

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if self.output_format is not None:
            check_output_format(self.output_format)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written.

    Attributes
    ----------
    threshold
        That was applied.
    folders
        The sets: kept, then rejected, then unscreened where there are such picks.
    kept, rejected, unscreened
        How many picks went into each; together all rows of all coordinates, each once.
    rejected_by
        Class (or `outside_frame`) to how many picks it condemned.
    """

    threshold: float
    folders: tuple[Path, ...]
    kept: int
    rejected: int
    unscreened: int
    rejected_by: dict[str, int]


def check_output_format(name: str) -> None:
    """Raise UsageError unless coordinates can be converted to the format `name`."""
    possible = sorted(key for key, value in FORMATS.items() if value.write_new is not None)
    if name not in possible:
        raise UsageError(
            f"cannot be written from other formats: {name}",
            where="--format",
            hint=f"Take one of {', '.join(possible)}, or leave it out to keep the input's own.",
        )


def rethreshold(
    job: Path,
    threshold: float,
    *,
    output_format: str | None = None,
    on_suspect: Literal["keep", "drop", "flag"] | None = None,
    prefix: str = "auto",
    manual: bool = False,
) -> ExportReport:
    """Write a new set from a job's stored scores, without the network.

    Parameters
    ----------
    job
        The job folder.
    threshold
        Picks with goodness >= threshold are kept; -1 keeps all.
    output_format, on_suspect
        None for what the job was run with.
    prefix
        Part of the set's name, `picks_PREFIX_080`.
    manual
        Apply what was decided in `micscreen view`: see `micscreen.run.overrides`.

    Raises
    ------
    UsageError
        For a threshold that would keep picks that were excluded by hand.
    JobError
        When the folder is no job, nothing was screened yet, or the disk is full or refuses.
    JobLockedError
        While another set is being written.
    PicksError
        When the coordinate files are gone or have changed; while a run follows files that grow,
        a moment later they may be known again.
    """
    if manual and threshold <= 0:
        raise UsageError("must be above 0 with --manual", where="--threshold")
    with (
        told(job, job / STORE_NAME),
        Store(job) as store,
        JobLock(job, SETS_LOCK),
        store.snapshot(),
    ):
        info = store.info()
        identity = info.get("identity")
        check_sources(store.sources())
        tables = read_again(store.sources())
        if identity is None or not tables:
            raise JobError("nothing was screened in this job yet", where=job)
        settings = ExportSettings(
            threshold=threshold,
            on_suspect=on_suspect or identity["scoring"]["on_suspect"],
            coordinate_scale=identity["outputs"]["coordinate_scale"],
            output_format=output_format or identity["outputs"]["output_format"],
            prefix=prefix,
        )
        if not manual:
            return export(store, tables, settings)
        overrides, reviser = read_overrides(job), Reviser(job, info)
        return export(
            store,
            tables,
            settings,
            lambda: revised(store.scored(), reviser, overrides),
        )


Scored = Callable[[], Iterator[tuple[MicrographRow, Scores | None]]]
"""What `Store.scored` is: gives all micrographs with their scores, as often as it is called."""


def export(
    store: Store,
    tables: Sequence[PickTable],
    settings: ExportSettings,
    scored: Scored | None = None,
) -> ExportReport:
    """Write the kept and the rejected picks, and those that were not screened, if any.

    Parameters
    ----------
    store
        The job's; sets go into its folder.
    tables
        The coordinates that were scored, in the order of `Store.sources`.
    settings
        Threshold, format, scale.
    scored
        Where micrographs and scores come from; None for the store.
    """
    scored = scored or store.scored
    verdicts, condemned = judge(
        scored(),
        [len(table) for table in tables],
        settings.threshold,
        settings.on_suspect,
        moved=settings.coordinate_scale == "micrographs",
    )
    name = "picks_" + threshold_name(settings.threshold, settings.prefix)
    unscreened = ~verdicts.screened
    rejected = verdicts.screened & ~verdicts.kept
    lost = int(unscreened.sum())
    parts: list[tuple[str, NDArray[np.bool_] | None]] = [
        (name, verdicts.kept),
        (f"{name}_rejected", rejected if settings.threshold != -1 else None),
        (f"{name}_unscreened", unscreened if lost else None),
    ]
    clean_aside(store.folder)
    folders = []
    for part, rows in parts:
        folder = store.folder / part
        if rows is None:
            _discard(folder)
            continue
        judged = rows is not unscreened
        with _whole_folder(folder) as aside:
            if settings.output_format is not None and judged:
                _write_converted((aside, folder), scored, tables, (verdicts, rows), settings)
            else:
                _write_own((aside, folder), tables, (verdicts, rows), settings, judged=judged)
        folders.append(folder)
    return ExportReport(
        threshold=settings.threshold,
        folders=tuple(folders),
        kept=int(verdicts.kept.sum()),
        rejected=int(rejected.sum()),
        unscreened=lost,
        rejected_by=condemned,
    )


def _write_own(
    places: tuple[Path, Path],
    tables: Sequence[PickTable],
    judgement: tuple[Verdicts, NDArray[np.bool_]],
    settings: ExportSettings,
    *,
    judged: bool,
) -> None:
    """Write the given rows of each table in the table's own format, names and layout.

    `places` are the folder to write into, and the one as which it will be known; `judgement` are
    the verdicts and the rows.
    """
    aside, final = places
    verdicts, rows = judgement

    def write(number: int) -> None:
        table, part = tables[number], verdicts.part(number)
        lost = ~verdicts.screened[part]
        if judged and lost.any() and lost.all():
            return  # Not one of its picks was judged: it stands in the unscreened set alone.
        if not judged and not lost.any():
            return
        selection = Selection(rows[part], verdicts.goodness[part] if judged else None)
        scales = verdicts.scales.get(number, ())
        if judged and not table.needs_shape and set(scales) - {1.0}:
            scale = verdicts.scale[part]
            x, y = (np.where(lost, v, (v + 0.5) * scale - 0.5) for v in (table.x, table.y))
            selection = replace(selection, x=x, y=y, scale=float(np.median(scales)))
        place = layout[number]
        write_subset(table, selection, aside / place, final=final / place)

    layout = _layout(tables)
    with ThreadPoolExecutor(WRITERS) as pool:
        for at in range(0, len(tables), AT_ONCE):  # a task for each of them at once takes memory
            list(pool.map(write, range(at, min(at + AT_ONCE, len(tables)))))


def _layout(tables: Sequence[PickTable]) -> Sequence[Path]:
    """Return the subfolder of each table: none, unless files of equal names would meet."""
    homes: dict[str, str] = {}
    meet = False
    for table in tables:
        for path in table.members or (table.source,):
            home = str(path.absolute())
            meet |= homes.setdefault(path.name, home) != home
    if len(tables) < 2 or not meet:
        return [Path()] * len(tables)
    folders = [table.source.absolute().parent for table in tables]
    common = Path(os.path.commonpath(folders))
    return [folder.relative_to(common) for folder in folders]


def _write_converted(
    places: tuple[Path, Path],
    scored: Scored,
    tables: Sequence[PickTable],
    judgement: tuple[Verdicts, NDArray[np.bool_]],
    settings: ExportSettings,
) -> None:
    """Write the given rows as another format: one file in all, or one per micrograph.

    `places` are the folder to write into, and the one as which it will be known; `judgement` are
    the verdicts and the rows.
    """
    aside, final = places
    name = settings.output_format
    assert name is not None
    many = FORMATS[name].many
    pairs = [
        (row.picked_path if many else row.name, picks)
        for row, picks in _converted(scored, tables, judgement, settings)
    ]
    target = aside / f"picks{FORMATS[name].extensions[0]}" if many else aside
    write_picks(target, pairs, format=name, final=final)


def _converted(
    scored: Scored,
    tables: Sequence[PickTable],
    judgement: tuple[Verdicts, NDArray[np.bool_]],
    settings: ExportSettings,
) -> Iterator[tuple[MicrographRow, Picks]]:
    """Yield each screened micrograph, and those of its picks that are in the rows."""
    verdicts, rows = judgement
    for row, scores in scored():
        if scores is None or row.source is None:
            continue
        own = rows[scores.rows + verdicts.starts[row.source]]
        yield row, _scored_picks(row, scores, tables[row.source], own, settings)


def _scored_picks(
    row: MicrographRow,
    scores: Scores,
    table: PickTable,
    own: NDArray[np.bool_],
    settings: ExportSettings,
) -> Picks:
    """Return the picks of one micrograph that are in `own`, with all that was found out."""
    shape = None if row.picked_height is None else (row.picked_height, row.picked_width or 0)
    picks = replace(
        table.picks(scores.rows[own], shape),
        box_size=row.box_size,
        goodness=scores.goodness[own],
        class_index=scores.class_index[own],
        distance=scores.distance[own],
        reason=scores.reason[own],
    )
    if settings.coordinate_scale == "micrographs":
        return picks.rescaled(row.box_scale or 1.0)
    return picks


def clean_aside(job: Path) -> None:
    """Remove what a killed run left half-written; only under the job's lock."""
    parts = (".", "masks", "classes", "thumbnails")
    for path in [path for part in parts for path in job.joinpath(part).glob(".tmp-*")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill; it takes the place of `folder` only when all went well."""
    aside = folder.with_name(f"{ASIDE}new-{folder.name}")
    aside.mkdir()
    try:
        with synced_later(aside):
            yield aside
        _discard(folder)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Take a folder out of sight in one step, then remove it."""
    if folder.exists():
        old = folder.rename(folder.with_name(f"{ASIDE}old-{folder.name}"))
        shutil.rmtree(old)
