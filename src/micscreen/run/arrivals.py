"""What has come so far, and what of it can be screened now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from micscreen.errors import MicscreenError
from micscreen.io import (
    FORMATS,
    MICROGRAPH_SUFFIXES,
    is_coordinate_name,
    micrograph_shape,
    read_coordinate_folder,
)
from micscreen.io.table import PickTable, PickTables
from micscreen.run.find import natural_key
from micscreen.run.plan import Found, Job, arrange
from micscreen.run.poll import Lookout
from micscreen.run.settings import ScreenSettings, WatchSettings


@dataclass(slots=True)
class News:
    """What one look brought.

    Attributes
    ----------
    tables
        Numbers of the tables that are new or were read anew.
    jobs
        Micrographs that can be screened, or whose picks may have changed.
    """

    tables: list[int] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)


class Arrivals:
    """Files that came, and which of them wait for which others.

    Parameters
    ----------
    settings, watch
        What is followed, and how.
    clock
        Seconds that never jump, and seconds since 1970.
    """

    def __init__(
        self,
        settings: ScreenSettings,
        watch: WatchSettings,
        clock: Callable[[], tuple[float, float]] = lambda: (time.monotonic(), time.time()),
    ) -> None:
        inputs = settings.inputs
        self.settings, self._clock = settings, clock
        self.tables = PickTables()
        self._picked = Lookout(
            inputs.micrographs, _is_micrograph, quiet=watch.quiet, whole=_whole_micrograph
        )
        self._others = Lookout(
            inputs.other_micrographs, _is_micrograph, quiet=watch.quiet, whole=_whole_micrograph
        )
        self._coordinates = Lookout(
            inputs.coordinates,
            lambda path: is_coordinate_name(path, inputs.coordinate_format),
            quiet=watch.quiet,
            whole=self._readable,
        )
        self._read: dict[Path, PickTable] = {}  # by `_readable`, until taken
        self._numbers: dict[Path, int] = {}  # coordinate file -> number of its table
        self._inside: set[Path] = set()  # files that a list names
        self._many: set[int] = set()  # numbers of tables that can hold many micrographs
        self._of_table: dict[int, list[Path]] = {}  # micrographs whose picks a table has
        self._open: set[Path] = set()  # micrographs that wait for picks or partner
        self._partners: dict[Path, Path] = {}  # other micrograph -> the picked one
        self._open_others: set[Path] = set()
        self._names: dict[str, Path] = {}

    @property
    def restless(self) -> bool:
        """Whether files are there that are still growing."""
        return self._picked.waiting or self._others.waiting or self._coordinates.waiting

    @property
    def roots(self) -> list[Path]:
        """The folders to keep an eye on."""
        return [*self._picked.roots, *self._others.roots, *self._coordinates.roots]

    def wake(self, paths: Sequence[str]) -> None:
        """Look at these files the next time, whatever their rest."""
        for lookout in (self._picked, self._others, self._coordinates):
            lookout.wake(paths)

    def look(self) -> News:
        """Take what came or changed since the last look.

        Raises
        ------
        UsageError, MatchError
            When names are ambiguous, or a box size is missing.
        """
        now = self._clock()
        micrographs = set(self._picked.poll(*now))
        others = set(self._others.poll(*now))
        news = News(tables=self._take_tables(self._coordinates.poll(*now)))
        if not (micrographs or others or news.tables):
            return news
        self._open |= micrographs
        self._open_others |= others
        self._open |= {self._partners[path] for path in others & self._partners.keys()}
        for number in news.tables:
            self._open.update(self._of_table.pop(number, ()))
        # A changed micrograph meets its old picks again.
        met = {n for n, own in self._of_table.items() if not micrographs.isdisjoint(own)}
        for number in met:
            if number not in self._many:
                self._of_table.pop(number)
        news.jobs = self._pair()
        return news

    def _take_tables(self, paths: Sequence[Path]) -> list[int]:
        """Read coordinate files, and return the numbers of their tables."""
        changed = []
        for path in sorted(paths, key=natural_key):
            if path not in self._read and not self._readable(path):
                continue  # Out of patience: the end of the stream says what is wrong with it.
            table = self._read.pop(path)
            self._inside |= {member.resolve() for member in table.members[1:]}
            number = self._numbers.setdefault(path, len(self.tables))
            if number == len(self.tables):
                self.tables.append(table)
            self.tables[number] = table
            (self._many.add if FORMATS[table.format].many else self._many.discard)(number)
            changed.append(number)
        return [n for n in changed if self.tables[n].source.resolve() not in self._inside]

    def _pair(self) -> list[Job]:
        """Return jobs for what waits and has all that it needs now."""
        chosen = [
            number
            for number in range(len(self.tables))
            if (number in self._many or number not in self._of_table)
            and self.tables[number].source.resolve() not in self._inside
        ]
        if not chosen or not self._open:
            return []
        others = [*self._open_others, *(o for o, p in self._partners.items() if p in self._open)]
        found = Found(
            micrographs=[str(path) for path in sorted(self._open, key=natural_key)],
            others=[str(path) for path in sorted(set(others), key=natural_key)],
            tables=[self.tables[number] for number in chosen],
            problems=(),
        )
        jobs = []
        for job in arrange(found, self.settings, partial=True).jobs:
            assert job.table is not None
            number = chosen[job.table]
            self._of_table.setdefault(number, []).append(job.picked)
            self._open.discard(job.picked)
            if job.micrograph != job.picked:
                self._partners[job.micrograph] = job.picked
                self._open_others.discard(job.micrograph)
            name = self._name(job)
            jobs.append(replace(job, table=number, name=name, position=len(self._names)))
        return jobs

    def _name(self, job: Job) -> str:
        """Return the job's name, or another one when a micrograph elsewhere has it."""
        name = job.name
        while self._names.setdefault(name, job.picked) != job.picked:
            name = f"{job.picked.absolute().parent.name}_{name}"
        return name

    def _readable(self, path: Path) -> bool:
        """Return whether a coordinate file can be read to its end; keep what was read."""
        self._read.pop(path, None)
        try:
            found = read_coordinate_folder([path], format=self.settings.inputs.coordinate_format)
        except MicscreenError:
            return False
        if not found.tables:
            return False
        self._read[path] = found.tables[0]
        return True


def _is_micrograph(path: Path) -> bool:
    return path.name.lower().endswith(MICROGRAPH_SUFFIXES)


def _whole_micrograph(path: Path) -> bool:
    """Return whether the header agrees with the file's size."""
    try:
        micrograph_shape(path)
    except (MicscreenError, OSError):
        return False
    return True
