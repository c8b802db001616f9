"""The whole job: a plan, or a stream that ends in one, through the loop to sets and tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from micscreen import __version__
from micscreen.errors import PicksError
from micscreen.model.backend import Backend, open_backend
from micscreen.report import take_sample
from micscreen.run.cluster import open_cluster
from micscreen.run.engine import Engine, ThreadEngine, core_count, stop_on_signals
from micscreen.run.export import (
    SETS_LOCK,
    ExportReport,
    ExportSettings,
    clean_aside,
    export,
)
from micscreen.run.find import listing
from micscreen.run.identity import check_identity
from micscreen.run.lock import JobLock
from micscreen.run.loop import Event, Loop, Progress, check_frame, registered, run
from micscreen.run.plan import Plan, plan
from micscreen.run.rows import MicrographRow
from micscreen.run.settings import ScreenSettings
from micscreen.run.sources import check_sources, describe_sources
from micscreen.run.store import STORE_NAME, NoJobError, Store, prepare_folder
from micscreen.run.stream import follow
from micscreen.run.tables import write_exposure_tables, write_micrograph_tables
from micscreen.run.trouble import told
from micscreen.run.work import Work, remove_pictures
from micscreen.run.workers import network_on_workers

__all__ = ["Event", "Outcome", "Progress", "screen"]

PATIENCE: Final = 120.0
"""Seconds for which the end of a run waits for a `rethreshold` that is writing a set."""


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
    flight; a second one raises KeyboardInterrupt. With `settings.watch`, files may still come, and
    the run goes on until nothing comes for long, the finish file appears or a signal ends it;
    what it leaves is the same as if all files had been there from the start.

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
        When the folder was begun with other arguments, is in use, is no job, or when the disk is
        full or refuses.
    """
    with told(settings.output, settings.output / STORE_NAME):
        return _screen(settings, backend, engine, progress)


def _screen(
    settings: ScreenSettings,
    backend: Backend | None,
    engine: Engine | None,
    progress: Progress | None,
) -> Outcome:
    """Screen, as `screen` says; errors of the disk and of the database come as they are."""
    start, folder = time.monotonic(), Path.cwd() if settings.compute.dask else Path()
    tell: Progress = progress or (lambda event: None)
    with suppress(NoJobError), Store(settings.output) as store:
        check_identity(store, settings)
    planned = None if settings.watch else _planned(settings, tell)
    if backend is None:
        tell(Event("step", "opening the network"))
        backend = open_network(settings)
        tell(Event("step", f"the network runs on {backend.device}"))
    prepare_folder(settings.output)
    with (
        JobLock(settings.output) as lock,
        Store(settings.output, create=True) as store,
        nullcontext(engine) if engine else open_engine(settings, tell) as chosen,
    ):
        with JobLock(settings.output, SETS_LOCK, PATIENCE):
            clean_aside(settings.output)
        begin(store, settings, backend)
        before = store.names("done")
        with stop_on_signals() as stop:
            loop = Loop(Work(settings, backend, folder=folder), store, chosen, stop, lock)
            if planned is None:
                tables = follow(settings, loop, tell)
                if stop.asked:
                    return _finish(Plan((), tables), settings, (loop, 0), tell, start)
                del tables  # the plan has them again
                planned = _planned(settings, tell)
            loop = prepare(planned, settings, loop, tell)
            done = store.names("done")
            tell(Event("start", done=len(done), total=len(planned.jobs)))
            jobs = [job for job in planned.jobs if job.name not in done]
            run(jobs, loop, tell, len(done), len(planned.jobs))
        return _finish(planned, settings, (loop, len(done & before)), tell, start)


def open_network(settings: ScreenSettings) -> Backend:
    """Open the network that the settings name, or what stands for it on a cluster's workers."""
    model, compute = settings.scoring.model, settings.compute
    if compute.dask is None:
        return open_backend(model, device=compute.device, threads=1)
    return network_on_workers(model, compute.device)


def open_engine(
    settings: ScreenSettings, tell: Progress = lambda event: None
) -> AbstractContextManager[Engine]:
    """Open threads here, or the cluster that the settings name."""
    compute = settings.compute
    if compute.dask is not None:
        return open_cluster(
            compute.dask, settings.output, compute.device, compute.threads,
            lambda text: tell(Event("warning", text)),
        )  # fmt: skip
    in_flight = -1 if settings.watch else compute.batch_size
    return nullcontext(ThreadEngine(compute.threads or core_count(), in_flight))


