"""Jobs on many machines through Dask.

dask has its only address here, with a late import.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from micscreen.errors import DeviceError, JobError, MissingDependencyError, UsageError
from micscreen.run.engine import Job, Result
from micscreen.run.workers import do

QUEUES: Final = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
}
PER_THREAD: Final = 3
"""Jobs handed out at a time per thread of the workers, so that none waits for the next."""

LEAST: Final = 8
"""Jobs handed out while there are no workers yet."""

ATTEMPTS: Final = 20
"""So often is a job handed out when its result is lost."""

DEATHS: Final = 4
"""With so many dead workers a job is given up, in clusters that are started here."""

COUNT_EVERY: Final = 2.0
"""Seconds between two counts of the workers."""

LONELY: Final = 60.0
"""Seconds without any worker after which the user is told."""

LONELY_HINT: Final = "Jobs of a queue print into the folder `workers` of the job."

CONNECT: Final = "10s"
"""For so long a scheduler may take to answer."""

LOST: Final = "the connection to the Dask scheduler is lost"
LOST_HINT: Final = "Start the same command again when there is one: it continues."

Say = Callable[[str], object]


KILLER: Final = "every worker that had this micrograph died: too little memory?"


@dataclass
class _Handed:
    """A job that was handed out; `alone`: while no other was."""

    job: Any
    attempts: int = 1
    alone: bool = False


class DaskEngine:
    """Workers of a Dask cluster; what they need comes with each job, and the files from the disk.

    Parameters
    ----------
    client
        `distributed.Client`.
    resources
        What a worker must offer, for instance ``{"GPU": 1}``.
    say
        Is told when there has been no worker for long.
    refill
        Starts workers again when there has been none for long; of a local cluster.
    """

    def __init__(
        self,
        client: Any,
        resources: dict[str, float] | None = None,
        say: Say = str,
        refill: Callable[[], object] | None = None,
    ) -> None:
        self.client, self.resources, self._say, self._refill = client, resources, say, refill
        self._told = False
        self._room, self._counted = LEAST, -COUNT_EVERY
        self._lonely: float | None = None

    def map(
        self,
        function: Callable[[Job], Result],
        jobs: Iterable[Job],
        lost: Callable[[Job, str], Result] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Result]:
        """Yield the results in the order of completion; a bounded number of jobs is handed out.

        Raises
        ------
        JobError
            When the connection to the scheduler is lost.
        """
        from distributed.comm import CommClosedError

        try:
            yield from self._map(function, jobs, lost, stopped)
        except CommClosedError as error:
            raise JobError(LOST, hint=LOST_HINT) from error
        except (OSError, RuntimeError, CancelledError) as error:
            if self.client.status == "running":
                raise  # from the function, not from the connection
            raise JobError(LOST, hint=LOST_HINT) from error

    def _map(
        self,
        function: Callable[[Job], Result],
        jobs: Iterable[Job],
        lost: Callable[[Job, str], Result] | None,
        stopped: Callable[[], bool],
    ) -> Iterator[Result]:
        """Hand out jobs, and yield what comes back.

        When a worker dies, Dask blames all jobs that it had. Those that it gives up are therefore
        tried again at the end, one after the other, when there is no other to blame.
        """
        source = iter(jobs)
        ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        pending: dict[Any, _Handed] = {}
        suspects: list[_Handed] = []
        try:
            while True:
                for job in islice(source, max(0, self._rooms() - len(pending))):
                    self._hand_out(function, _Handed(job), pending, ready)
                if not pending and suspects and not stopped():
                    handed = suspects.pop()
                    handed.alone = True
                    self._hand_out(function, handed, pending, ready)
                if not pending:
                    return
                came = [future for future in _all_of(ready) if future in pending]
                if not came:
                    self._check()
                    if stopped() and not self._begun(pending):
                        return
                finished = [future for future in came if future.status == "finished"]
                yield from self._results(finished)
                for future in finished:
                    del pending[future]
                for future in set(came) - set(finished):
                    handed = pending.pop(future)
                    problem = self._problem(future, handed)
                    if problem is None:
                        handed.attempts += 1
                        self._hand_out(function, handed, pending, ready)
                    elif problem is KILLER and not handed.alone:
                        suspects.append(handed)
                    elif lost is None:
                        raise JobError(problem)
                    else:
                        yield lost(handed.job, problem)
        finally:
            if pending and self.client.status == "running":
                self.client.cancel(list(pending), force=True)

    def _hand_out(
        self, function: Any, handed: _Handed, pending: dict[Any, _Handed], ready: Any
    ) -> None:
        """Submit one job."""
        future = self.client.submit(
            do, function, handed.job, pure=False, retries=0, resources=self.resources
        )
        pending[future] = handed
        future.add_done_callback(ready.put)

    def _results(self, finished: list[Any]) -> list[Any]:
        """Fetch results at once; Dask has done again what was on a worker that died."""
        try:
            return list(self.client.gather(finished)) if finished else []
        except CancelledError as error:
            raise JobError(LOST, hint=LOST_HINT) from error

    def _problem(self, future: Any, handed: _Handed) -> str | None:
        """Return why a job gave no result; None when it shall be handed out again.

        What the function itself raised is raised here.
        """
        from distributed.scheduler import KilledWorker

        self._check()
        if future.status != "error":  # cancelled or lost: the workers were restarted
            return None if handed.attempts < ATTEMPTS else "its result was lost again and again"
        error = future.exception()
        if not isinstance(error, KilledWorker):
            raise error
        return KILLER

    def _rooms(self) -> int:
        """Return how many jobs may be handed out at a time."""
        if time.monotonic() - self._counted > COUNT_EVERY:
            self._counted = time.monotonic()
            threads = self._workers()
            self._room = max(LEAST, PER_THREAD * threads)
            self._mind(threads > 0)
        return self._room

    def _mind(self, some: bool) -> None:
        """Say once when there has been no worker for long, and start some again where we can.

        A nanny gives up when a worker does not start in time, on a machine that is overloaded.
        """
        if some:
            self._lonely, self._told = None, False
            return
        if self._lonely is None:
            self._lonely = self._counted + LONELY
        if self._counted <= self._lonely:
            return
        self._lonely = self._counted + LONELY
        if self._refill is not None:
            self._refill()
        if not self._told:
            self._told = True
            then = "the run waits" if self._refill is None else "they are started again"
            self._say(f"no Dask worker for {LONELY:.0f} s; {then}. {LONELY_HINT}")

    def _begun(self, pending: dict[Any, _Handed]) -> bool:
        """Whether a worker has any of these jobs."""
        keys = {key for of_worker in self.client.processing().values() for key in of_worker}
        return any(future.key in keys for future in pending)

    def _workers(self) -> int:
        """Return how many threads the workers have."""
        self._check()
        return sum(self.client.nthreads().values())

    def _check(self) -> None:
        """Raise JobError when the scheduler has gone."""
        if self.client.status in ("closed", "closing"):
            raise JobError(LOST, hint=LOST_HINT)


def _all_of(ready: queue.SimpleQueue[Any]) -> list[Any]:
    """Return what is in a queue, each once, after a wait of half a second at most."""
    found: dict[Any, None] = {}
    try:
        found[ready.get(timeout=0.5)] = None
        while True:
            found[ready.get_nowait()] = None
    except queue.Empty:
        return list(found)


@contextmanager
def open_cluster(
    asked: str, folder: Path, device: str, threads: int | None, say: Say = str
) -> Iterator[DaskEngine]:
    """Connect to a scheduler, or start a cluster that ends with the run.

    Parameters
    ----------
    asked
        ``local:N`` for N processes here; ``slurm:N``, ``pbs:N``, ``lsf:N`` or ``sge:N`` for N jobs
        of that queue, as dask-jobqueue's configuration says; a file that a scheduler wrote
        (``--scheduler-file``); or its address.
    folder
        Of the job; workers of a queue write their output below it.
    device
        With `cuda`, workers must offer the resource ``GPU``.
    threads
        Of each process that is started here; one if None.
    say
        Is told when there has been no worker for long.

    Raises
    ------
    UsageError
        When this cannot be understood.
    MissingDependencyError
        When dask or dask-jobqueue are not installed.
    DeviceError
        When there is no scheduler, or the queue does not take the jobs.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise MissingDependencyError(
            "--dask needs dask", hint="pip install 'micscreen[dask]', here and on the workers"
        ) from error
    settings = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.scheduler.work-stealing": True,
        "distributed.comm.timeouts.connect": CONNECT,
    }
    resources = {"GPU": 1.0} if device.startswith("cuda") else None
    with dask.config.set(settings), ExitStack() as stack:
        kind, _, number = asked.partition(":")
        where: Any
        refill: Callable[[], object] | None = None
        if kind == "local":
            count = _number(number, asked)
            where = distributed.LocalCluster(
                n_workers=count, threads_per_worker=threads or 1, processes=True,
                host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50,
                resources=resources,
            )  # fmt: skip
            stack.callback(where.close)
            refill = partial(where.scale, count)
        elif kind in QUEUES:
            count = _number(number, asked)
            where = _queue(kind, folder)
            stack.callback(where.close)
            where.scale(jobs=count)
        else:
            where = _address(asked)
        client = _connected(where, asked, distributed)
        stack.callback(client.close)
        yield DaskEngine(client, resources, say, refill)


