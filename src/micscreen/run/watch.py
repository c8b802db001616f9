"""Jobs whose files are complete, one after the other.

A batch and each step of a stream are the same loop in `run.loop` over this generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

Job = TypeVar("Job")


def fingerprint(path: Path) -> str:
    """Return size and time of change of a file, which tell whether it is still the same.

    Raises
    ------
    OSError
        When there is no such file.
    """
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def settled(jobs: Iterable[Job], stopped: Callable[[], bool]) -> Iterator[Job]:
    """Yield jobs whose files are complete, until a stop is asked for.

    Parameters
    ----------
    jobs
        In the order in which they are to be done.
    stopped
        Asked before each job, so that nothing new begins after a stop.
    """
    for job in jobs:
        if stopped():
            return
        yield job
