"""What every pick is worth: goodness, the class that speaks against it, distance, reason.

All picks of a micrograph are scored at once, from the class maps at model scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.errors import UsageError
from micscreen.picks import REASONS, Picks

RuleKind = Literal["box", "centre", "distance"]

BAD: Final = 0.5
"""A pixel is bad when its contamination reaches this."""

NOTED: Final = 0.1
"""With less contamination than this in its neighbourhood, a pick is of class good: every pick that
a threshold of up to 0.9 rejects has a class that speaks against it."""

CENTRE_RADIUS: Final = 0.25
"""Radius of the disc of the rule `centre`, as a share of the box."""

GOOD, BAD_REGION, OUTSIDE_FRAME, NO_IMAGE = (
    REASONS.index(name) for name in ("good", "bad_region", "outside_frame", "no_image")
)


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """Which neighbourhood of a pick decides.

    Attributes
    ----------
    kind
        `box`: the mean over the box. `centre`: the mean over a disc with a quarter of the box as
        radius. `distance`: the worst within `distance` of the centre.
    distance
        Å; for `distance`.
    """

    kind: RuleKind = "box"
    distance: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("box", "centre", "distance"):
            raise UsageError(f"there is no rule {self.kind!r}", hint="box, centre or distance")
        if self.kind == "distance" and (self.distance is None or not 0 < self.distance < 1e9):
            raise UsageError(
                "the rule `distance` needs a distance",
                where="--distance",
                hint="For example --rule distance --distance 150 (Å).",
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Picks on the maps' grid.

    Attributes
    ----------
    x, y
        Shape (n,): centres in px of the maps; the first pixel reaches from 0 to 1.
    row, column
        Shape (n,): the pixel under the centre, the nearest one for centres outside.
    scale_x, scale_y
        px of the maps / px of the micrograph.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    scale_x: float
    scale_y: float

    @property
    def scale(self) -> float:
        """Mean of both scales."""
        return float(np.sqrt(self.scale_x * self.scale_y))


def score(
    picks: Picks,
    maps: NDArray[np.float32],
    shape: tuple[int, int],
    rule: ScoreRule | None = None,
    *,
    pixel_size: float | None = None,
    valid: NDArray[np.bool_] | None = None,
) -> Picks:
    """Score all picks of a micrograph.

    Parameters
    ----------
    picks
        In px of the micrograph, with a box size (not needed for the rule `distance`).
    maps
        Shape (k, h', w'): probability per class of `CLASS_NAMES`; over the same field of view.
    shape
        Height and width of the micrograph, px.
    rule
        The neighbourhood that decides; default `box`.
    pixel_size
        Å/px of the micrograph, for the rule `distance`.
    valid
        Shape (h', w'), bool: where there is image; everywhere when None. What is not valid does
        not count in a neighbourhood, and a pick whose centre lies there has goodness 0.

    Returns
    -------
    The same picks with goodness, class_index, distance (px of the micrograph) and reason.

    Raises
    ------
    UsageError
        When the rule needs a box size or a pixel size that is not there.
    """
    rule = rule or ScoreRule()
    reach = _reach(rule, picks.box_size, pixel_size)
    image = np.ones(maps.shape[1:], np.bool_) if valid is None else valid
    contamination = np.where(image, np.clip(1.0 - maps[0], 0.0, 1.0), 0.0).astype(np.float32)
    grid = _on_grid(picks, image.shape, shape)
    outside = ~((grid.x >= 0) & (grid.x <= image.shape[1]))
    outside |= ~((grid.y >= 0) & (grid.y <= image.shape[0]))
    no_image = ~image[grid.row, grid.column] & ~outside
    mean = _neighbourhood_mean(grid, image, rule, reach)
    if rule.kind == "distance":
        worst = _worst_within(contamination, reach * grid.scale)
        bad = _between(worst, grid, slice(None))
    else:
        bad = mean(contamination, slice(None))
    bad[outside | no_image] = 1.0
    noted = np.flatnonzero((bad >= NOTED) & ~outside & ~no_image)
    class_index = np.zeros(len(picks), np.uint8)
    if len(noted):
        masses = [mean(np.where(image, class_, np.float32(0)), noted) for class_ in maps[1:]]
        class_index[noted] = 1 + np.argmax(masses, axis=0)
    reason = np.where(class_index > 0, BAD_REGION, GOOD).astype(np.uint8)
    reason[no_image] = NO_IMAGE
    reason[outside] = OUTSIDE_FRAME
    return replace(
        picks,
        goodness=(1.0 - np.clip(bad, 0.0, 1.0)).astype(np.float32),
        class_index=class_index,
        distance=_distance_to_bad(grid, contamination),
        reason=reason,
    )


def keep(goodness: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Return which picks stay: goodness >= threshold; all of them for a threshold of -1.

    Both are compared in single precision, so that 0.8 is kept at 0.8.
    """
    if threshold == -1:
        return np.ones(goodness.shape, np.bool_)
    return np.asarray(goodness.astype(np.float32) >= np.float32(threshold))


