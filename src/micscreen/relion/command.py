"""The command `relion_micscreen`, which RELION runs as an External job.

RELION starts it in the project folder with ``--o External/jobNNN/``, the inputs, ``--j`` and the
label and value of each line of the Params tab. It says how it ended by files in the job's folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import click

from micscreen.errors import JobMismatchError, MicscreenError, UsageError
from micscreen.relion.inputs import RelionInputs, relion_inputs
from micscreen.relion.outputs import JOB, write_outputs
from micscreen.run.loop import Event
from micscreen.run.pipeline import Outcome, screen
from micscreen.run.settings import (
    ComputeSettings,
    InputSettings,
    OutputSettings,
    ScoreSettings,
    ScreenSettings,
)

SUCCESS: Final = "RELION_JOB_EXIT_SUCCESS"
FAILURE: Final = "RELION_JOB_EXIT_FAILURE"
ABORTED: Final = "RELION_JOB_EXIT_ABORTED"
ABORT_NOW: Final = "RELION_JOB_ABORT_NOW"

BOX_PER_DIAMETER: Final = 1.5
"""A box is so many particle diameters wide, see `InputSettings`."""

SAID_EVERY: Final = 10.0
"""Seconds between two lines in run.out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job, and leave outputs and the file that tells RELION how it ended.

    Returns
    -------
    0 when it succeeded, some micrographs having failed or not; 1 when it failed or was aborted.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    out = _folder(given)
    try:
        asked = _parser().parse_args(given)
        for name in (SUCCESS, FAILURE, ABORTED):
            (asked.o / name).unlink(missing_ok=True)
        asked.o.mkdir(parents=True, exist_ok=True)
        with _aborting(asked.o):
            outcome = _run(asked)
    except MicscreenError as error:
        click.echo(f"ERROR: {error}", err=True)
        return _ended(out, FAILURE)
    except (OSError, UnicodeError) as error:
        click.echo(f"ERROR: {error}", err=True)
        return _ended(out, FAILURE)
    except KeyboardInterrupt:
        return _ended(out, ABORTED)
    except Exception:
        _ended(out, FAILURE)  # RELION would wait for ever for a job without an end
        raise
    if outcome.interrupted:
        click.echo("Aborted; continue the job to go on where it stopped.")
        return _ended(out, ABORTED)
    every_one_failed = outcome.micrographs > 0 and outcome.done == 0
    return _ended(out, FAILURE if every_one_failed else SUCCESS)


def _run(asked: argparse.Namespace) -> Outcome:
    """Screen and write the outputs."""
    inputs = relion_inputs(asked.in_mics, asked.in_coords, asked.in_parts)
    for note in inputs.notes:
        click.echo(f"WARNING: {note}")
    settings = _settings(asked, inputs)
    try:
        outcome = screen(settings, progress=_Teller().tell)
    except JobMismatchError as error:
        hint = (
            "Give the values of before to continue this job; for others make a new job in RELION."
        )
        raise JobMismatchError(error.what, where=error.where, hint=hint) from None
    for name, reason in outcome.failed:
        click.echo(f"FAILED: {name}: {' '.join(reason.split())}", err=True)
    if outcome.export is None:
        return outcome
    chosen = outcome.export.folders[0]
    written = write_outputs(asked.o, settings.output, chosen, inputs, asked.max_contamination)
    report = outcome.export
    click.echo(
        f"{outcome.done} of {outcome.micrographs} micrographs screened, {len(outcome.failed)} "
        f"failed, {len(outcome.suspect)} suspect.\n{report.kept} picks kept, {report.rejected} "
        f"rejected" + (f", {report.unscreened} not screened." if report.unscreened else ".")
    )
    for class_name, count in report.rejected_by.items():
        click.echo(f"  {count} for {class_name.replace('_', ' ')}")
    click.echo("Written: " + ", ".join(str(path) for path in written))
    click.echo(f"To look at it: micscreen view {settings.output}")
    return outcome


def _settings(asked: argparse.Namespace, inputs: RelionInputs) -> ScreenSettings:
    """Return the screening that was asked for."""
    box, diameter = asked.box_size, asked.particle_diameter
    if box is None and diameter is None and inputs.extent is not None:
        diameter = inputs.extent / BOX_PER_DIAMETER
    if box is None and diameter is None:
        raise UsageError(
            "the particles' size is not known",
            where="Params tab",
            hint="Add a line with the label particle_diameter (Å) or box_size (px of the "
            "micrographs) and its value.",
        )
    return ScreenSettings(
        inputs=InputSettings(
            micrographs=(str(inputs.micrographs),),
            coordinates=(str(inputs.coordinates),),
            box_size=box,
            particle_diameter=diameter,
            pixel_size=asked.pixel_size or inputs.pixel_size,
            flip_y="no",
        ),
        output=asked.o / JOB,
        scoring=ScoreSettings(
            model=asked.model,
            contrast=asked.contrast,
            rule=asked.rule,
            distance=asked.distance,
            on_suspect=asked.on_suspect,
        ),
        outputs=OutputSettings(
            threshold=asked.threshold,
            save_masks=asked.save_masks,
            thumbnails=asked.thumbnails,
        ),
        compute=ComputeSettings(device=asked.device, threads=max(1, asked.j)),
    )


