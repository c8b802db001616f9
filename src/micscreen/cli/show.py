"""`micscreen show`: what a job found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click


@click.command("show")
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--threshold", "-t", type=float, help="Count kept picks at this threshold.")
@click.option("--micrographs", is_flag=True, help="One row per micrograph, as csv.")
@click.option("--picks", metavar="NAME", help="The scores of one micrograph's picks, as csv.")
@click.option("--failed", is_flag=True, help="All micrographs that failed, with reasons.")
@click.option("--suspect", is_flag=True, help="All suspect micrographs, with reasons.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def command(job: Path, threshold: float | None, as_json: bool, **options: Any) -> int:
    """Print what JOB found: also while it runs, or after it was interrupted."""
    from micscreen.run.store import Store

    with Store(job) as store:
        if options["picks"] is not None:
            lines = _pick_lines(store, options["picks"])
        elif options["micrographs"]:
            lines = _micrograph_lines(store, threshold)
        elif options["failed"] or options["suspect"]:
            lines = _listed_lines(store, failed=options["failed"], suspect=options["suspect"])
        else:
            _print_summary(store, threshold, as_json=as_json)
            return 0
        for line in lines:
            click.echo(line)
    return 0


def _pick_lines(store: Any, name: str) -> Iterator[str]:
    """Yield one micrograph's picks as csv."""
    from micscreen.errors import UsageError
    from micscreen.picks import CLASS_NAMES, REASONS

    for row, scores in store.scored():
        if name not in (row.name, row.path, Path(row.path).name):
            continue
        yield "row,x,y,goodness,class,distance_px,distance_A,reason"
        if scores is None:
            return
        for i in range(len(scores.rows)):
            distance = float(scores.distance[i])
            angstrom = "" if row.pixel_size is None else f"{distance * row.pixel_size:.1f}"
            yield (
                f"{scores.rows[i]},{scores.x[i]:g},{scores.y[i]:g},{scores.goodness[i]:.4f},"
                f"{CLASS_NAMES[scores.class_index[i]]},{distance:.1f},{angstrom},"
                f"{REASONS[scores.reason[i]]}"
            )
        return
    raise UsageError(
        f"the job has no micrograph {name!r}",
        where="--picks",
        hint="micscreen show JOB --micrographs lists them.",
    )


def _micrograph_lines(store: Any, threshold: float | None) -> Iterator[str]:
    """Yield the micrograph table as csv."""
    import csv
    import io

    from micscreen.run.summary import asked
    from micscreen.run.tables import micrograph_records

    begun = asked(store)
    wanted = begun["outputs"]["threshold"] if threshold is None else threshold
    text = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    for record in micrograph_records(store, wanted, begun["scoring"]["on_suspect"]):
        if writer is None:
            writer = csv.DictWriter(text, list(record), lineterminator="\n")
            writer.writeheader()
        writer.writerow(record)
    yield text.getvalue().rstrip("\n")


def _listed_lines(store: Any, *, failed: bool, suspect: bool) -> Iterator[str]:
    """Yield failed and suspect micrographs with their reasons."""
    for row in store.micrographs():
        if failed and row.status == "failed":
            yield f"{row.name}: {row.reason}"
        if suspect and row.suspect:
            yield f"{row.name}: {'; '.join(row.suspect)}"


def _print_summary(store: Any, threshold: float | None, *, as_json: bool) -> None:
    """Print the summary of a job."""
    import json

    from micscreen.cli.summary import print_summary
    from micscreen.run.summary import summarise

    summary = summarise(store, threshold)
    if as_json:
        click.echo(json.dumps(summary.record()))
        return
    if summary.statuses["pending"]:
        click.echo(f"Not finished: {summary.statuses['pending']} micrographs are still to be done.")
    print_summary(summary)
    areas = ", ".join(f"{name} {share:.2%}" for name, share in summary.area.items())
    click.echo(f"Mean area: {areas}")
    click.echo(f"Threshold {summary.threshold:g}, weights {summary.model.get('name')}")
    if summary.frame:
        found = summary.frame.get("evidence", {}).items()
        numbers = ", ".join(f"{name} {value:+.0f}" for name, value in found)
        said = "y flipped for scoring" if summary.frame["flip_y"] else "y as in the files"
        click.echo(f"Frame of the picks: {said}; evidence in standard errors: {numbers or 'none'}")
    for text in summary.warnings:
        click.echo(f"Warning: {text}")