def _on_grid(picks: Picks, grid: tuple[int, ...], shape: tuple[int, int]) -> _Grid:
    """Bring picks to the maps' grid (h', w') over a micrograph of `shape` (h, w)."""
    scale_y, scale_x = grid[0] / shape[0], grid[1] / shape[1]
    x, y = (picks.x + 0.5) * scale_x, (picks.y + 0.5) * scale_y
    return _Grid(x, y, _index(y, grid[0]), _index(x, grid[1]), scale_x, scale_y)


def _index(position: NDArray[np.float64], length: int) -> NDArray[np.int64]:
    """Return the pixel under each position, the first or last for what lies outside."""
    inside = np.clip(np.nan_to_num(position), 0, length - 1e-6)
    return np.minimum(inside.astype(np.int64), length - 1)


Mean = Callable[[NDArray[np.float32], NDArray[np.int64] | slice], NDArray[np.float64]]
"""(map (h', w'), which picks) -> the map's mean around each of them, over what is image."""


def _reach(rule: ScoreRule, box_size: float | None, pixel_size: float | None) -> float:
    """Return half the box, or the radius of the disc, that decides: px of the micrograph."""
    if rule.kind == "distance":
        if pixel_size is None:
            raise UsageError(
                "the rule `distance` needs the pixel size, and the micrograph does not say it",
                where="--rule distance",
                hint="Give --pixel-size in Å/px.",
            )
        return (rule.distance or 0.0) / pixel_size
    if box_size is None:
        raise UsageError(
            f"the rule `{rule.kind}` needs the size of the particle box",
            where="--box-size",
            hint="Give the box in px of the picked micrographs, or --particle-diameter in Å.",
        )
    return box_size / 2 if rule.kind == "box" else box_size * CENTRE_RADIUS


def _neighbourhood_mean(
    grid: _Grid, image: NDArray[np.bool_], rule: ScoreRule, reach: float
) -> Mean:
    """Return how to average a map, zero where there is no image, around picks."""
    share = image.astype(np.float32)
    if rule.kind != "centre":  # for `distance`, only the class is taken from the mean
        corners = _Corners.of(grid, reach * grid.scale_x, reach * grid.scale_y, image.shape)
        if image.all():
            area = (corners.right - corners.left) * (corners.bottom - corners.top)
        else:
            area = corners.sums(share, slice(None))
        area = np.maximum(area, 1e-9)
        return lambda map_, which: corners.sums(map_, which) / area[which]
    kernel = _disc(reach * grid.scale)
    weight = np.maximum(_filtered(share, kernel), np.float32(1e-6))
    return lambda map_, which: _between(_filtered(map_, kernel) / weight, grid, which)