def _planned(settings: ScreenSettings, tell: Progress) -> Plan:
    """Return the plan, with its warnings told."""
    tell(Event("step", "finding micrographs and coordinates"))
    planned = plan(settings)
    for text in planned.warnings:
        tell(Event("warning", text))
    return planned


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


def prepare(planned: Plan, settings: ScreenSettings, loop: Loop, tell: Progress) -> Loop:
    """Make the store hold the plan, check the frame once, and return what the loop needs."""
    store = loop.store
    noted = store.info().get("frame")
    again = noted is not None and noted["micrographs"] != len(planned.jobs)
    if noted is None or again:
        tell(Event("step", "checking the picks' frame"))
        finding = check_frame(planned.jobs, planned.tables, settings)
        turned = noted is not None and noted["flip_y"] != finding.flip_y
        noted = finding.noted(len(planned.jobs))
    else:
        turned = False
    for text in noted["warnings"]:
        tell(Event("warning", text))
    rows = [
        registered(job, None if turned else store.micrograph(job.name), planned.tables)
        for job in planned.jobs
    ]
    gone = store.register(rows, describe_sources(planned.tables))
    store.note(frame=noted)
    if gone:
        text = f"{len(gone)} micrographs of this job are no longer among its inputs: left out"
        tell(Event("warning", text))
    remove_pictures(settings.output, gone)
    names = take_sample([job.name for job in planned.jobs], settings.outputs.thumbnails)
    remove_pictures(settings.output, None, thumbnails=names)
    work = replace(loop.work, flip_y=noted["flip_y"])
    return replace(loop, work=work, tables=planned.tables, thumbnails=frozenset(names))


def _finish(
    planned: Plan, settings: ScreenSettings, ran: tuple[Loop, int], tell: Progress, start: float
) -> Outcome:
    """Write sets and tables, and sum up.

    A batch that was stopped writes no sets. A stream that was stopped writes them, with the picks
    of what was not screened set apart.
    """
    loop, skipped = ran
    store = loop.store
    statuses = Counter(row.status for row in store.micrographs())
    interrupted = loop.stop.asked and (settings.watch is not None or statuses["pending"] > 0)
    report: ExportReport | None = None
    tables: tuple[Path, ...] = ()
    warnings = [*planned.warnings, *store.info().get("frame", {}).get("warnings", [])]
    if statuses and (settings.watch is not None or not interrupted):
        tell(Event("step", "writing the picks"))
        try:
            with JobLock(settings.output, SETS_LOCK, PATIENCE):
                report = _write_sets(store, planned, settings)
        except PicksError as error:
            if not interrupted:
                raise
            warnings.append(f"no sets were written, since coordinates are changing: {error}")
        tables = write_micrograph_tables(
            store, settings.outputs.threshold, settings.scoring.on_suspect
        )
        tables += write_exposure_tables(
            store,
            settings.inputs.other_micrographs or settings.inputs.micrographs,
            settings.outputs.threshold,
            settings.scoring.on_suspect,
        )
    warnings += row_warnings(store.micrographs())
    store.note(warnings=warnings)
    return Outcome(
        job=settings.output,
        micrographs=statuses.total(),
        done=statuses["done"],
        skipped=skipped,
        failed=tuple((r.name, r.reason or "") for r in store.micrographs() if r.status == "failed"),
        suspect=tuple((r.name, "; ".join(r.suspect)) for r in store.micrographs() if r.suspect),
        picks_in=planned.picks_in,
        export=report,
        tables=tables,
        warnings=tuple(warnings),
        interrupted=interrupted,
        seconds=time.monotonic() - start,
    )


def _write_sets(store: Store, planned: Plan, settings: ScreenSettings) -> ExportReport:
    """Write the kept, the rejected and the unscreened picks."""
    outputs = settings.outputs
    asked = ExportSettings(
        threshold=outputs.threshold,
        on_suspect=settings.scoring.on_suspect,
        coordinate_scale=outputs.coordinate_scale,
        output_format=outputs.output_format,
    )
    check_sources(store.sources())
    return export(store, planned.tables, asked)


def row_warnings(rows: Iterable[MicrographRow]) -> list[str]:
    """Return the warnings of all micrographs, each once, with how many have it."""
    names: dict[str, list[str]] = {}
    for row in rows:
        for text in row.warnings:
            names.setdefault(text, []).append(row.name)
    return [f"{text} ({len(who)} micrographs: {listing(who, 3)})" for text, who in names.items()]
