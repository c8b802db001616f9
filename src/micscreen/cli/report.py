"""`micscreen report`: a job as one file to send to a colleague."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="The file to write; default JOB/report.html.",
)  # fmt: skip
@click.option(
    "--threshold", "-t", type=float, help="Count kept picks at this one; default the run's."
)
def command(job: Path, output: Path | None, threshold: float | None) -> int:
    """Write JOB as one HTML file: charts, classes, worst and best micrographs, a sample, settings.

    The file holds everything that it shows, runs no script, loads nothing, and stays below 10 MB.
    It can be written while the job runs. To make a PDF, print it from a browser.
    """
    from micscreen.run.report import write_report

    path = write_report(job, output, threshold)
    click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
