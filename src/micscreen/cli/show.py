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
            lines = _summary_lines(store, threshold, as_json=as_json)
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

    from micscreen.run.tables import micrograph_records

    asked = _asked(store)
    wanted = asked["outputs"]["threshold"] if threshold is None else threshold
    text = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    for record in micrograph_records(store, wanted, asked["scoring"]["on_suspect"]):
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


def _summary_lines(store: Any, threshold: float | None, *, as_json: bool) -> Iterator[str]:
    """Yield the summary of a job."""
    import json

    import numpy as np

    from micscreen.cli.summary import histogram_lines
    from micscreen.picks import CLASS_NAMES
    from micscreen.run.rows import kept
    from micscreen.run.settings import check_threshold

    asked = _asked(store)
    wanted = asked["outputs"]["threshold"] if threshold is None else threshold
    check_threshold(wanted)
    counts = np.zeros(10, np.int64)
    statuses = {"done": 0, "failed": 0, "pending": 0}
    suspects = picks_in = picks_kept = screened = 0
    area = np.zeros(len(CLASS_NAMES))
    for row, scores in store.scored():
        statuses[row.status] += 1
        suspects += bool(row.suspect)
        picks_in += row.picks_in
        area += row.area or (0.0,) * len(CLASS_NAMES)
        if scores is not None:
            screened += len(scores.goodness)
            picks_kept += int(kept(row, scores, wanted, asked["scoring"]["on_suspect"]).sum())
            counts += np.histogram(scores.goodness, bins=10, range=(0.0, 1.0))[0]
    area /= max(statuses["done"], 1)
    record = {
        "micrographs": statuses,
        "suspect": suspects,
        "picks_in": picks_in,
        "threshold": wanted,
        "kept": picks_kept,
        "rejected": screened - picks_kept,
        "unscreened": picks_in - screened,
        "area": {name: round(float(a), 5) for name, a in zip(CLASS_NAMES, area, strict=True)},
        "goodness_histogram": counts.tolist(),
        "model": store.info().get("model"),
        "warnings": store.info().get("warnings", []),
    }
    if as_json:
        yield json.dumps(record)
        return
    yield ", ".join(f"{n} {s}" for s, n in statuses.items()) + f", {suspects} suspect micrographs"
    yield (
        f"Picks: {picks_in} in, {picks_kept} kept, {screened - picks_kept} rejected at threshold "
        f"{wanted:g}, {picks_in - screened} not screened"
    )
    yield "Mean area: " + ", ".join(f"{n} {a:.2%}" for n, a in record["area"].items())
    yield from histogram_lines(counts.tolist())
    for text in record["warnings"]:
        yield f"Warning: {text}"


def _asked(store: Any) -> dict[str, Any]:
    """Return the settings with which the job was begun."""
    from micscreen.errors import JobError

    identity = store.info().get("identity")
    if identity is None:
        raise JobError("nothing was screened in this job yet", where=store.folder)
    assert isinstance(identity, dict)
    return identity
