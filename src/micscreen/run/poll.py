"""Which files have come or changed, and are whole: by looking, at a cost of what is new.

Between two looks a folder is listed again only when its own time of change moved, and a file that
has been quiet for long is looked at less and less often. Nothing relies on events, which network
file systems do not give; where the system has them, `run.stream` lets them wake it earlier.
"""

from __future__ import annotations

import fnmatch
import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

GRAIN: Final = 2.0
"""Seconds; the coarsest clock of a file system that is in use."""

LONGEST_REST: Final = 300.0
"""Seconds after which even the quietest file is looked at again."""

REST: Final = 0.1
"""A file that has been quiet for so long is left alone for this share of that time."""

MAGIC: Final = frozenset("*?[")


@dataclass(slots=True)
class _Seen:
    """What is known about one file."""

    inode: int
    size: int
    changed: int  # ns
    since: float  # when it was first seen like this
    due: float  # when it is looked at again


@dataclass(slots=True)
class _Folder:
    """What is known about one folder."""

    changed: int = -1  # ns
    listed: float = -1.0
    names: dict[str, int] = field(default_factory=dict)  # name -> inode, files
    news: dict[str, int] = field(default_factory=dict)  # those that came or were replaced
    folders: set[str] = field(default_factory=set)


class Lookout:
    """Files that some names stand for, told when they are new or changed, and quiet.

    Parameters
    ----------
    patterns
        Files, folders (for the files directly in them) and glob patterns, ``**`` for any folders.
    accepts
        Whether a file of this name is wanted. Hidden files and names that end in ``.tmp``,
        ``.part``, ``.partial``, ``.filepart`` or ``~`` never are.
    quiet
        Seconds for which size and time of change must stay the same.
    whole
        Whether a quiet file is complete, as far as it says itself; it is asked again until
        `patience` seconds have passed, and taken then as it is.
    patience
        Seconds.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        accepts: Callable[[Path], bool],
        *,
        quiet: float,
        whole: Callable[[Path], bool] = lambda path: True,
        patience: float = 60.0,
    ) -> None:
        self._patterns = [_Pattern(text) for text in patterns]
        self._accepts, self._whole = accepts, whole
        self._quiet, self._patience = quiet, patience
        self._folders: dict[str, _Folder] = {}
        self._files: dict[str, _Seen] = {}
        self._restless: set[str] = set()
        self._resting: list[tuple[float, str]] = []
        self._fresh: list[_Folder] = []
        self._wall = 0.0

    @property
    def waiting(self) -> bool:
        """Whether some file is there that was not told yet."""
        return bool(self._restless)

    @property
    def roots(self) -> list[Path]:
        """The folders below which everything lies."""
        return [Path(pattern.base) for pattern in self._patterns]

    def poll(self, now: float, wall: float) -> list[Path]:
        """Return what is new or changed since it was told last, and quiet and whole.

        Parameters
        ----------
        now
            Seconds of a clock that never jumps.
        wall
            Seconds since 1970, only to know old files as quiet at first sight.
        """
        self._wall = wall
        for path in [path for pattern in self._patterns for path in pattern.news(self._list)]:
            if path in self._files or self._accepts(Path(path)):
                self._look(path, now)
        for folder in self._fresh:
            folder.news = {}
        self._fresh.clear()
        for path in self._due(now):
            self._look(path, now)
        return [Path(path) for path in sorted(self._restless) if self._ready(path, now)]

    def wake(self, paths: Sequence[str]) -> None:
        """Look at these files, and list these folders, the next time, whatever their rest."""
        for path in [name for given in paths for name in (given, os.path.relpath(given))]:
            for folder in (path, os.path.dirname(path) or "."):
                if folder in self._folders:
                    self._folders[folder].changed = -1
            if path in self._files:
                self._rest(path, 0.0)

    def _due(self, now: float) -> list[str]:
        """Return the files whose rest is over."""
        over = {path for path in self._restless if self._files[path].due <= now}
        while self._resting and self._resting[0][0] <= now:
            due, path = heapq.heappop(self._resting)
            known = self._files.get(path)
            if known is not None and known.due == due:
                over.add(path)
        return sorted(over)

    def _rest(self, path: str, until: float) -> None:
        """Leave a file alone for a while."""
        self._files[path].due = until
        heapq.heappush(self._resting, (until, path))

    def _look(self, path: str, now: float) -> None:
        """Look at one file, and note whether it changed."""
        try:
            found = os.stat(path)
        except OSError:
            self._files.pop(path, None)
            self._restless.discard(path)
            return
        known = self._files.get(path)
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
        if known is not None and (known.inode, known.size, known.changed) == state:
            quiet = now - known.since
            self._rest(path, now + min(LONGEST_REST, max(self._quiet, REST * quiet)))
            return
        old = self._wall - found.st_mtime
        since = now - old if known is None and old > max(60.0, self._quiet) else now
        self._files[path] = _Seen(*state, since=since, due=now)
        self._rest(path, now + max(self._quiet, min(LONGEST_REST, REST * (now - since))))
        self._restless.add(path)

    def _ready(self, path: str, now: float) -> bool:
        """Return whether a restless file is quiet and whole now."""
        known = self._files[path]
        quiet = now - known.since
        if quiet < self._quiet:
            return False
        if quiet < self._patience and not (known.size and self._whole(Path(path))):
            self._rest(path, now + self._quiet)
            return False
        self._restless.discard(path)
        return True

    def _list(self, folder: str) -> _Folder:
        """Return what is in a folder, listed again when it changed."""
        known = self._folders.setdefault(folder, _Folder())
        try:
            changed = os.stat(folder).st_mtime_ns
            # Within the grain of the file system's clock a second change would not show.
            if changed == known.changed and known.listed - changed / 1e9 > GRAIN:
                return known
            names: dict[str, int] = {}
            folders: set[str] = set()
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _ignored(entry.name):
                        continue
                    if _is_folder(entry):
                        folders.add(entry.name)
                    else:
                        names[entry.name] = entry.inode()
        except OSError:
            return known
        known.changed, known.listed, known.folders = changed, self._wall, folders
        known.news |= dict(names.items() - known.names.items())
        known.names = names
        self._fresh.append(known)
        return known


class _Pattern:
    """One name that the user gave, cut into a base folder and parts to match below it."""

    def __init__(self, text: str) -> None:
        path = Path(text)
        parts = path.parts
        fixed = next((i for i, part in enumerate(parts) if MAGIC & set(part)), len(parts))
        if fixed == len(parts):
            self.base, self.parts = (str(path), ("*",)) if path.is_dir() else _split(path)
        else:
            self.base, self.parts = str(Path(*parts[:fixed])), parts[fixed:]

    def news(self, listed: Callable[[str], _Folder]) -> Iterator[str]:
        """Yield every file below the base that matches and came or was replaced."""
        yield from self._below(self.base, self.parts, listed, frozenset())

    def _below(
        self,
        folder: str,
        parts: Sequence[str],
        listed: Callable[[str], _Folder],
        above: frozenset[str],
    ) -> Iterator[str]:
        content = listed(folder)
        here, rest = parts[0], parts[1:]
        if not rest and here != "**":
            for name in content.news:
                if fnmatch.fnmatchcase(name, here):
                    yield os.path.join("" if folder == "." else folder, name)
            return
        if here == "**":
            yield from self._below(folder, rest or ("*",), listed, above)
        real = os.path.realpath(folder)
        if real in above:
            return  # a symbolic link that leads back up
        for name in content.folders:
            if here == "**" or fnmatch.fnmatchcase(name, here):
                after = parts if here == "**" else rest
                yield from self._below(os.path.join(folder, name), after, listed, above | {real})


def _split(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return folder and escaped name of a file that may not be there yet."""
    return str(path.parent), (path.name.replace("[", "[[]"),)


def _ignored(name: str) -> bool:
    """Return whether a name is that of a file in the making."""
    return name.startswith(".") or name.lower().endswith(
        (".tmp", ".part", ".partial", ".filepart", "~")
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def on_network(path: Path) -> bool:
    """Return whether a path lies on a file system whose changes other hosts make unseen."""
    best, kind = "", ""
    real = os.path.realpath(path)
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return True
    for line in lines:
        _, place, name, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, name
    return kind.startswith(("nfs", "cifs", "smb", "fuse", "lustre", "gpfs", "beegfs", "ceph", "9p"))
