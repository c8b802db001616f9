"""`micscreen rethreshold`: another threshold on stored scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from micscreen.cli.vocabulary import COORDINATE_FORMATS, THRESHOLD_HELP


@click.command("rethreshold")
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--threshold", "-t", type=float, required=True, help=THRESHOLD_HELP)
@click.option(
    "--format", "output_format", type=click.Choice(COORDINATE_FORMATS),
    help="Write another format than the one that came in.",
)  # fmt: skip
@click.option(
    "--on-suspect", type=click.Choice(["keep", "drop", "flag"]),
    help="Picks of suspect micrographs; default what the job was run with.",
)  # fmt: skip
@click.option(
    "--manual", is_flag=True,
    help="Apply what was decided in `micscreen view`; the set is named picks_manual_...",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def command(job: Path, threshold: float, as_json: bool, **options: Any) -> int:
    """Write a new set from the scores stored in JOB, without the network."""
    import json

    from micscreen.run.export import rethreshold

    report = rethreshold(
        job,
        threshold,
        output_format=options["output_format"],
        on_suspect=options["on_suspect"],
        prefix="manual" if options["manual"] else "auto",
        manual=options["manual"],
    )
    counts = {
        "threshold": report.threshold,
        "kept": report.kept,
        "rejected": report.rejected,
        "unscreened": report.unscreened,
        "rejected_by": report.rejected_by,
        "folders": [str(folder) for folder in report.folders],
    }
    if as_json:
        click.echo(json.dumps(counts))
        return 0
    click.echo(f"kept {report.kept}, rejected {report.rejected} at threshold {threshold:g}")
    if report.unscreened:
        click.echo(f"not screened: {report.unscreened}")
    for folder in report.folders:
        click.echo(f"  {folder}")
    return 0
