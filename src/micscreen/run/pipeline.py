"""The one loop: jobs through an engine into the store, then the sets and the tables."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from micscreen import __version__
from micscreen.errors import JobError, MicscreenError
from micscreen.io import micrograph_shape
from micscreen.model.backend import Backend, open_backend
from micscreen.picks import Picks
from micscreen.report import select_spread
from micscreen.run.engine import Engine, Stop, ThreadEngine, core_count, stop_on_signals
from micscreen.run.export import ExportReport, ExportSettings, clean_aside, export
from micscreen.run.find import listing
from micscreen.run.frame import FrameSample, find_frame
from micscreen.run.lock import JobLock
from micscreen.run.plan import Job, Plan, plan
from micscreen.run.rows import MicrographRow, Scores, decide
from micscreen.run.settings import ScreenSettings
from micscreen.run.sources import check_sources, describe_sources
from micscreen.run.store import STORE_NAME, Store, check_identity, prepare_folder
from micscreen.run.tables import write_micrograph_tables
from micscreen.run.watch import fingerprint, settled
from micscreen.run.work import Work, load, pending_row, picks_digest

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    job
        The job folder.
    micrographs, done, skipped
        How many there are; how many are screened now; how many of these were so before.
    failed, suspect
        (name, reason) of micrographs.
    picks_in
        How many picks came in.
    export
        The sets that were written; None when the run was interrupted.
    tables
        The micrograph tables that were written.
    warnings
        Sentences for the user, each once.
    interrupted
        Whether a signal stopped it before the end.
    seconds
        How long it took.
    """

    job: Path
    micrographs: int
    done: int
    skipped: int
    failed: tuple[tuple[str, str], ...]
    suspect: tuple[tuple[str, str], ...]
    picks_in: int
    export: ExportReport | None
    tables: tuple[Path, ...]
    warnings: tuple[str, ...]
    interrupted: bool
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 done, 3 some micrographs failed, 130 interrupted."""
        return 130 if self.interrupted else 3 if self.failed else 0


def screen(
    settings: ScreenSettings,
    *,
    backend: Backend | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Screen micrographs and write the picks that deserve to go on: the whole job.

    An interrupted job in the same folder is continued. Ctrl-C and SIGTERM finish what is in
    flight; a second one raises KeyboardInterrupt.

    Parameters
    ----------
    settings
        Everything that is asked for.
    backend
        The network; None opens the one that the settings name.
    engine
        Where micrographs are worked on; None for threads on this machine.
    progress
        Is told what happens, in the calling thread.

    Raises
    ------
    UsageError, MatchError, PicksError
        When the inputs cannot be used; see `plan`.
    ModelError
        When the network or the device cannot be used.
    JobMismatchError, JobLockedError, JobError
        When the folder was begun with other arguments, is in use, or is no job.
    """
    start = time.monotonic()
    tell: Progress = progress or (lambda event: None)
    if (settings.output / STORE_NAME).is_file():
        with Store(settings.output) as store:
            check_identity(store, settings)
    tell(Event("step", "finding micrographs and coordinates"))
    planned = plan(settings)
    for text in planned.warnings:
        tell(Event("warning", text))
    if backend is None:
        tell(Event("step", "opening the network"))
        backend = open_backend(settings.scoring.model, device=settings.compute.device, threads=1)
    if engine is None:
        threads = settings.compute.threads or core_count()
        engine = ThreadEngine(threads, settings.compute.batch_size)
    prepare_folder(settings.output)
    with JobLock(settings.output) as lock, Store(settings.output, create=True) as store:
        try:
            clean_aside(settings.output)
            begin(store, settings, backend)
            with stop_on_signals() as stop:
                work = prepare(store, planned, settings, backend, tell)
                loop = Loop(work, store, engine, stop, lock)
                skipped = run(planned.jobs, loop, tell)
            return _finish(store, planned, settings, skipped, tell, start)
        except sqlite3.Error as error:
            raise JobError(
                f"the job's database cannot be written ({error})",
                where=store.path,
                hint="Make room on the disk, then start the same command again: it continues.",
            ) from error