@dataclass(frozen=True, slots=True, eq=False)
class _Corners:
    """Boxes around picks, clipped at the picture's edges, for sums by an integral image."""

    left: NDArray[np.float64]
    right: NDArray[np.float64]
    top: NDArray[np.float64]
    bottom: NDArray[np.float64]

    @classmethod
    def of(cls, grid: _Grid, half_x: float, half_y: float, shape: tuple[int, ...]) -> _Corners:
        """Return the boxes of all picks on a grid of `shape` (h', w')."""
        x, y = np.nan_to_num(grid.x), np.nan_to_num(grid.y)
        h, w = shape
        return cls(
            np.clip(x - half_x, 0, w),
            np.clip(x + half_x, 0, w),
            np.clip(y - half_y, 0, h),
            np.clip(y + half_y, 0, h),
        )

    def sums(
        self, map_: NDArray[np.float32], which: NDArray[np.int64] | slice
    ) -> NDArray[np.float64]:
        """Return the map's sum over each box, pixels on its edge weighted by their part in it."""
        integral = cv2.integral(map_, sdepth=cv2.CV_64F)  # (h' + 1, w' + 1)
        columns = (_linear(self.left[which]), _linear(self.right[which]))
        rows = (_linear(self.top[which]), _linear(self.bottom[which]))
        return np.asarray(
            _at(integral, rows[1], columns[1])
            - _at(integral, rows[0], columns[1])
            - _at(integral, rows[1], columns[0])
            + _at(integral, rows[0], columns[0])
        )


Linear = tuple[NDArray[np.int64], NDArray[np.float64]]


def _linear(position: NDArray[np.float64]) -> Linear:
    """Return the sample before each position and how far the position is towards the next."""
    before = position.astype(np.int64)
    return before, position - before


def _at(values: NDArray[np.floating[Any]], rows: Linear, columns: Linear) -> NDArray[np.float64]:
    """Return values (h, w) between samples, linearly; beyond the last sample stays the last."""
    (i, down), (j, along) = rows, columns
    last_i, last_j = values.shape[0] - 1, values.shape[1] - 1
    i, j = np.minimum(i, last_i), np.minimum(j, last_j)
    i2, j2 = np.minimum(i + 1, last_i), np.minimum(j + 1, last_j)
    upper = values[i, j] * (1 - along) + values[i, j2] * along
    lower = values[i2, j] * (1 - along) + values[i2, j2] * along
    return np.asarray(upper * (1 - down) + lower * down, np.float64)


def _between(
    map_: NDArray[np.floating[Any]], grid: _Grid, which: NDArray[np.int64] | slice
) -> NDArray[np.float64]:
    """Return a map's values at the very centres of picks, linearly between pixel centres."""
    h, w = map_.shape
    y = np.clip(np.nan_to_num(grid.y[which]) - 0.5, 0, h - 1)
    x = np.clip(np.nan_to_num(grid.x[which]) - 0.5, 0, w - 1)
    return _at(map_, _linear(y), _linear(x))


def _disc(radius: float) -> NDArray[np.float32]:
    """Return a disc as a square of weights that sum to 1; its edge is smooth."""
    reach = int(np.ceil(radius + 0.5))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
    disc[reach, reach] = max(disc[reach, reach], 1e-3)
    return np.asarray(disc / disc.sum(), np.float32)


def _filtered(map_: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map (h', w') averaged by a kernel, nothing being outside."""
    return np.asarray(
        cv2.filter2D(map_, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT), np.float32
    )


def _worst_within(map_: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
    """Return the largest value within `reach` px of every pixel: (h', w').

    A disc is a stack of rows: each is a running maximum along x, moved along y.
    """
    h = len(map_)
    worst = map_.copy()
    for dy in range(min(int(reach), h - 1) + 1):
        half = int(np.sqrt(reach * reach - dy * dy))
        row = np.ones((1, 2 * half + 1), np.uint8)
        along = np.asarray(cv2.dilate(map_, row)).reshape(map_.shape)
        np.maximum(worst[dy:], along[: h - dy], out=worst[dy:])
        np.maximum(worst[: h - dy], along[dy:], out=worst[: h - dy])
    return worst


def _distance_to_bad(grid: _Grid, contamination: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far picks are from the edge of the nearest bad pixel, px of the micrograph."""
    fine = (contamination < BAD).astype(np.uint8)
    if fine.all():
        return np.full(len(grid.x), np.inf, np.float32)
    transform = cv2.distanceTransform(fine, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    between = _between(np.asarray(transform, np.float32), grid, slice(None))
    return (np.maximum(between - 0.5, 0.0) / grid.scale).astype(np.float32)
