"""Progress of a run for people and for programs."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import click

from micscreen.cli.options import Verbosity
from micscreen.run.settings import ScreenSettings

if TYPE_CHECKING:
    from micscreen.run.pipeline import Event, Outcome

LOG_SECONDS: Final = 10.0


class Reporter(Protocol):
    """Shows what happens during a run."""

    def tell(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """Leave the terminal in order."""


class QuietReporter:
    """Says nothing but warnings."""

    def tell(self, event: Event) -> None:
        """Print warnings on standard error."""
        if event.kind == "warning":
            _warn(event.text)

    def close(self) -> None:
        """Nothing is open."""


class LineReporter:
    """One line per micrograph, with its times."""

    def tell(self, event: Event) -> None:
        """Print one line."""
        if event.kind == "warning":
            _warn(event.text)
        elif event.kind == "step":
            click.echo(f"{event.text} ...", err=True)
        elif event.row is not None:
            row = event.row
            times = ", ".join(f"{name} {seconds * 1e3:.0f}" for name, seconds in row.timings)
            what = f"failed: {row.reason}" if row.status == "failed" else _found(event)
            click.echo(f"{event.done}/{event.total} {row.name}: {what} [{times} ms]", err=True)

    def close(self) -> None:
        """Nothing is open."""


class LogReporter:
    """A line now and then, for log files and other places that are no terminal."""

    def __init__(self) -> None:
        self._first = 0
        self._begun = self._said = time.monotonic()

    def tell(self, event: Event) -> None:
        """Print warnings, failures, and how far it is about every ten seconds."""
        if event.kind == "warning":
            _warn(event.text)
        elif event.kind == "start":
            self._first, self._begun = event.done, time.monotonic()
            self._said = self._begun
        elif event.row is not None:
            if event.row.status == "failed":
                click.echo(f"Failed: {event.row.name}: {event.row.reason}", err=True)
            now = time.monotonic()
            if now - self._said >= LOG_SECONDS:
                self._said = now
                rate = (event.done - self._first) / (now - self._begun)
                left = (event.total - event.done) / rate
                text = f"screened {event.done} of {event.total}, {rate:.1f}/s, {left:.0f} s left"
                click.echo(text, err=True)

    def close(self) -> None:
        """Nothing is open."""


class JsonReporter:
    """One JSON object per line on standard output; see docs/events.md."""

    def __init__(self, settings: ScreenSettings) -> None:
        self._settings = settings

    def tell(self, event: Event) -> None:
        """Print one object."""
        from micscreen.run.events import event_record

        click.echo(json.dumps(event_record(event, self._settings)))

    def close(self) -> None:
        """Nothing is open."""


class BarReporter:
    """A progress bar with rate and time left, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("starting", total=None, rate="")
        self._first = 0
        self._progress.start()

    def tell(self, event: Event) -> None:
        """Move the bar, or print a warning above it."""
        if event.kind == "warning":
            self._progress.console.print(f"[yellow]Warning:[/] {_escaped(event.text)}")
        elif event.kind == "step":
            self._progress.update(self._task, description=event.text)
        elif event.kind == "start":
            self._first = event.done
            self._progress.reset(self._task, total=event.total, completed=event.done)
            self._progress.update(self._task, description="screening")
        else:
            if event.row is not None and event.row.status == "failed":
                text = f"{event.row.name}: {event.row.reason}"
                self._progress.console.print(f"[red]Failed:[/] {_escaped(text)}")
            task = self._progress.tasks[0]
            elapsed = task.elapsed or 0.0
            rate = f"{(event.done - self._first) / elapsed:.1f}/s" if elapsed > 0.5 else ""
            self._progress.update(self._task, completed=event.done, rate=rate)

    def close(self) -> None:
        """Stop drawing."""
        self._progress.stop()


@contextmanager
def open_bar(
    verbosity: Verbosity, what: str = "predicting masks"
) -> Iterator[Callable[[int, int], None]]:
    """Give a function of (done, total) that moves a plain progress bar, if one is wanted."""
    if verbosity in ("quiet", "json") or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def open_reporter(verbosity: Verbosity, settings: ScreenSettings) -> Reporter:
    """Return the reporter that was asked for."""
    if verbosity == "json":
        return JsonReporter(settings)
    if verbosity == "verbose":
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
        logging.getLogger("micscreen").setLevel(logging.DEBUG)
        return LineReporter()
    if verbosity == "quiet":
        return QuietReporter()
    return BarReporter() if sys.stderr.isatty() else LogReporter()


def screen_with_progress(
    settings: ScreenSettings, verbosity: Verbosity, events: Path | None = None
) -> int:
    """Run the main job, show it, print what came of it, and return the exit code.

    With `events`, the same is appended to that file as JSON lines.
    """
    from micscreen.cli.summary import print_outcome
    from micscreen.run.events import EventLog, outcome_record
    from micscreen.run.pipeline import screen

    with ExitStack() as open_files:
        log = None if events is None else open_files.enter_context(EventLog(events, settings))
        reporter = open_reporter(verbosity, settings)
        open_files.callback(reporter.close)

        def tell(event: Event) -> None:
            if log is not None:
                log.tell(event)
            reporter.tell(event)

        outcome: Outcome = screen(settings, progress=tell)
        if log is not None:
            log.finish(outcome)
    if verbosity == "json":
        click.echo(json.dumps(outcome_record(outcome)))
    else:
        print_outcome(outcome, brief=verbosity == "quiet")
    return outcome.exit_code


def _found(event: Event) -> str:
    """Return what was found on one micrograph, in a few words."""
    row = event.row
    assert row is not None
    suspect = f", suspect ({'; '.join(row.suspect)})" if row.suspect else ""
    return f"{row.picks_in} picks, {(row.contamination or 0):.1%} contaminated{suspect}"


def _warn(text: str) -> None:
    click.secho("Warning: ", fg="yellow", nl=False, err=True)
    click.echo(text, err=True)


def _escaped(text: str) -> str:
    """Return text in which rich finds no markup."""
    return text.replace("[", "\\[")
