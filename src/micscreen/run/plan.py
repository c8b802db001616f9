"""From what the user named to jobs: one per micrograph, with its picks found by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MatchError, MicrographError, MicscreenError, PicksError, UsageError
from micscreen.io import FORMATS, match, read_coordinate_folder, read_micrograph
from micscreen.io.table import PickTable
from micscreen.run.find import (
    NAMES_SHOWN,
    find_coordinates,
    find_micrographs,
    listing,
    printable,
    unique_names,
)
from micscreen.run.settings import InputSettings, ScreenSettings

BOX_PER_DIAMETER: Final = 1.5
"""Side of the box / diameter of the particle."""

PROBED: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One micrograph to screen; paths are held as text, since a plan may have very many.

    Attributes
    ----------
    position
        Place in the plan, from 0.
    name
        Unique within the plan; names the mask and the thumbnail.
    path, picked_path
        The file that is screened, and the one that was picked; the same without other micrographs.
    table, micrograph_index
        Which of the plan's tables holds its picks, and which of the table's micrographs it is;
        None without picks.
    rows
        Shape (n,), int64: its rows in the table, in file order.
    box_size
        px of the picked micrograph; None when it follows from the diameter and the pixel size.
    problem
        Why its coordinates cannot be read; None when they can.
    """

    position: int
    name: str
    path: str
    picked_path: str
    table: int | None
    micrograph_index: int | None
    rows: NDArray[np.int64]
    box_size: float | None
    problem: str | None = None

    @property
    def micrograph(self) -> Path:
        """The file that is screened."""
        return Path(self.path)

    @property
    def picked(self) -> Path:
        """The file that was picked."""
        return Path(self.picked_path)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a run will do.

    Attributes
    ----------
    jobs
        In natural order of the micrographs' paths.
    tables
        The coordinate tables; jobs refer to them by index.
    warnings
        Sentences for the user: what did not match, what could not be read.
    without_coordinates
        Micrographs for which there are no coordinates; they are screened, with zero picks.
    unmatched
        Names in the coordinates for which there is no micrograph; their picks stay unscreened.
    problems
        Coordinate files that cannot be read.
    """

    jobs: tuple[Job, ...]
    tables: Sequence[PickTable]
    warnings: tuple[str, ...] = ()
    without_coordinates: tuple[Path, ...] = ()
    unmatched: tuple[str, ...] = ()
    problems: tuple[tuple[Path, MicscreenError], ...] = ()

    @property
    def picks_in(self) -> int:
        """How many picks there are in all coordinates."""
        return sum(len(table) for table in self.tables)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What there is to be planned.

    Attributes
    ----------
    micrographs, others
        Paths of the files that were picked, in natural order, and of those that are screened
        instead, if any.
    tables, problems
        Coordinates that can be read, and files that cannot.
    """

    micrographs: Sequence[str]
    others: Sequence[str]
    tables: Sequence[PickTable]
    problems: Sequence[tuple[Path, MicscreenError]]


def plan(settings: ScreenSettings) -> Plan:
    """Find the micrographs and the coordinates, and pair them by name.

    Raises
    ------
    UsageError
        When nothing is found, or a box or pixel size is missing; all reasons at once.
    MatchError
        When a name is ambiguous, or nothing matches; with both lists.
    PicksError
        When no coordinate file can be read.
    """
    inputs = settings.inputs
    problems: list[str] = []
    micrographs = [str(path) for path in find_micrographs(inputs.micrographs, problems)]
    others = []
    if inputs.other_micrographs:
        others = [str(path) for path in find_micrographs(inputs.other_micrographs, problems)]
    sources = find_coordinates(inputs.coordinates, problems)
    if problems:
        raise UsageError("\n".join(problems), hint="Give files, folders or quoted patterns.")
    found = read_coordinate_folder(sources, format=inputs.coordinate_format)
    if not found.tables:
        raise _nothing_readable(found.problems)
    return arrange(Found(micrographs, others, found.tables, found.problems), settings)


