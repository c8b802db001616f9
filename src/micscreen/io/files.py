"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_LATER: Final[set[Path]] = set()
"""Folders that `synced_later` has promised to bring to disk."""


@contextmanager
def synced_later(folder: Path) -> Iterator[None]:
    """Bring the files that are written below `folder` to disk together, when all are written.

    For a folder that nobody sees yet: one wait for the disk in place of one per file, which is
    most of the time where there are thousands.
    """
    _LATER.add(folder)
    try:
        yield
        for place, _, names in os.walk(folder):  # names only: Path.rglob keeps every path
            for name in names:
                _sync(Path(place, name))
    finally:
        _LATER.discard(folder)


def _sync(path: Path) -> None:
    """Wait until the data of a file are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes the place of `path` only when all went well.

    The data are on disk (fsync) before the name changes, so that a power cut leaves the old file
    or the new one. The temporary name starts with a dot and keeps the suffixes, because writers
    choose the format by them, and is no longer than file systems allow (255 bytes).

    Parameters
    ----------
    path
        The file to write; its folder is made when it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _LATER.isdisjoint(path.parents):
        yield path  # nobody sees this folder before it is whole
        return
    start = f".tmp-{os.getpid()}-{threading.get_ident() % 10**6}-"
    tail = path.name.encode()[-(255 - len(start)) :].decode(errors="ignore")
    aside = path.with_name(start + tail)
    try:
        yield aside
        _sync(aside)
        aside.replace(path)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with whole_file(path) as aside:
        aside.write_bytes(data)
