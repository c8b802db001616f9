"""MicrographCleaner's own way of predicting a micrograph: windows, rotations, their mean.

For comparisons with masks that were made before; `tiles` is the way of this package. After
micrograph-cleaner-em 1.0.2: the micrograph is blurred, resampled so that the box has 16 px, and
padded to a multiple of half a window; windows of 256 px at every half window are predicted at
eight rotations of the picture, averaged, and turned back. Its repair of jumps along window edges
is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicrographError
from micscreen.preprocess import enlarge, normalise_iqr

ROTATIONS: Final = (0, 30, 45, 90, 150, 180, 200, 270)
"""Degrees, against the clock."""

BOX_PX: Final = 16
WINDOW: Final = 256
STRIDE: Final = 128
BATCH: Final = 16

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(n, 1, 256, 256) -> (n, 6, 256, 256)."""


def window_maps(
    image: NDArray[Any], box_size: float, shape: tuple[int, ...], predict: Predict
) -> NDArray[np.float32]:
    """Predict a micrograph by windows and rotations.

    Parameters
    ----------
    image
        Shape (h, w), any real dtype; what is not finite becomes the median.
    box_size
        Side of the particle box, px of the micrograph.
    shape
        Height and width of the result; a pixel more than the old program's at most.
    predict
        The network; its second channel is the contamination.

    Returns
    -------
    Shape (6, *shape), float32: 1 - mask, mask, and nothing in the other four.

    Raises
    ------
    MicrographError
        When a window does not fit into the resampled picture.
    """
    picture = normalise_iqr(_resized(image, box_size / BOX_PX))[0]  # (h', w')
    total = np.zeros(picture.shape, np.float64)
    for degrees in ROTATIONS:
        total += rotated(_predicted(rotated(picture, degrees), predict), -degrees)
    mask = np.clip(enlarge((total / len(ROTATIONS)).astype(np.float32), (shape[0], shape[1])), 0, 1)
    maps = np.zeros((6, *mask.shape), np.float32)
    maps[0], maps[1] = 1 - mask, mask
    return maps


def _resized(image: NDArray[Any], factor: float) -> NDArray[np.float32]:
    """Blur with a sigma of half of what the factor exceeds 1, and sample linearly."""
    values = np.array(image, np.float32)
    usable = np.isfinite(values)
    if not usable.all():
        values[~usable] = np.median(values[usable]) if usable.any() else 0
    if factor > 1:
        sigma = (factor - 1) / 2
        side = 2 * int(4 * sigma + 0.5) + 1
        border = cv2.BORDER_REFLECT_101
        values = np.asarray(
            cv2.GaussianBlur(values, (side, side), sigma, borderType=border), np.float32
        )
    height, width = (max(1, int(side / factor)) for side in values.shape)
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR))


def _predicted(picture: NDArray[np.float32], predict: Predict) -> NDArray[np.float32]:
    """Return the mean over overlapping windows, (h', w')."""
    height, width = picture.shape
    below, right = STRIDE - height % STRIDE, STRIDE - width % STRIDE
    padded = np.pad(picture, ((0, below), (0, right)), constant_values=picture.min())
    if min(padded.shape) < WINDOW:
        raise MicrographError(
            f"{width} x {height} px at the model's scale are too few for windows of {WINDOW} px",
            hint="Leave --windows away, or give a smaller box.",
        )
    corners = [
        (top, left)
        for top in range(0, padded.shape[0] - WINDOW + 1, STRIDE)
        for left in range(0, padded.shape[1] - WINDOW + 1, STRIDE)
    ]
    total = np.zeros(padded.shape, np.float32)
    count = np.zeros(padded.shape, np.float32)
    for first in range(0, len(corners), BATCH):
        some = corners[first : first + BATCH]
        batch = np.stack([padded[y : y + WINDOW, x : x + WINDOW] for y, x in some])[:, None]
        for (y, x), answer in zip(some, predict(batch)[:, 1], strict=True):
            total[y : y + WINDOW, x : x + WINDOW] += answer
            count[y : y + WINDOW, x : x + WINDOW] += 1
    return np.asarray((total / count)[:height, :width], np.float32)


def rotated(image: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """Turn a picture (h, w) against the clock about its middle; linear, mirrored at the edges."""
    if degrees == 0:
        return image
    height, width = image.shape
    angle = np.deg2rad(degrees)
    y, x = np.meshgrid(
        np.arange(height) - (height / 2 - 0.5), np.arange(width) - (width / 2 - 0.5), indexing="ij"
    )
    from_x = np.cos(angle) * x - np.sin(angle) * y + (width / 2 - 0.5)
    from_y = np.sin(angle) * x + np.cos(angle) * y + (height / 2 - 0.5)
    column, row = np.floor(from_x).astype(np.int64), np.floor(from_y).astype(np.int64)
    part_x, part_y = from_x - column, from_y - row
    columns = [_mirrored(column + step, width) for step in (0, 1)]
    rows = [_mirrored(row + step, height) for step in (0, 1)]
    upper = image[rows[0], columns[0]] * (1 - part_x) + image[rows[0], columns[1]] * part_x
    lower = image[rows[1], columns[0]] * (1 - part_x) + image[rows[1], columns[1]] * part_x
    return np.asarray(upper * (1 - part_y) + lower * part_y, np.float32)


def _mirrored(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Bring indices back into a row, mirrored at its first and last pixel."""
    period = max(2 * (length - 1), 1)
    index = np.mod(index, period)
    return np.minimum(index, period - index)
