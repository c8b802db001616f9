"""Map a function over jobs: here, or in threads; results come as they are ready."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from types import FrameType
from typing import Protocol, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Engine(Protocol):
    """Where jobs are done."""

    def map(
        self,
        function: Callable[[Job], Result],
        jobs: Iterable[Job],
        lost: Callable[[Job, str], Result] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Result]:
        """Yield the results in the order of completion.

        Jobs are drawn one by one as room becomes free, never all at once; when they end, what is
        in flight is finished and yielded. What `function` raises is raised here.

        Parameters
        ----------
        function
            Does one job; for engines on other machines it and the jobs can be pickled.
        jobs
            What is to be done.
        lost
            Gives the result of a job whose workers died again and again, and why.
        stopped
            Whether jobs that have not begun shall be left out.
        """
        ...


class SerialEngine:
    """Everything in the calling thread, one job after the other."""

    def map(
        self,
        function: Callable[[Job], Result],
        jobs: Iterable[Job],
        lost: Callable[[Job, str], Result] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Result]:
        """Yield the results in the order of the jobs."""
        return (function(job) for job in jobs if not stopped())


class ThreadEngine:
    """Worker threads on this machine; NumPy, OpenCV and ONNX Runtime let them run side by side.

    Parameters
    ----------
    threads
        How many; each works with one core.
    in_flight
        How many jobs are handed out at a time: -1 for twice the threads; 0 for sixteen times, as
        many as can be of use.
    """

    def __init__(self, threads: int, in_flight: int = -1) -> None:
        self.threads = threads
        self.in_flight = in_flight if in_flight > 0 else threads * (16 if in_flight == 0 else 2)

    def map(
        self,
        function: Callable[[Job], Result],
        jobs: Iterable[Job],
        lost: Callable[[Job, str], Result] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Result]:
        """Yield the results in the order of completion."""
        import cv2

        def begin(job: Job) -> tuple[Result, ...]:
            return () if stopped() else (function(job),)

        cv2.setNumThreads(1)  # Our threads are the parallel ones; OpenCV's would fight them.
        queue = iter(jobs)
        pending: set[Future[tuple[Result, ...]]] = set()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="micscreen")
        try:
            while True:
                room = self.in_flight - len(pending)
                pending.update(pool.submit(begin, job) for job in islice(queue, room))
                if not pending:
                    return
                ready, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield from future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class Stop:
    """Whether the run has been asked to stop."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn Ctrl-C and SIGTERM into a request to stop after what is in flight.

    The second signal raises KeyboardInterrupt at once. Outside the main thread, where Python
    allows no signal handlers, nothing is changed.
    """
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def core_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
