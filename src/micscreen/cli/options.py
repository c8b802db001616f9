"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import click

from micscreen.errors import UsageError

Verbosity = Literal["quiet", "normal", "verbose", "json"]
Function = TypeVar("Function", bound=Callable[..., Any])


def model_options(function: Function) -> Function:
    """Add `--model`."""
    return click.option(
        "--model", default="default", show_default=True, metavar="NAME|FILE",
        help="Weights in the package by name, or an ONNX file.",
    )(function)  # fmt: skip


def compute_options(function: Function) -> Function:
    """Add `--device`, `--threads` and `--batch-size`; none of them changes a result."""
    function = click.option(
        "--batch-size", type=int, default=-1, show_default=True, metavar="N",
        help="Micrographs in flight: -1 automatic, 0 as many as memory allows, or N.",
    )(function)  # fmt: skip
    function = click.option(
        "--threads", type=int, metavar="N", help="Worker threads; default one per core."
    )(function)
    return click.option(
        "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i,...]",
        help="cuda fails clearly where there is none; auto takes it where there is one.",
    )(function)  # fmt: skip


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
