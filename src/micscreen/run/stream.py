"""Following folders into which micrographs and coordinates still come, in any order.

What is taken is what a plan over the same files would pair; when the stream ends, the whole job is
planned once more over all files, and only what is missing or has changed since is screened then.
So a stream leaves what a batch leaves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from micscreen.io.table import PickTables
from micscreen.report import name_rank
from micscreen.run.arrivals import Arrivals
from micscreen.run.loop import Event, Loop, Progress, check_frame, registered, run
from micscreen.run.plan import Job
from micscreen.run.poll import on_network
from micscreen.run.settings import ScreenSettings, WatchSettings
from micscreen.run.sources import describe_sources

FINISH_NAME: Final = "finish"
"""File in the job folder that ends a stream."""

FIRST_BATCH: Final = 16
"""Micrographs in the first automatic batch, before the rate is known."""

LARGEST_BATCH: Final = 4096

LEAST_PAUSE: Final = 0.1
"""Seconds between two looks at files that are growing, where they need no rest."""


def follow(settings: ScreenSettings, loop: Loop, tell: Progress) -> PickTables:
    """Screen what comes until nothing comes any more, and return the tables so far.

    Ends by `WatchSettings.idle_timeout`, by the finish file, or when `loop.stop` is asked.

    Parameters
    ----------
    settings
        With `watch`.
    loop
        What it runs with; its tables are replaced as they come.
    tell
        Is told what happens, in the calling thread.

    Raises
    ------
    UsageError, MatchError
        When names are ambiguous or a box size is missing, as a plan would raise.
    """
    watch = settings.watch
    assert watch is not None
    return _Stream(settings, watch, loop, tell).follow()


class _Stream:
    """One stream: what came, what waits for its turn, and what has been done."""

    def __init__(
        self, settings: ScreenSettings, watch: WatchSettings, loop: Loop, tell: Progress
    ) -> None:
        self.settings, self.watch, self.loop, self.tell = settings, watch, loop, tell
        self.arrivals = Arrivals(settings, watch)
        self.queue: dict[str, Job] = {}
        self.best: list[tuple[bytes, str]] = []
        self.finish = watch.finish_file or settings.output / FINISH_NAME
        self.done = 0
        self.rate = 0.0

    def follow(self) -> PickTables:
        """Return when the stream is at its end or stopped."""
        stop, last = self.loop.stop, time.monotonic()
        self.loop.store.unplace()
        self.tell(Event("step", "waiting for files"))
        with _woken(self.arrivals.roots, self.watch) as bell:
            while not stop.asked:
                came = self._look()
                if self.queue:
                    self._screen(self._size())
                now = time.monotonic()
                if came or self.queue:
                    last = now
                    continue
                if self.arrivals.restless:
                    last = now
                elif self.finish.exists():
                    break
                idle = self.watch.idle_timeout
                if idle is not None and now - last >= idle:
                    break
                self.arrivals.wake(bell.wait(self._pause(), lambda: stop.asked))
        if not stop.asked and self.watch.finish_file is None:
            self.finish.unlink(missing_ok=True)  # it was for this run
        return self.arrivals.tables

    def _pause(self) -> float:
        """Return for how long to wait: while files are growing, no longer than they must rest."""
        if not self.arrivals.restless:
            return self.watch.poll
        return min(self.watch.poll, max(self.watch.quiet, LEAST_PAUSE))

    def _look(self) -> bool:
        """Take what came; return whether anything did."""
        news = self.arrivals.look()
        if not news.tables and not news.jobs:
            return False
        store = self.loop.store
        for number in news.tables:
            (source,) = describe_sources([self.arrivals.tables[number]])
            store.place_source(number, source)
        for job in news.jobs:
            row = registered(job, store.micrograph(job.name), self.arrivals.tables)
            store.place(row)
            self.queue.pop(job.name, None)
            if row.status == "pending":
                self.queue[job.name] = job
            else:
                self.done += 1
            self._rank(job.name)
        store.flush()
        self._note_frame(news.jobs)
        self.loop = replace(
            self.loop,
            tables=self.arrivals.tables,
            thumbnails=frozenset(name for _, name in self.best),
        )
        self.tell(Event("start", done=self.done, total=self.done + len(self.queue)))
        return True

    def _rank(self, name: str) -> None:
        """Remember the names with the smallest hashes: they get thumbnails."""
        entry = (name_rank(name), name)
        if entry not in self.best:
            self.best = sorted([*self.best, entry])[: self.settings.outputs.thumbnails]

    def _note_frame(self, jobs: list[Job]) -> None:
        """Check the frame on the first picks; the end of the stream checks it again on all."""
        store = self.loop.store
        if "frame" in store.info():
            flip_y = store.info()["frame"]["flip_y"]
        elif any(len(job.rows) for job in jobs):
            finding = check_frame(jobs, self.arrivals.tables, self.settings)
            flip_y = finding.flip_y
            store.note(frame=finding.noted(0))
        else:
            return
        self.loop = replace(self.loop, work=replace(self.loop.work, flip_y=flip_y))

    def _size(self) -> int:
        """Return how many micrographs are screened before the next look."""
        asked = self.settings.compute.batch_size
        if asked == 0:
            return len(self.queue)
        if asked > 0:
            return asked
        return min(max(FIRST_BATCH, int(self.rate * self.watch.poll)), LARGEST_BATCH)

    def _screen(self, size: int) -> None:
        """Screen the next ones of the queue."""
        batch = [self.queue.pop(name) for name in list(self.queue)[:size]]
        start, before = time.monotonic(), self.done
        total = self.done + len(batch) + len(self.queue)
        self.done = run(batch, self.loop, self.tell, self.done, total)
        self.rate = (self.done - before) / max(time.monotonic() - start, 1e-3)


class _Bell:
    """Wakes the stream when something may have come."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.rung = threading.Event()

    def wait(self, seconds: float, stopped: Callable[[], bool]) -> list[str]:
        """Wait, but not for longer than until it rings; return the paths that changed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.rung.is_set() and not stopped():
            self.rung.wait(min(0.2, max(0.0, until - time.monotonic())))
        self.rung.clear()
        changed, self.changed = self.changed, set()
        return sorted(changed)


@contextmanager
def _woken(roots: list[Path], watch: WatchSettings) -> Iterator[_Bell]:
    """Let the system's events ring a bell, where they can be had and are wanted."""
    bell = _Bell()
    usable = watch.notify != "no" and (
        watch.notify == "yes" or not any(on_network(root) for root in roots)
    )
    try:
        import watchfiles
    except ImportError:
        usable = False
    if not usable:
        yield bell
        return
    end = threading.Event()

    def listen() -> None:
        there = [root for root in dict.fromkeys(roots) if root.is_dir()]
        if not there:
            return
        for changes in watchfiles.watch(
            *there, stop_event=end, step=100, debounce=400, raise_interrupt=False,
            ignore_permission_denied=True,
        ):  # fmt: skip
            bell.changed |= {path for _, path in changes}
            bell.rung.set()

    thread = threading.Thread(target=listen, name="micscreen-events", daemon=True)
    thread.start()
    try:
        yield bell
    finally:
        end.set()
        thread.join(timeout=5.0)