class _Teller:
    """Progress for run.out: a line at the start, about every ten seconds, and at the end."""

    def __init__(self) -> None:
        self._first, self._begun, self._said = 0, time.monotonic(), 0.0

    def tell(self, event: Event) -> None:
        """Print what happened."""
        now = time.monotonic()
        if event.kind == "warning":
            click.echo(f"WARNING: {event.text}")
        elif event.kind == "step":
            click.echo(event.text)
        elif event.kind == "start":
            self._first, self._begun, self._said = event.done, now, now
            click.echo(f"{event.total} micrographs, {event.done} done before")
        elif now - self._said >= SAID_EVERY or event.done == event.total:
            self._said = now
            rate = (event.done - self._first) / max(now - self._begun, 1e-6)
            left = (event.total - event.done) / max(rate, 1e-6)
            share = event.done / max(event.total, 1)
            click.echo(
                f"{event.done} of {event.total} micrographs ({share:.0%}), {rate:.1f} per second, "
                f"{left / 60:.1f} minutes left"
            )


@contextmanager
def _aborting(out: Path, every: float = 1.0) -> Iterator[None]:
    """While it lasts, stop the run when RELION's GUI or a signal asks for it.

    The loop ends after what is in flight; before and after it, SIGTERM raises KeyboardInterrupt.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every):
            if (out / ABORT_NOW).exists():
                (out / ABORT_NOW).unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGTERM)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    (out / ABORT_NOW).unlink(missing_ok=True)
    before = signal.signal(signal.SIGTERM, interrupt)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGTERM, before)


def _ended(out: Path | None, how: str) -> int:
    """Leave the file that says how it ended; return the exit code."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / how).touch()
    return 0 if how == SUCCESS else 1


def _folder(given: Sequence[str]) -> Path | None:
    """Return the job's folder, also when the other arguments cannot be understood."""
    for option, value in pairwise(given):
        if option == "--o":
            return Path(value)
    return None


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours, so that RELION gets its exit file."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(
            message,
            where="relion_micscreen",
            hint="Labels for the Params tab: " + ", ".join(PARAMS) + ".",
        )


def _yes(text: str) -> bool:
    """Return what a Params value says: yes or no."""
    if text.lower() in ("yes", "true", "1", "no", "false", "0"):
        return text.lower() in ("yes", "true", "1")
    raise argparse.ArgumentTypeError(f"yes or no, not {text!r}")


PARAMS: Final[dict[str, tuple[Callable[[str], Any], Any, str]]] = {
    "threshold": (float, 0.8, "keep picks with goodness >= this, 0 to 1; -1 keeps all"),
    "particle_diameter": (float, None, "Å; the box is 1.5 times as large"),
    "box_size": (float, None, "px of the micrographs; that of extracted particles is known"),
    "pixel_size": (float, None, "Å/px, instead of what the STAR file says"),
    "device": (str, "auto", "auto, cpu, cuda or cuda:0,1"),
    "model": (str, "default", "weights by name, or an ONNX file"),
    "contrast": (str, "auto", "particles: auto, dark or bright"),
    "rule": (str, "box", "box, centre or distance"),
    "distance": (float, None, "Å, for the rule distance"),
    "on_suspect": (str, "flag", "picks of suspect micrographs: flag, keep or drop"),
    "max_contamination": (float, None, "0 to 1: worse ones are not in micrographs_selected.star"),
    "save_masks": (_yes, False, "yes keeps the masks"),
    "thumbnails": (int, 20, "how many pictures with mask and picks are made"),
}
"""Labels of the Params tab: type, default, meaning."""

_CHOICES: Final = {
    "contrast": ("auto", "dark", "bright"),
    "rule": ("box", "centre", "distance"),
    "on_suspect": ("flag", "keep", "drop"),
}


def _parser() -> _Parser:
    parser = _Parser(prog="relion_micscreen", description=__doc__, allow_abbrev=False)
    parser.add_argument("--o", type=Path, required=True, help="folder of the job")
    for name, what in (
        ("--in_mics", "micrographs_ctf.star"),
        ("--in_coords", "autopick.star, manualpick.star, or coords_suffix_X.star of RELION 3.1"),
        ("--in_parts", "particles.star"),
    ):
        parser.add_argument(name, type=Path, help=what)
    for name in ("--in_mov", "--in_movies", "--in_3dref", "--in_mask", "--pipeline_control"):
        parser.add_argument(name, help="not used")
    parser.add_argument("--continue", action="store_true", help="not needed: it always goes on")
    parser.add_argument("--j", type=int, default=1, help="threads")
    for name, (kind, default, what) in PARAMS.items():
        parser.add_argument(
            f"--{name}", type=kind, default=default, choices=_CHOICES.get(name), help=what
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