def begin(store: Store, settings: ScreenSettings, backend: Backend) -> None:
    """Note what a new job is, or check that it is the one that is continued."""
    check_identity(store, settings, backend.spec.sha256)
    if "identity" not in store.info():
        store.note(
            identity=settings.identity(),
            model={"name": backend.spec.name, "sha256": backend.spec.sha256},
            version=__version__,
            folder=str(Path.cwd()),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def prepare(
    store: Store, planned: Plan, settings: ScreenSettings, backend: Backend, tell: Progress
) -> Work:
    """Make the store hold the plan, check the frame once, and return what the workers need."""
    known = {row.name: row for row in store.micrographs()}
    rows = [_registered(job, known.get(job.name), planned) for job in planned.jobs]
    gone = store.register(rows, describe_sources(planned.tables))
    if gone:
        text = f"{len(gone)} micrographs of this job are no longer among its inputs: left out"
        tell(Event("warning", text))
    noted = store.info().get("frame")
    if noted is None:
        tell(Event("step", "checking the picks' frame"))
        finding = check_frame(planned, settings)
        noted = {"flip_y": finding[0], "warnings": finding[1]}
        store.note(frame=noted)
    for text in noted["warnings"]:
        tell(Event("warning", text))
    chosen = select_spread(len(planned.jobs), settings.outputs.thumbnails)
    return Work(
        settings=settings,
        tables=planned.tables,
        backend=backend,
        flip_y=noted["flip_y"],
        thumbnails=frozenset(planned.jobs[i].name for i in chosen),
    )


def _registered(job: Job, known: MicrographRow | None, planned: Plan) -> MicrographRow:
    """Return the row of a job for `Store.register`: done when it need not be screened again."""
    try:
        now = fingerprint(job.micrograph)
    except OSError:
        now = ""  # The worker will say what is wrong with it.
    again = decide(known, now, picks_digest(job, planned.tables))
    return replace(pending_row(job), status="pending" if again else "done")


def check_frame(planned: Plan, settings: ScreenSettings) -> tuple[bool, list[str]]:
    """Compare picks with some micrographs; return whether y is flipped, and warnings."""
    with_picks = [job for job in planned.jobs if len(job.rows)]
    jobs = [with_picks[i] for i in select_spread(len(with_picks), FRAMES_CHECKED)]
    sampled = set(select_spread(len(jobs), SAMPLES))
    frames: list[tuple[tuple[int, int], Picks]] = []
    samples: list[FrameSample] = []
    for i, job in enumerate(jobs):
        assert job.table is not None
        try:
            shape = micrograph_shape(job.picked)
            frames.append((shape, planned.tables[job.table].picks(job.rows, shape)))
            if i in sampled:
                loaded = load(job, planned.tables, settings.inputs)
                samples.append(loaded.frame_sample())
        except (MicscreenError, OSError):
            continue  # It will be a failed row with its reason.
    finding = find_frame(settings.inputs.flip_y, frames, samples)
    return finding.flip_y, list(finding.warnings)


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """What the loop runs with.

    Attributes
    ----------
    work
        Does one micrograph.
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


def run(jobs: Sequence[Job], loop: Loop, tell: Progress) -> int:
    """Screen what is not done yet: the one loop, of a batch and of a stream.

    Parameters
    ----------
    jobs
        In the order of the plan.
    loop
        What it runs with.
    tell
        Is told of each micrograph, in the calling thread.

    Returns
    -------
    How many were done before.
    """
    stop = loop.stop
    finished = {row.name for row in loop.store.micrographs() if row.status == "done"}
    done, total = len(finished), len(jobs)
    tell(Event("start", done=done, total=total))

    def do(job: Job) -> tuple[MicrographRow, Scores | None] | None:
        return None if stop.asked else loop.work.do(job)

    wanted = settled(jobs, lambda job: job.name not in finished, lambda: stop.asked)
    for result in loop.engine.map(do, wanted):
        if result is None:
            continue  # Handed out, but not begun when the stop came.
        row, scores = result
        loop.store.add(row, scores)
        loop.lock.beat()
        done += 1
        tell(Event("micrograph", done=done, total=total, row=row, scores=scores))
    loop.store.flush()
    return len(finished)


def _finish(
    store: Store,
    planned: Plan,
    settings: ScreenSettings,
    skipped: int,
    tell: Progress,
    start: float,
) -> Outcome:
    """Write sets and tables when all is done, and sum up."""
    rows = list(store.micrographs())
    interrupted = any(row.status == "pending" for row in rows)
    report: ExportReport | None = None
    tables: tuple[Path, ...] = ()
    if not interrupted:
        tell(Event("step", "writing the picks"))
        scoring, outputs = settings.scoring, settings.outputs
        asked = ExportSettings(
            threshold=outputs.threshold,
            on_suspect=scoring.on_suspect,
            coordinate_scale=outputs.coordinate_scale,
            output_format=outputs.output_format,
        )
        check_sources(store.sources())
        report = export(store, planned.tables, asked)
        tables = write_micrograph_tables(store, outputs.threshold, scoring.on_suspect)
    warnings = (*planned.warnings, *store.info()["frame"]["warnings"], *row_warnings(rows))
    store.note(warnings=warnings)
    return Outcome(
        job=settings.output,
        micrographs=len(rows),
        done=sum(row.status == "done" for row in rows),
        skipped=skipped,
        failed=tuple((row.name, row.reason or "") for row in rows if row.status == "failed"),
        suspect=tuple((row.name, "; ".join(row.suspect)) for row in rows if row.suspect),
        picks_in=planned.picks_in,
        export=report,
        tables=tables,
        warnings=warnings,
        interrupted=interrupted,
        seconds=time.monotonic() - start,
    )


def row_warnings(rows: Sequence[MicrographRow]) -> list[str]:
    """Return the warnings of all micrographs, each once, with how many have it."""
    names: dict[str, list[str]] = {}
    for row in rows:
        for text in row.warnings:
            names.setdefault(text, []).append(row.name)
    return [f"{text} ({len(who)} micrographs: {listing(who, 3)})" for text, who in names.items()]
