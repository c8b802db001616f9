"""One writer per job folder: a lock that a killed run cannot leave behind for ever."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from micscreen.errors import JobLockedError

LOCK_NAME: Final = ".lock"

SILENT_AFTER: Final = 600.0
"""Seconds without a sign of life after which a run on another host is taken to be gone."""


class JobLock:
    """The right to write to a job folder, held from `acquire` to `release`.

    Two things speak for a living owner: the lock that the system holds on the file (flock), and
    what the file says (host, process, its start). The second is needed where a network file system
    has no locks, or none across hosts.

    Parameters
    ----------
    folder
        The job folder, which exists.
    name
        Of the lock file; another one guards something else.
    patience
        Seconds for which `acquire` waits for the owner before it gives up.
    """

    def __init__(self, folder: Path, name: str = LOCK_NAME, patience: float = 0.0) -> None:
        self.path = folder / name
        self._patience = patience
        self._descriptor: int | None = None

    def __enter__(self) -> JobLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        JobLockedError
            When another run holds it, with the host and process number of that run.
        """
        until = time.monotonic() + self._patience
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._claim(descriptor)
                self._descriptor = descriptor
            except JobLockedError:
                os.close(descriptor)
                if time.monotonic() >= until:
                    raise
                time.sleep(0.2)
            except BaseException:
                os.close(descriptor)
                raise

    def _claim(self, descriptor: int) -> None:
        """Lock the open file and write our name into it, unless its owner lives."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = False
        except BlockingIOError:
            locked = True
        except OSError:
            # A file system without locks: what the file says decides alone.
            locked = False
        owner = _owner(os.pread(descriptor, 4096, 0))
        if locked or _lives(owner, self.path):
            who = f"process {owner.get('pid', '?')} on {owner.get('host', 'an unknown host')}"
            raise JobLockedError(
                f"another run is writing to this job ({who})",
                where=self.path.parent,
                hint="Wait for it, stop it, or use another --output. If that host is gone, "
                f"remove {self.path}.",
            )
        me = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _process_start(os.getpid()),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(me).encode(), 0)
        os.fsync(descriptor)

    def beat(self) -> None:
        """Give a sign of life, for hosts that see only the file."""
        if self._descriptor is not None:
            os.utime(self._descriptor)

    def release(self) -> None:
        """Give the lock back. The empty file stays, since removing it would race with others."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _owner(content: bytes) -> dict[str, Any]:
    """Return what a lock file says; empty when it says nothing that can be read."""
    try:
        owner = json.loads(content)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _lives(owner: dict[str, Any], path: Path) -> bool:
    """Return whether the process that a lock file names can still be at work."""
    if not owner:
        return False
    if owner.get("host") == socket.gethostname():
        return _process_start(int(owner.get("pid", 0))) == owner.get("started")
    # Both times are the file server's, so that clocks need not agree.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock-") as now:
        return os.fstat(now.fileno()).st_mtime - path.stat().st_mtime < SILENT_AFTER


def _process_start(pid: int) -> str:
    """Return when a process of this host started (clock ticks since boot); "" when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rsplit(")", 1)[1].split()[19]
