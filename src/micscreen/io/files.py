"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
    start = f".tmp-{os.getpid()}-{threading.get_ident() % 10**6}-"
    tail = path.name.encode()[-(255 - len(start)) :].decode(errors="ignore")
    aside = path.with_name(start + tail)
    try:
        yield aside
        descriptor = os.open(aside, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.replace(path)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with whole_file(path) as aside:
        aside.write_bytes(data)