def arrange(found: Found, settings: ScreenSettings, *, partial: bool = False) -> Plan:
    """Pair what was found by name.

    Parameters
    ----------
    found, settings
        What there is, and what is asked for.
    partial
        More is to come: whatever has no partner yet is left out, without a word.

    Raises
    ------
    UsageError, MatchError
        As `plan`.
    """
    warnings: list[str] = []
    screened: dict[int, str] | None = None
    if settings.inputs.other_micrographs:
        screened = _pair_others(found.micrographs, found.others, warnings, partial=partial)
    jobs, unmatched = _make_jobs(found, screened, warnings, partial=partial)
    if partial:
        jobs = tuple(job for job in jobs if job.table is not None)
    alone = tuple(job.picked for job in jobs if job.table is None and job.problem is None)
    jobs = _with_boxes(jobs, found.tables, settings.inputs)
    if alone:
        warnings.append(
            f"{len(alone)} of {len(jobs)} micrographs have no coordinates and are screened with "
            f"zero picks: {listing(path.name for path in alone)}"
        )
    _check_pixel_size(jobs, settings)
    return Plan(
        jobs=jobs,
        tables=found.tables,
        warnings=tuple(warnings),
        without_coordinates=alone,
        unmatched=unmatched,
        problems=tuple(found.problems),
    )


def _nothing_readable(problems: Sequence[tuple[Path, MicscreenError]]) -> MicscreenError:
    """Return the error for coordinates of which nothing can be read."""
    if len(problems) == 1:
        return problems[0][1]
    if not problems:
        return PicksError("no coordinate files were found", hint="See `micscreen formats`.")
    text = "\n".join(str(error) for _, error in problems[:NAMES_SHOWN])
    return PicksError(f"none of {len(problems)} coordinate files can be read:\n{text}")


def _pair_others(
    micrographs: Sequence[str], others: Sequence[str], warnings: list[str], *, partial: bool
) -> dict[int, str]:
    """Return index of a picked micrograph -> the other micrograph that is screened instead."""
    found = match(micrographs, others)
    if not found.pairs and not partial:
        raise MatchError(
            "no other micrograph has the name of a picked one\n"
            f"picked: {listing(Path(path).name for path in micrographs)}\n"
            f"other: {listing(Path(path).name for path in others)}",
            hint="The two sets are paired by file name.",
        )
    if found.micrographs_alone:
        names = listing(Path(micrographs[i]).name for i in found.micrographs_alone)
        warnings.append(
            f"{len(found.micrographs_alone)} of {len(micrographs)} picked micrographs have no "
            f"other micrograph; their picks stay unscreened: {names}"
        )
    return {i: others[j] for i, j in found.pairs}


def _make_jobs(
    what: Found, screened: dict[int, str] | None, warnings: list[str], *, partial: bool
) -> tuple[tuple[Job, ...], tuple[str, ...]]:
    """Pair micrographs with the entries of the tables; return jobs and the names left over.

    `screened` are index of a micrograph -> what is screened instead; None for themselves.
    """
    micrographs, tables = what.micrographs, what.tables
    entries, names = _entries(tables)
    found = match(micrographs, names)
    if not found.pairs and names and not partial:
        raise MatchError(
            "no coordinates have the name of a micrograph\n"
            f"micrographs: {listing(Path(path).name for path in micrographs)}\n"
            f"coordinates: {listing(names)}",
            hint="They are paired by name; check that both are of the same data set.",
        )
    rows = _rows(tables)
    left = [entries[c] for c in found.coordinates_alone]
    if left:
        picks = sum(len(rows[t][m]) for t, m in left)
        warnings.append(
            f"{len(left)} of {len(entries)} entries of the coordinates have no micrograph; their "
            f"{picks} picks stay unscreened: {listing(tables[t].micrographs[m] for t, m in left)}"
        )
    whose = {i: entries[c] for i, c in found.pairs}
    problems = _whose_problem(micrographs, found.micrographs_alone, what.problems, warnings)
    stems = [printable(name) for name in unique_names(micrographs)]
    jobs: list[Job] = []
    for i, picked in enumerate(micrographs):
        path = picked if screened is None else screened.get(i)
        if path is None:
            continue
        t, m = whose.get(i, (None, None))
        own = np.empty(0, np.int64) if t is None or m is None else rows[t][m]
        jobs.append(Job(len(jobs), stems[i], path, picked, t, m, own, None, problems.get(i)))
    return tuple(jobs), tuple(tables[t].micrographs[m] for t, m in left)


