"""From scores and a threshold to verdicts on every row of every coordinate table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from micscreen.picks import CLASS_NAMES, REASONS
from micscreen.run.rows import MicrographRow, Scores, kept


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """What is known about the rows of all tables, the tables one after the other.

    One array for all of them, since a job may have tens of thousands of tables with few rows.

    Attributes
    ----------
    starts
        Shape (tables + 1,), int64: where the rows of each table begin, and where the last ends.
    kept, screened
        Shape (n,), bool.
    goodness
        Shape (n,), float32, 0 to 1; NaN where a row was not screened.
    scale
        Shape (n,), float64: px of the screened per px of the picked micrograph; empty unless
        coordinates are to be moved.
    scales
        Table to the scales of its micrographs, under the same condition.
    """

    starts: NDArray[np.int64]
    kept: NDArray[np.bool_]
    screened: NDArray[np.bool_]
    goodness: NDArray[np.float32]
    scale: NDArray[np.float64]
    scales: dict[int, list[float]]

    def part(self, table: int) -> slice:
        """Return where the rows of a table are."""
        return slice(int(self.starts[table]), int(self.starts[table + 1]))


def judge(
    scored: Iterable[tuple[MicrographRow, Scores | None]],
    lengths: Sequence[int],
    threshold: float,
    on_suspect: Literal["keep", "drop", "flag"],
    *,
    moved: bool,
) -> tuple[Verdicts, dict[str, int]]:
    """Return the verdicts on all rows, and how many picks each class or reason condemned.

    Parameters
    ----------
    scored
        The job's micrographs with their scores.
    lengths
        Number of rows of each table.
    threshold, on_suspect
        Decide which picks are kept.
    moved
        Whether coordinates are to be moved to the screened micrographs' scale.
    """
    starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    n = int(starts[-1])
    verdicts = Verdicts(
        starts=starts,
        kept=np.zeros(n, bool),
        screened=np.zeros(n, bool),
        goodness=np.full(n, np.nan, np.float32),
        scale=np.ones(n if moved else 0),
        scales={},
    )
    condemned: Counter[str] = Counter()
    for row, scores in scored:
        if scores is None or row.source is None:
            continue
        rows = scores.rows + starts[row.source]
        keep = kept(row, scores, threshold, on_suspect)
        verdicts.screened[rows] = True
        verdicts.kept[rows] = keep
        verdicts.goodness[rows] = scores.goodness
        if moved:
            verdicts.scale[rows] = row.box_scale or 1.0
            verdicts.scales.setdefault(row.source, []).append(row.box_scale or 1.0)
        condemned.update(_condemned(scores, ~keep))
    return verdicts, dict(sorted(condemned.items()))


def _condemned(scores: Scores, rows: NDArray[np.bool_]) -> Counter[str]:
    """Return what condemned the picks in `rows`: a class, or a reason that is not in the image."""
    found: Counter[str] = Counter()
    in_image = scores.reason <= REASONS.index("bad_region")
    for index, count in enumerate(np.bincount(scores.class_index[rows & in_image])):
        found[CLASS_NAMES[index]] += int(count)
    for index, count in enumerate(np.bincount(scores.reason[rows & ~in_image])):
        found[REASONS[index]] += int(count)
    return +found
