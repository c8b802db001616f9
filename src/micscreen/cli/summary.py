"""What is printed at the end of a run, and by `micscreen show`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from micscreen.run.pipeline import Outcome
    from micscreen.run.summary import JobSummary

LISTED: Final = 10
"""How many failed or suspect micrographs are listed in full."""


def print_outcome(outcome: Outcome, *, brief: bool = False) -> None:
    """Print what came of a run: counts, a histogram, what failed, and where everything is."""
    report = outcome.export
    if outcome.interrupted:
        click.echo(
            f"Interrupted: {outcome.done} of {outcome.micrographs} micrographs are screened. "
            "Start the same command again to continue."
        )
    if report is None:
        return
    new = outcome.done + len(outcome.failed) - outcome.skipped
    rate = f", {new / outcome.seconds:.2g} per second" if new and outcome.seconds > 0 else ""
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
    if not brief:
        from micscreen.run.store import Store
        from micscreen.run.summary import summarise

        with Store(outcome.job) as store:
            print_summary(summarise(store))
    print_listed("failed", outcome.failed)
    print_listed("suspect", outcome.suspect)
    for folder in (*report.folders, *outcome.tables):
        click.echo(f"  {folder}")


def print_summary(summary: JobSummary) -> None:
    """Print a job's table and the histogram of its goodness."""
    from rich.console import Console

    from micscreen.report import goodness_histogram, summary_table

    Console(highlight=False).print(summary_table(summary.rows))
    for line in goodness_histogram(summary.histogram, summary.threshold):
        click.echo(f"  {line}")


def print_listed(what: str, entries: Sequence[tuple[str, str]]) -> None:
    """Print the first few (name, reason), and how many there are."""
    if not entries:
        return
    keys = Counter(
        part.split(":")[0] for _, reason in entries for part in reason.split("; ") if ":" in part
    )
    by_key = ", ".join(f"{key} {count}" for key, count in keys.most_common())
    click.secho(
        f"{len(entries)} {what}" + (f" ({by_key}):" if what == "suspect" else ":"),
        fg="red" if what == "failed" else "yellow",
    )
    for name, reason in entries[:LISTED]:
        click.echo(f"  {name}: {reason}")
    if len(entries) > LISTED:
        click.echo(f"  and {len(entries) - LISTED} more")