def _entries(tables: Sequence[PickTable]) -> tuple[list[tuple[int, int]], list[str]]:
    """Return (table, number of the micrograph in it) of all that tables hold, and their names.

    A file of one micrograph is known by its path, so that equal names in two folders are told
    apart by the folders that they share with their micrographs.
    """
    entries: list[tuple[int, int]] = []
    names: list[str] = []
    for t, table in enumerate(tables):
        many = FORMATS[table.format].many
        entries.extend((t, m) for m in range(len(table.micrographs)))
        names.extend(name if many else str(table.source) for name in table.micrographs)
    return entries, names


def _rows(tables: Sequence[PickTable]) -> list[list[NDArray[np.int64]]]:
    """Return the row numbers of each micrograph of each table; equal ones are one array."""
    first: dict[int, NDArray[np.int64]] = {}
    rows = []
    for table in tables:
        if len(table.micrographs) == 1:
            n = len(table)
            rows.append([first.setdefault(n, np.arange(n))])
        else:
            rows.append(table.rows_by_micrograph())
    return rows


def _whose_problem(
    micrographs: Sequence[str],
    alone: Sequence[int],
    broken: Sequence[tuple[Path, MicscreenError]],
    warnings: list[str],
) -> dict[int, str]:
    """Return index of a micrograph -> why the coordinate file with its name cannot be read."""
    if not broken:
        return {}
    warnings.append(
        f"{len(broken)} coordinate files cannot be read: {listing(path.name for path, _ in broken)}"
    )
    found = match([micrographs[i] for i in alone], [str(path) for path, _ in broken])
    return {alone[i]: str(broken[c][1]) for i, c in found.pairs}


def _with_boxes(
    jobs: Sequence[Job], tables: Sequence[PickTable], inputs: InputSettings
) -> tuple[Job, ...]:
    """Give each job the box of the options, else of its file; None waits for the pixel size."""
    if inputs.particle_diameter is not None:
        return tuple(jobs)
    boxes = Counter(table.box_size for table in tables if table.box_size is not None)
    usual = boxes.most_common(1)[0][0] if boxes else None
    given = []
    for job in jobs:
        own = None if job.table is None else tables[job.table].box_size
        if own is None and not len(job.rows):
            own = usual  # Only its mask is wanted, and it looks like the others.
        given.append(replace(job, box_size=inputs.box_size or own))
    missing = [job.name for job in given if job.box_size is None]
    if missing:
        raise UsageError(
            f"the box size is not known for {len(missing)} of {len(jobs)} micrographs "
            f"({listing(missing, 3)}): their coordinates do not say it",
            where="--box-size",
            hint="Give --box-size in px of the picked micrographs, or --particle-diameter in Å.",
        )
    return tuple(given)


def _check_pixel_size(jobs: Sequence[Job], settings: ScreenSettings) -> None:
    """Raise UsageError when a pixel size is needed and neither options nor headers say it."""
    inputs = settings.inputs
    by_distance = settings.scoring.rule == "distance"
    if inputs.pixel_size is not None or not (by_distance or inputs.particle_diameter is not None):
        return
    for job in jobs[:PROBED]:
        try:
            if read_micrograph(job.picked, tiff_flip_y=inputs.tiff_flip_y).pixel_size is not None:
                return
        except (MicrographError, OSError):
            return  # It will be a failed row with this reason; others may be well.
    raise UsageError(
        "the pixel size is needed to turn Å into px, and the micrographs' headers do not say it",
        where="--pixel-size",
        hint="Give --pixel-size in Å/px"
        + ("." if by_distance else ", or --box-size in px instead of --particle-diameter."),
    )