def _connected(where: Any, asked: str, distributed: Any) -> Any:
    """Return the client of a cluster or of the scheduler at an address."""
    try:
        return distributed.Client(where, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise DeviceError(
            f"there is no Dask scheduler ({error})",
            where=f"--dask {asked}",
            hint="Give tcp://HOST:PORT of one that runs, or local:N, slurm:N, pbs:N, lsf:N, sge:N.",
        ) from error


def _address(asked: str) -> str:
    """Return the address of a scheduler from an address or from the file that it wrote."""
    if Path(asked).is_file():
        try:
            return str(json.loads(Path(asked).read_text())["address"])
        except (ValueError, KeyError) as error:
            raise UsageError("no scheduler file", where=f"--dask {asked}") from error
    if ":" not in asked:
        raise UsageError(
            "neither an address nor a way to start a cluster",
            where=f"--dask {asked}",
            hint="tcp://HOST:PORT, a scheduler file, local:N, slurm:N, pbs:N, lsf:N or sge:N.",
        )
    return asked


def _number(text: str, asked: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise UsageError(
            "how many workers?", where=f"--dask {asked}", hint="For instance local:4 or slurm:10."
        )
    return int(text)


def _queue(kind: str, folder: Path) -> Any:
    """Return a cluster of jobs in a queue, as dask-jobqueue's configuration describes them."""
    try:
        import dask_jobqueue
    except ImportError as error:
        raise MissingDependencyError(
            f"--dask {kind} needs dask-jobqueue", hint="pip install 'micscreen[dask]'"
        ) from error
    logs = folder / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    try:
        return getattr(dask_jobqueue, QUEUES[kind])(log_directory=str(logs.absolute()))
    except (ValueError, TypeError, RuntimeError) as error:
        raise DeviceError(
            f"dask-jobqueue cannot use the queue ({error})",
            where=f"--dask {kind}",
            hint="Describe a job (cores, memory, queue) in ~/.config/dask/jobqueue.yaml: "
            "docs/cluster.md shows one.",
        ) from error
