"""Memory maps of files that somebody cuts: the process lives, and is told (docs/adr/0018).

Reading a map behind the new end of its file is a signal, SIGBUS, which ends the process. Within
`unchanged` what is gone reads as zeros, and an error follows. Other causes of the signal keep
their effect.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np

from micscreen.errors import MicrographFormatError, MicscreenError
from micscreen.io.guard import AGAIN, CHANGED, reading

PAGE: Final = mmap.PAGESIZE
SA_SIGINFO: Final = 4
MAP_FIXED: Final = 0x10
ADDRESS_OFFSET: Final = 16
"""Of `si_addr` in the `siginfo_t` of 64-bit Linux (sigaction(2))."""


@dataclass(slots=True, eq=False)
class _Map:
    """A mapped file, as it was when it was opened."""

    start: int
    length: int
    path: Path
    state: tuple[int, int, int]
    cut: bool = False


_MAPS: dict[int, _Map] = {}
"""The maps that are in use, by address."""


class _Action(ctypes.Structure):
    """`struct sigaction` of 64-bit Linux, as glibc and musl have it."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def map_block(
    file: IO[bytes], start: int, dtype: np.dtype[Any], shape: tuple[int, int], path: Path
) -> np.memmap[Any, Any]:
    """Map a part of a file, read-only; note of the map is taken for as long as it is in use.

    Parameters
    ----------
    file
        Open for reading, known to hold that much.
    start
        Of the part, bytes.
    dtype, shape
        Of the pixels, (h, w).
    path
        By which `unchanged` knows it.

    Raises
    ------
    MicrographFormatError
        When the file became shorter meanwhile.
    """
    state = _state(os.fstat(file.fileno()))
    try:
        image: Any = np.memmap(file, dtype=dtype, mode="r", offset=start, shape=shape)
    except ValueError as error:  # it does not fit into the file
        raise MicrographFormatError(CHANGED, where=path, hint=AGAIN) from error
    memory, address = image._mmap, image.ctypes.data
    known = _Map(address - address % PAGE, len(memory), path, state)
    _MAPS[known.start] = known
    weakref.finalize(memory, _forget, known).atexit = False
    return cast("np.memmap[Any, Any]", image)


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Read a micrograph and use its pixels inside, while it stays in use to the end.

    A file onto whose name another one was renamed counts as unchanged: the map is of the old one.

    Raises
    ------
    MicrographFormatError
        At the end, when the file was cut or written to, so that pixels may not be the file's.
    """
    _survive_cuts()
    try:
        yield
    except MicscreenError:
        _check(path)  # zeros where there was image have odd consequences
        raise
    _check(path)


def _check(path: Path) -> None:
    """Raise an error if a map of this file is not of what the file held when it was opened."""
    maps = list(_MAPS.values())  # in one step: other threads add to it
    for known in [known for known in maps if known.path == path]:
        with reading(path):
            now = _state(path.stat()) if path.exists() else known.state
        if known.cut or (now[0] == known.state[0] and now != known.state):
            raise MicrographFormatError(CHANGED, where=path, hint=AGAIN)


@cache
def _survive_cuts() -> None:
    """Let this process live on when a mapped micrograph is cut; done once, on 64-bit Linux."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return
    library = ctypes.CDLL(None)
    library.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    library.mmap.restype = ctypes.c_void_p
    before, action = _Action(), _Action()

    def answer(number: int, info: int, context: int) -> None:
        address = ctypes.c_void_p.from_address(info + ADDRESS_OFFSET).value or 0
        for known in list(_MAPS.values()):
            if known.start <= address < known.start + known.length:
                known.cut = True
                page = address - address % PAGE
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED
                rest = known.start + known.length - page
                if library.mmap(page, rest, mmap.PROT_READ, flags, -1, 0) == page:
                    return
        library.sigaction(signal.SIGBUS, ctypes.byref(before), None)  # it comes again, to others

    kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    answering = kind(answer)
    _KEPT.append(answering)
    action.handler, action.flags = ctypes.cast(answering, ctypes.c_void_p).value, SA_SIGINFO
    library.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(before))


_KEPT: list[Any] = []
"""What the system calls, so that it is never freed."""


def _state(status: os.stat_result) -> tuple[int, int, int]:
    """Return which file it is, and what tells that it has changed."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _forget(known: _Map) -> None:
    """Drop a map that is no longer in use, unless another one lies there already."""
    if _MAPS.get(known.start) is known:
        del _MAPS[known.start]
