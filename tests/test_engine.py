"""Jobs in threads: all of them, few at a time, stopped cleanly."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micscreen.run.engine import Engine, SerialEngine, ThreadEngine, core_count, stop_on_signals
from micscreen.run.watch import settled

ENGINES: dict[str, Engine] = {
    "serial": SerialEngine(),
    "one": ThreadEngine(1),
    "three": ThreadEngine(3),
    "one in flight": ThreadEngine(2, 1),
    "many in flight": ThreadEngine(2, 0),
}


@settings(deadline=None, max_examples=20)
@given(count=st.integers(0, 30))
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())
def test_every_job_is_done_once(engine: Engine, count: int) -> None:
    """Whatever the engine, each job gives one result, and none is lost or done twice."""
    assert sorted(engine.map(lambda job: job * 2, range(count))) == [2 * i for i in range(count)]


def test_threads_work_side_by_side() -> None:
    """Two threads are in their jobs at the same time: each waits for the other."""
    meeting = threading.Barrier(2, timeout=120)

    def job(number: int) -> int:
        meeting.wait()
        return number

    assert sorted(ThreadEngine(2).map(job, range(6))) == list(range(6))


@pytest.mark.parametrize(("in_flight", "most"), [(-1, 4), (3, 3), (0, 32)])
def test_jobs_are_drawn_as_room_becomes_free(in_flight: int, most: int) -> None:
    """Never more jobs are drawn than are in flight, so memory does not grow with their number."""
    drawn = 0

    def jobs() -> Iterator[int]:
        nonlocal drawn
        for number in range(100):
            drawn += 1
            yield number

    for yielded, _ in enumerate(ThreadEngine(2, in_flight).map(lambda job: job, jobs())):
        assert drawn <= yielded + most
    assert drawn == 100


def test_what_a_job_raises_is_raised_to_the_caller() -> None:
    """An error in a worker is not swallowed."""

    def job(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(ThreadEngine(2).map(job, range(10)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(number: signal.Signals) -> None:
    """One Ctrl-C or SIGTERM only asks to stop; another raises; afterwards all is as before."""
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_after_a_stop_no_new_job_begins() -> None:
    """Jobs come in their order, and after a stop none comes any more."""
    answers = iter([False] * 3)
    assert list(settled(range(10), lambda: next(answers, True))) == [0, 1, 2]


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    """A run in a thread of somebody's program works, without touching its signals."""
    result: list[bool] = []

    def run() -> None:
        with stop_on_signals() as stop:
            result.append(stop.asked)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert result == [False]


def test_cores_are_counted_as_the_system_grants_them() -> None:
    """The number of workers follows the cores this process may use, not those of the machine."""
    assert core_count() == len(os.sched_getaffinity(0))
