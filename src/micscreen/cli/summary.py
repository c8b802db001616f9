"""What is printed at the end of a run, and by `micscreen show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from micscreen.run.pipeline import Outcome

LISTED: Final = 10
"""How many failed or suspect micrographs are listed in full."""


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """Return what came of a run as plain values, for programs."""
    report = outcome.export
    return {
        "event": "end",
        "job": str(outcome.job),
        "micrographs": outcome.micrographs,
        "done": outcome.done,
        "skipped": outcome.skipped,
        "failed": [{"name": name, "reason": reason} for name, reason in outcome.failed],
        "suspect": [{"name": name, "reason": reason} for name, reason in outcome.suspect],
        "picks_in": outcome.picks_in,
        "threshold": None if report is None else report.threshold,
        "kept": None if report is None else report.kept,
        "rejected": None if report is None else report.rejected,
        "unscreened": None if report is None else report.unscreened,
        "rejected_by": {} if report is None else report.rejected_by,
        "folders": [] if report is None else [str(folder) for folder in report.folders],
        "interrupted": outcome.interrupted,
        "seconds": round(outcome.seconds, 3),
    }


def print_outcome(outcome: Outcome, *, brief: bool = False) -> None:
    """Print what came of a run: counts, a histogram, what failed, and where everything is."""
    if outcome.interrupted:
        click.echo(
            f"Interrupted: {outcome.done} of {outcome.micrographs} micrographs are screened. "
            "Start the same command again to continue."
        )
        return
    report = outcome.export
    assert report is not None
    new = outcome.done + len(outcome.failed) - outcome.skipped
    rate = f", {new / outcome.seconds:.1f} per second" if new and outcome.seconds > 0 else ""
    click.echo(
        f"Screened {outcome.done} of {outcome.micrographs} micrographs"
        + (f" ({outcome.skipped} of them before)" if outcome.skipped else "")
        + f" in {outcome.seconds:.1f} s{rate}."
    )
    share = report.kept / max(report.kept + report.rejected, 1)
    click.echo(
        f"Picks: {outcome.picks_in} in, {report.kept} kept ({share:.1%}), "
        f"{report.rejected} rejected at threshold {report.threshold:g}"
        + (f", {report.unscreened} not screened" if report.unscreened else "")
        + "."
    )
    if report.rejected_by:
        parts = ", ".join(f"{name} {count}" for name, count in report.rejected_by.items())
        click.echo(f"Rejected by: {parts}")
    if not brief:
        _print_histogram(outcome)
    print_listed("failed", outcome.failed)
    print_listed("suspect", outcome.suspect)
    for folder in (*report.folders, *outcome.tables):
        click.echo(f"  {folder}")


def print_listed(what: str, entries: Sequence[tuple[str, str]]) -> None:
    """Print the first few (name, reason), and how many there are."""
    if not entries:
        return
    click.secho(f"{len(entries)} {what}:", fg="red" if what == "failed" else "yellow")
    for name, reason in entries[:LISTED]:
        click.echo(f"  {name}: {reason}")
    if len(entries) > LISTED:
        click.echo(f"  and {len(entries) - LISTED} more")


def _print_histogram(outcome: Outcome) -> None:
    """Print how the goodness of all picks is distributed."""
    import numpy as np

    from micscreen.run.store import Store

    with Store(outcome.job) as store:
        counts = np.zeros(10, np.int64)
        for _, scores in store.scored():
            if scores is not None:
                counts += np.histogram(scores.goodness, bins=10, range=(0.0, 1.0))[0]
    for line in histogram_lines(counts.tolist()):
        click.echo(line)


def histogram_lines(counts: Sequence[int], width: int = 40) -> list[str]:
    """Return a small histogram of goodness as text, one line per bin of 0.1."""
    most = max(counts, default=0)
    if not most:
        return []
    lines = ["Goodness"]
    for i, count in enumerate(counts):
        bar = "█" * round(width * count / most) or ("▏" if count else "")
        lines.append(f"  {i / 10:.1f}-{(i + 1) / 10:.1f} {bar} {count}")
    return lines
