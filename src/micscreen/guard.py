"""The domain guard: says openly when a micrograph's result should not be believed.

It decides nothing. Every reason is a stable key and a sentence, ``key: sentence``; what happens to
the picks is the user's choice. The limits were set on the 30 labelled train pictures of the
project (`docs/guard.md` has the table); a photograph can pass as a micrograph.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.picks import Picks
from micscreen.score import BAD

MOSTLY_BAD: Final = 0.8
"""Share of the image that is bad above which it is said."""

MIN_PICKS: Final = 10
PICKS_ON_BAD: Final = 0.7
REST_BAD: Final = 0.3
"""Inverted: more than PICKS_ON_BAD of at least MIN_PICKS picks lie on bad pixels, but of the image
further than half a box from all picks less than REST_BAD is bad."""

UNDECIDED: Final = (0.2, 0.8)
MOSTLY_UNDECIDED: Final = 0.5
"""Share of the image with a contamination between the two above which the network is unsure."""

WHITE_TEXTURE: Final = 0.043
WHITE_CORRELATION: Final = 0.012
"""Standard deviation of the texture channel, and correlation of the high-passed channel over 2 px,
below which both are white noise's (0.034 to 0.042, below 0.006). Train pictures with ice have a
texture of 0.058 and more; faint simulated ones 0.036, but then a correlation of 0.022 and more."""

KURTOSIS: Final = (1.9, 6.0)
"""Of the high-passed channel: train pictures 2.16 to 2.64, simulated ones to 3.7, text 1.6."""

SMOOTH: Final = 0.45
"""Correlation of the high-passed channel over 8 px: train pictures below 0.12, simulated ones to
0.31, a smooth ramp 0.59."""

HALF: Final = 2.0
"""Half the side of what is averaged around picks, boxes."""

ENOUGH_PICKS: Final = 20
MOST_PICKS: Final = 300
CLEAR: Final = 10.0
"""The mean of at least so many picks counts when its peak is so many times the scatter around it;
more picks than the second are not needed."""

MEAN_WIDTH: Final = (0.175, 0.9)
"""Width at half height of the mean of the picks, in boxes: 0.30 to 0.42 on train pictures with the
right box, 0.18 to 0.8 on simulated ones; with a box a third as large 0.93 and more on train."""

LARGE_BOX: Final = 0.25
"""Box as a share of the short side above which it is probably wrong."""

MANY_BOXES: Final = 200.0
"""Boxes along the long side above which the box is probably wrong."""


def suspect(
    maps: NDArray[np.float32],
    channels: NDArray[np.float32],
    valid: NDArray[np.bool_],
    box_px: float,
    picks: Picks | None = None,
    shape: tuple[int, int] | None = None,
    centres: NDArray[np.float64] | None = None,
) -> tuple[str, ...]:
    """Return why a result should not be believed; nothing when there is no reason.

    Parameters
    ----------
    maps
        Shape (k, h', w'): probability per class, the first is good.
    channels
        Shape (3, H, W): what the network saw.
    valid
        Shape (h', w'), bool: where there is image.
    box_px
        Side of the particle box, px of the maps.
    picks, shape
        The picks in px of the micrograph, and its height and width.
    centres
        Shape (n, 2): x, y of the picks in px of the channels.
    """
    contamination = 1.0 - maps[0]
    bad = (contamination >= BAD) & valid
    image = max(int(valid.sum()), 1)
    share = float(bad.sum()) / image
    reasons = []
    if share > MOSTLY_BAD:
        reasons.append(f"mostly_bad: {share:.0%} of the image is called bad")
    if picks is not None and shape is not None:
        reasons += _inverted(bad, valid, box_px, picks, shape)
    low, high = UNDECIDED
    unsure = float(((contamination > low) & (contamination < high) & valid).sum()) / image
    if unsure > MOSTLY_UNDECIDED:
        reasons.append(f"unsure: the network is undecided on {unsure:.0%} of the image")
    reasons += _unlike(channels)
    reasons += _box(valid.shape, box_px) or _mean_pick(channels, box_px, centres)
    return tuple(reasons)


def _inverted(
    bad: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    box_px: float,
    picks: Picks,
    shape: tuple[int, int],
) -> list[str]:
    """Return whether the picks are on what is called bad, and the rest is not."""
    column = np.floor((np.nan_to_num(picks.x) + 0.5) * bad.shape[1] / shape[1]).astype(np.int64)
    row = np.floor((np.nan_to_num(picks.y) + 0.5) * bad.shape[0] / shape[0]).astype(np.int64)
    inside = (column >= 0) & (column < bad.shape[1]) & (row >= 0) & (row < bad.shape[0])
    column, row = column[inside], row[inside]
    if len(row) < MIN_PICKS:
        return []
    on_bad = float(bad[row, column].mean())
    if on_bad <= PICKS_ON_BAD:
        return []
    picked = np.zeros(bad.shape, np.uint8)
    picked[row, column] = 1
    side = round(box_px) | 1
    picked = np.asarray(cv2.dilate(picked, np.ones((side, side), np.uint8))).reshape(bad.shape)
    rest = valid & (picked == 0)
    rest_bad = float(bad[rest].mean()) if rest.any() else 1.0
    if rest_bad >= REST_BAD:
        return []
    return [
        f"inverted: {on_bad:.0%} of the picks lie on what is called bad, but only {rest_bad:.0%} "
        "of the rest is; is the contrast right?"
    ]


def input_statistics(channels: NDArray[np.float32]) -> dict[str, float]:
    """Return the numbers by which an input is told from a micrograph.

    Parameters
    ----------
    channels
        Shape (3, H, W): what the network sees.

    Returns
    -------
    texture (standard deviation of the texture channel); kurtosis, near and far (correlation over 2
    and 8 px) of the high-passed channel.
    """
    fine = channels[1] - channels[1].mean()
    squares = fine * fine
    variance = max(float(squares.mean()), 1e-12)
    return {
        "texture": float(channels[2].std()),
        "kurtosis": float((squares * squares).mean()) / variance**2,
        "near": _correlation(fine, 2) / variance,
        "far": _correlation(fine, 8) / variance,
    }


def _unlike(channels: NDArray[np.float32]) -> list[str]:
    """Return what about the input is unlike any micrograph."""
    found = input_statistics(channels)
    reasons = []
    if found["texture"] < WHITE_TEXTURE and abs(found["near"]) < WHITE_CORRELATION:
        reasons.append("featureless: nothing but white noise; is there any specimen?")
    if not KURTOSIS[0] <= found["kurtosis"] <= KURTOSIS[1] or found["far"] > SMOOTH:
        reasons.append(
            f"unlike: grey values unlike a micrograph's (kurtosis {found['kurtosis']:.2f}, "
            f"correlation over half a box {found['far']:.2f})"
        )
    return reasons


def _correlation(image: NDArray[np.float32], distance: int) -> float:
    """Return the mean product of an image (h, w) with itself, moved along x and along y."""
    along = np.einsum("ij,ij->", image[:, distance:], image[:, :-distance])
    down = np.einsum("ij,ij->", image[distance:], image[:-distance])
    count_x, count_y = image[:, distance:].size, image[distance:].size
    return float(along) / count_x / 2 + float(down) / count_y / 2


def _box(shape: tuple[int, ...], box_px: float) -> list[str]:
    """Return whether the box is too large or too small to be right."""
    if box_px > LARGE_BOX * min(shape):
        return [f"box_size: the box is {box_px / min(shape):.0%} of the picture's short side"]
    if max(shape) > MANY_BOXES * box_px:
        return [f"box_size: {max(shape) / box_px:.0f} boxes fit along the picture's long side"]
    return []


def _mean_pick(
    channels: NDArray[np.float32], box_px: float, centres: NDArray[np.float64] | None
) -> list[str]:
    """Return whether the mean of the picks is much wider or narrower than a particle in its box."""
    width = None if centres is None else mean_width(channels[0], box_px, centres)
    if width is None or MEAN_WIDTH[0] < width < MEAN_WIDTH[1]:
        return []
    size = "large" if width < 0.5 else "small"
    return [f"box_size: the mean of the picks is {width:.2f} boxes wide; is the box too {size}?"]


def mean_width(
    image: NDArray[np.float32], box_px: float, centres: NDArray[np.float64]
) -> float | None:
    """Return the width at half height of the mean of the picks, in boxes; None when not clear.

    Whatever the particle, its mean over many picks and all directions is one bump, from the centre
    to the outermost place with half of its height; a hollow one counts to its rim.

    Parameters
    ----------
    image
        Shape (h, w).
    box_px
        Side of the particle box, px of the image.
    centres
        Shape (n, 2): x, y, px of the image.
    """
    half = round(HALF * box_px)
    h, w = image.shape
    x, y = np.rint(np.nan_to_num(centres)).astype(np.int64).T
    inside = (x >= half) & (x < w - half) & (y >= half) & (y < h - half)
    x, y = x[inside], y[inside]
    if len(x) < ENOUGH_PICKS:
        return None
    step = max(1, len(x) // MOST_PICKS)
    total = np.zeros((2 * half + 1, 2 * half + 1))
    for column, row in zip(x[::step].tolist(), y[::step].tolist(), strict=True):
        total += image[row - half : row + half + 1, column - half : column + half + 1]
    across = np.arange(-half, half + 1)
    ring = np.maximum(np.rint(np.hypot(across, across[:, None])).astype(np.int64), 1)
    profile = np.bincount(ring.ravel(), total.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    profile = profile[1:half] / len(x[::step])  # (half - 1,), at radius 1, 2, ...
    around = profile[2 * half // 3 :]
    profile = profile - np.median(around)
    top = profile[np.abs(profile).argmax()]
    if abs(top) < CLEAR * around.std():
        return None
    relative = np.append(profile / top, 0.0)
    last = int(np.nonzero(relative >= 0.5)[0].max())
    beyond = (relative[last] - 0.5) / (relative[last] - relative[last + 1])
    return float(2 * (last + 1 + beyond) / box_px)
