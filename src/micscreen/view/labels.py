"""What was painted, as labels for `micscreen train`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from micscreen.io import write_class_map
from micscreen.run.find import printable
from micscreen.run.overrides import NOTHING
from micscreen.run.rows import MicrographRow
from micscreen.run.store import Store
from micscreen.view.index import JobIndex

LABELS: Final = "view_labels"


def write_labels(index: JobIndex) -> list[MicrographRow]:
    """Write a class map of each micrograph that was painted on into `JOB/view_labels`.

    Parameters
    ----------
    index
        The job's.

    Returns
    -------
    The micrographs that have labels now; those no longer painted on lose theirs.
    """
    folder, labelled = index.job / LABELS, []
    overrides = dict(index.overrides)
    with Store(index.job) as store:
        rows = [row for row in store.micrographs() if overrides.get(row.name, NOTHING).strokes]
    for row in rows:
        regions = index.reviser.regions(row.name)
        if regions is None or row.height is None or row.width is None:
            continue
        painted = regions.painted(overrides[row.name].strokes, (row.height, row.width))
        write_class_map(folder / f"{row.name}.png", painted.labels)
        labelled.append(row)
    names = {f"{row.name}.png" for row in labelled}
    for path in folder.glob("*.png"):
        if path.name not in names:
            path.unlink()
    return labelled


def train_line(index: JobIndex, labelled: Sequence[MicrographRow]) -> str:
    """Return the command that trains with the labels; empty when there are none."""
    if not labelled:
        return ""
    folder = Path(str(index.info.get("folder", ".")))
    paths = " ".join(shlex.quote(printable(str(folder / row.path))) for row in labelled)
    labels = shlex.quote(printable(str(index.job.resolve() / LABELS)))
    box = (labelled[0].box_size or 0.0) * (labelled[0].box_scale or 1.0)
    return f"micscreen train {paths} --labels {labels} --box-size {box:g} --output own"
