"""Whether coordinate files are still what they were when they were scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from micscreen.errors import PicksError
from micscreen.io import read_coordinate_folder
from micscreen.io.table import PickTable, PickTables
from micscreen.run.rows import Source, SourceFile


def describe_sources(tables: Iterable[PickTable]) -> list[Source]:
    """Return what tells later whether the coordinate files are still the same."""
    return [
        Source(
            table.format,
            str(table.source.absolute()),
            tuple(_describe(path) for path in table.members or (table.source,)),
        )
        for table in tables
    ]


def _describe(path: Path) -> SourceFile:
    stat = path.stat()
    return SourceFile(str(path.absolute()), stat.st_size, stat.st_mtime_ns, _sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sources(sources: Iterable[Source]) -> None:
    """Raise PicksError unless all coordinate files are there and as they were; all at once."""
    gone: list[str] = []
    changed: list[str] = []
    seen: set[str] = set()
    for file in (file for source in sources for file in source.files):
        if file.path in seen:
            continue
        seen.add(file.path)
        path = Path(file.path)
        if not path.is_file():
            gone.append(file.path)
            continue
        stat = path.stat()
        same = (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns)
        if not same and (stat.st_size != file.size or _sha256(path) != file.sha256):
            changed.append(file.path)
    problems = [f"{len(gone)} are gone, the first is {gone[0]}"] if gone else []
    problems += [f"{len(changed)} have changed, the first is {changed[0]}"] if changed else []
    if problems:
        raise PicksError(
            "coordinate files are not as they were when they were scored: " + "; ".join(problems),
            hint="Put them back, or screen again into another --output.",
        )


def read_again(sources: Iterable[Source]) -> PickTables:
    """Return the tables of coordinate files that `check_sources` found unchanged.

    Raises
    ------
    PicksError
        When a list names files now that were missing when it was scored.
    """
    tables = PickTables()
    for source in sources:
        # Files that a list names and that are missing were said when the job was run.
        found = read_coordinate_folder([Path(source.path)], format=source.format)
        if not found.tables:
            raise found.problems[0][1]
        table = found.tables[0]
        if file_names(table) != tuple(file.path for file in source.files):
            raise PicksError(
                "names other files than when it was scored",
                where=source.path,
                hint="Screen again into another --output.",
            )
        tables.append(table)
    return tables


def file_names(table: PickTable) -> tuple[str, ...]:
    """Return the full names of all files of a table."""
    return tuple(str(path.absolute()) for path in table.members or (table.source,))
