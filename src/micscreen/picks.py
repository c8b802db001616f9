"""Picks: particle centres on one micrograph, and what was found out about each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError

CLASS_NAMES: Final = (
    "good",
    "support_film",
    "ice_contamination",
    "crystalline_ice",
    "aggregate",
    "damaged",
)
"""The classes of a pixel, in the order of the network's channels; 0 is good."""

REASONS: Final = ("good", "bad_region", "outside_frame", "no_image")
"""Why a pick has its goodness: index into this tuple is what a pick stores."""


@dataclass(frozen=True, slots=True, eq=False)
class Picks:
    """Picked particles of one micrograph, and their scores once they are known.

    Attributes
    ----------
    x, y
        Shape (n,), float64: the particle's CENTRE in px of the micrograph that was picked, x to
        the right, y along file rows; the centre of the first pixel is (0, 0).
    box_size
        Side of the extraction box in px of the picking micrograph, None when unknown.
    figure_of_merit
        Shape (n,): the picker's own score, carried through untouched; None when there is none.
    goodness
        Shape (n,), float32 in [0, 1], 1 = good; None before scoring.
    class_index
        Shape (n,), uint8: index into `CLASS_NAMES` of the class that speaks against the pick
        (0 when nothing bad lies near); None before scoring.
    distance
        Shape (n,), float32: from the centre to the nearest bad pixel, in px of the picking
        micrograph (inf when the micrograph has none, 0 inside); None before scoring.
    reason
        Shape (n,), uint8: index into `REASONS`; None before scoring.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    box_size: float | None = None
    figure_of_merit: NDArray[np.float64] | None = None
    goodness: NDArray[np.float32] | None = None
    class_index: NDArray[np.uint8] | None = None
    distance: NDArray[np.float32] | None = None
    reason: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        n = self.x.shape
        if len(n) != 1:
            raise PicksError(f"pick coordinates have shape (n,), these have {n}")
        for name in ("y", "figure_of_merit", "goodness", "class_index", "distance", "reason"):
            column = getattr(self, name)
            if column is not None and column.shape != n:
                raise PicksError(f"{name} has shape {column.shape}, x has {n}")
        if self.box_size is not None and not 0 < self.box_size < float("inf"):
            raise PicksError(f"a box size of {self.box_size} px is impossible")

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Picks:
        """Return the picks in `rows`, a mask of shape (n,) or row numbers, with all they carry."""
        columns = ("x", "y", "figure_of_merit", "goodness", "class_index", "distance", "reason")
        values = {name: getattr(self, name) for name in columns}
        return replace(self, **{n: v[rows] for n, v in values.items() if v is not None})

    def rescaled(self, scale: float) -> Picks:
        """Return the same picks in the pixels of an image that is `scale` times as large.

        Pixel centres map to pixel centres of the same field of view:
        ``(x + 0.5) * scale - 0.5``.
        """
        box_size = None if self.box_size is None else self.box_size * scale
        distance = None if self.distance is None else (self.distance * scale).astype(np.float32)
        return replace(
            self,
            x=(self.x + 0.5) * scale - 0.5,
            y=(self.y + 0.5) * scale - 0.5,
            box_size=box_size,
            distance=distance,
        )
