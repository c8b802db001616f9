"""Whether coordinate files are still what they were when they were scored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from micscreen.errors import PicksError
from micscreen.io.table import PickTable
from micscreen.run.rows import Source, SourceFile


def describe_sources(tables: Sequence[PickTable]) -> list[Source]:
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


def check_sources(sources: Sequence[Source]) -> None:
    """Raise PicksError unless all coordinate files are there and as they were; all at once."""
    gone, changed = [], []
    for file in {file.path: file for source in sources for file in source.files}.values():
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
