"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from micscreen.errors import UsageError
from micscreen.run.settings import WatchSettings

Verbosity = Literal["quiet", "normal", "verbose", "json"]
Function = TypeVar("Function", bound=Callable[..., Any])


def model_options(function: Function) -> Function:
    """Add `--model`."""
    return click.option(
        "--model", default="default", show_default=True, metavar="NAME|FILE",
        help="Weights in the package by name, or an ONNX file.",
    )(function)  # fmt: skip


def windows_option(function: Function) -> Function:
    """Add `--windows`."""
    return click.option(
        "--windows", is_flag=True,
        help="Predict as MicrographCleaner does, by windows and rotations; for imported weights.",
    )(function)  # fmt: skip


def compute_options(function: Function) -> Function:
    """Add `--device`, `--threads` and `--batch-size`; none of them changes a result."""
    function = click.option(
        "--batch-size", type=int, default=-1, show_default=True, metavar="N",
        help="Micrographs at a time: -1 automatic, 0 all that are there, or N.",
    )(function)  # fmt: skip
    function = click.option(
        "--threads", type=int, metavar="N", help="Worker threads; default one per core."
    )(function)
    return click.option(
        "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i,...]",
        help="cuda fails clearly where there is none; auto takes it where there is one.",
    )(function)  # fmt: skip


def dask_option(function: Function) -> Function:
    """Add `--dask`."""
    return click.option(
        "--dask", metavar="local:N|slurm:N|pbs:N|lsf:N|sge:N|ADDRESS|FILE",
        help="Work on a Dask cluster: N processes here, N jobs of a queue, or a running scheduler.",
    )(function)  # fmt: skip


def watch_options(function: Function) -> Function:
    """Add `--watch` and what belongs to it."""
    function = click.option(
        "--notify", type=click.Choice(["auto", "yes", "no"]), default="auto", show_default=True,
        help="With --watch: let the system tell of changes; auto polls on network file systems.",
    )(function)  # fmt: skip
    function = click.option(
        "--finish-file", type=click.Path(path_type=Path), metavar="FILE",
        help="With --watch: end when this file appears; default JOB/finish.",
    )(function)  # fmt: skip
    function = click.option(
        "--idle-timeout", type=float, metavar="SECONDS",
        help="With --watch: end when nothing new has come for so long; default never.",
    )(function)  # fmt: skip
    function = click.option(
        "--quiet-time", type=float, default=3.0, show_default=True, metavar="SECONDS",
        help="With --watch: take a file when it has not changed for so long.",
    )(function)  # fmt: skip
    function = click.option(
        "--poll", type=float, default=5.0, show_default=True, metavar="SECONDS",
        help="With --watch: look for new files so often.",
    )(function)  # fmt: skip
    return click.option(
        "--watch", is_flag=True, help="Go on while micrographs and coordinates still come."
    )(function)


def events_option(function: Function) -> Function:
    """Add `--events`."""
    return click.option(
        "--events", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
        help="Append one JSON object per micrograph to this file.",
    )(function)  # fmt: skip


def choose_watch(options: dict[str, Any]) -> WatchSettings | None:
    """Return how files are followed; None when they are not."""
    if not options["watch"]:
        return None
    return WatchSettings(
        poll=options["poll"],
        quiet=options["quiet_time"],
        idle_timeout=options["idle_timeout"],
        finish_file=options["finish_file"],
        notify=options["notify"],
    )


def verbosity_options(function: Function) -> Function:
    """Add `--quiet`, `--verbose` and `--json`."""
    function = click.option(
        "--json", "json_lines", is_flag=True, help="Progress as JSON lines on standard output."
    )(function)
    function = click.option(
        "--verbose", "-v", is_flag=True, help="One line per micrograph, with timings."
    )(function)
    return click.option("--quiet", "-q", is_flag=True, help="Print only the summary.")(function)


def choose_verbosity(options: dict[str, Any]) -> Verbosity:
    """Return the one that was asked for.

    Raises
    ------
    UsageError
        When several were.
    """
    asked = [name for name in ("quiet", "verbose", "json_lines") if options.pop(name)]
    if len(asked) > 1:
        raise UsageError("take one of them", where="--quiet, --verbose and --json")
    if not asked:
        return "normal"
    return "json" if asked[0] == "json_lines" else asked[0]  # type: ignore[return-value]
