"""The one loop, of a batch and of a stream: jobs through an engine into the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from micscreen.errors import MicscreenError
from micscreen.io import micrograph_shape
from micscreen.io.cuts import unchanged
from micscreen.io.table import PickTable
from micscreen.picks import Picks
from micscreen.report import select_spread
from micscreen.run.engine import Engine, Stop
from micscreen.run.frame import FrameFinding, FrameSample, find_frame
from micscreen.run.lock import JobLock
from micscreen.run.plan import Job
from micscreen.run.rows import MicrographRow, Scores, decide
from micscreen.run.settings import ScreenSettings
from micscreen.run.store import Store
from micscreen.run.watch import fingerprint, settled
from micscreen.run.work import Errand, Work, errand, load, pending_row, picks_digest

FRAMES_CHECKED: Final = 40
"""On how many micrographs picks are compared with the frame."""

SAMPLES: Final = 6
"""On how many of them they are compared with the density."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during a run, for whoever shows progress.

    Attributes
    ----------
    kind
        `step`: a step begins, `text` says which; `start`: the loop begins; `micrograph`: one is
        done or failed; `warning`: `text` for the user.
    done, total
        Micrographs that are done or failed, those of earlier runs among them; and all of them.
    row, scores
        With `micrograph`: what was found.
    """

    kind: Literal["step", "start", "micrograph", "warning"]
    text: str = ""
    done: int = 0
    total: int = 0
    row: MicrographRow | None = None
    scores: Scores | None = None


Progress = Callable[[Event], None]


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """What the loop runs with.

    Attributes
    ----------
    work
        Does one micrograph.
    tables
        Coordinate tables, to which the jobs refer.
    thumbnails
        Names of the jobs that get one.
    store
        Gets each result when its files are in place; the jobs are registered there.
    engine
        Where the work is done.
    stop
        Ends the loop after what is in flight.
    lock
        Is told that the run is alive.
    """

    work: Work
    store: Store
    engine: Engine
    stop: Stop
    lock: JobLock
    tables: Sequence[PickTable] = ()
    thumbnails: frozenset[str] = frozenset()


def run(jobs: Sequence[Job], loop: Loop, tell: Progress, done: int, total: int) -> int:
    """Screen micrographs: the one loop, of a batch and of a stream.

    Parameters
    ----------
    jobs
        What is to be done.
    loop
        What it runs with.
    tell
        Is told of each micrograph, in the calling thread.
    done, total
        How many are done or failed already, and how many there are; for `tell`.

    Returns
    -------
    How many are done or failed now.
    """
    stop = loop.stop

    wanted = (
        errand(job, loop.tables, loop.thumbnails) for job in settled(jobs, lambda: stop.asked)
    )
    for result in loop.engine.map(loop.work.do, wanted, Errand.failed, lambda: stop.asked):
        row, scores = result
        loop.store.add(row, scores)
        loop.lock.beat()
        done += 1
        tell(Event("micrograph", done=done, total=total, row=row, scores=scores))
    loop.store.flush()
    return done


def registered(job: Job, known: MicrographRow | None, tables: Sequence[PickTable]) -> MicrographRow:
    """Return the row of a job for the store: done when it need not be screened again."""
    try:
        now = fingerprint(job.micrograph)
    except OSError:
        now = ""  # The worker will say what is wrong with it.
    again = decide(known, now, picks_digest(job, tables))
    return replace(pending_row(job), status="pending" if again else "done")


def check_frame(
    jobs: Sequence[Job], tables: Sequence[PickTable], settings: ScreenSettings
) -> FrameFinding:
    """Compare picks with some micrographs: whether y is flipped, on what evidence."""
    with_picks = [job for job in jobs if len(job.rows)]
    jobs = [with_picks[i] for i in select_spread(len(with_picks), FRAMES_CHECKED)]
    sampled = set(select_spread(len(jobs), SAMPLES))
    frames: list[tuple[tuple[int, int], Picks]] = []
    samples: list[FrameSample] = []
    for i, job in enumerate(jobs):
        assert job.table is not None
        try:
            shape = micrograph_shape(job.picked)
            frames.append((shape, tables[job.table].picks(job.rows, shape)))
            if i in sampled:
                part = tables[job.table].part(job.rows)
                with unchanged(job.micrograph):
                    loaded = load(job, part, settings.inputs)
                    sample = loaded.frame_sample()
                samples.append(sample)
        except (MicscreenError, OSError):
            continue  # It will be a failed row with its reason.
    return find_frame(settings.inputs.flip_y, frames, samples)
