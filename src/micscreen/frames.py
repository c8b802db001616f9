"""What in a picture is not image: frames, padding stripes, dead areas; found and filled.

Everything here is at model scale, where the particle box has about 16 px.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

FLAT: Final = 0.1
"""Neighbouring rows that differ by less than this share of the typical are copies of each other."""

MIXED: Final = 0.35
"""Rows that follow copies and differ by less than this are frame and image mixed."""

STEP: Final = 4.0
"""An outermost row that differs from the next by this many times the typical is not image."""

OUTERMOST: Final = 6
"""A frame starts within this many px of the picture's edge."""

Crop = tuple[int, int, int, int]
"""top, bottom, left, right: the image is ``picture[top:bottom, left:right]``."""


def find_frame(picture: NDArray[np.float32]) -> Crop:
    """Find the border that motion correction left: constant, or stripes of repeated edge pixels.

    Parameters
    ----------
    picture
        Shape (h', w'), finite.

    Returns
    -------
    Where the image is; at most a third of the picture is cut from each side.
    """
    top, bottom = _cuts(picture)
    left, right = _cuts(picture.T)
    return top, picture.shape[0] - bottom, left, picture.shape[1] - right


def _cuts(picture: NDArray[np.float32]) -> tuple[int, int]:
    """Return how many of the first and of the last rows are frame."""
    if len(picture) < 3 * OUTERMOST:
        return 0, 0
    change = np.abs(picture[1:] - picture[:-1]).mean(axis=1)  # (h' - 1,)
    typical = float(np.median(change))
    if typical <= 0:
        return 0, 0
    change = change / typical
    return _frame_width(change), _frame_width(change[::-1])


def _frame_width(change: NDArray[np.floating[Any]]) -> int:
    """Return the frame's width, given how each row differs from the next, from the edge inwards."""
    width = 0
    for row in range(3):
        if change[row] > STEP:
            width = row + 1
    flat = np.flatnonzero(change[:OUTERMOST] < FLAT)
    if len(flat):
        end = int(flat[0])
        reach = len(change) // 3
        while end < reach and change[end] < FLAT:
            end += 1
        while end < reach and change[end] < MIXED:
            end += 1
        width = max(width, end + 1)
    return width


def dead_areas(
    picture: NDArray[np.float32], empty: NDArray[np.bool_], box_px: float
) -> NDArray[np.bool_]:
    """Return where there is no image: (h', w'), True in holes and in areas of one constant value.

    Parameters
    ----------
    picture
        Shape (h', w'), finite.
    empty
        Shape (h', w'), True where the micrograph had no usable value.
    box_px
        Side of the particle box, px. Holes count from a quarter of the box's area, constant areas
        from one box; what is smaller is mended and judged like its surroundings.
    """
    square = np.ones((3, 3), np.uint8)
    high = cv2.dilate(picture, square).reshape(picture.shape)
    low = cv2.erode(picture, square).reshape(picture.shape)
    tolerance = 1e-6 * float(np.abs(picture).max())
    constant = (high - low <= tolerance).astype(np.uint8)
    dead = np.zeros(picture.shape, np.bool_)
    if constant.any():
        constant = cv2.dilate(constant, square).reshape(picture.shape)
        dead |= _large_parts(constant, box_px**2)
    if empty.any():
        dead |= _large_parts(empty.astype(np.uint8), box_px**2 / 4)
    return dead


def _large_parts(mask: NDArray[np.uint8], least: float) -> NDArray[np.bool_]:
    """Return the connected parts of a mask (h', w') that have at least `least` px."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = np.asarray(stats[:, cv2.CC_STAT_AREA] >= least)
    large[0] = False
    found: NDArray[np.bool_] = large[labels.reshape(mask.shape)] if count > 1 else mask > 1
    return found


def mend(picture: NDArray[np.float32], holes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill holes with what is around them: the local mean, with the picture's own texture.

    Parameters
    ----------
    picture
        Shape (h', w'), finite.
    holes
        Shape (h', w'), True where to fill; not everywhere.

    Returns
    -------
    Shape (h', w'). The texture is drawn from a fixed seed: same picture, same result.
    """
    if not holes.any():
        return picture
    image = ~holes
    mean = float(picture[image].mean())
    share = image.astype(np.float32)
    centred = np.where(image, picture - np.float32(mean), np.float32(0))
    local = np.zeros_like(picture)
    known = np.zeros(picture.shape, np.bool_)
    for sigma in (4.0, 16.0, 64.0):
        weight = cv2.GaussianBlur(share, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        blurred = cv2.GaussianBlur(centred, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        here = (weight > 0.01) & ~known
        local[here] = blurred[here] / weight[here]
        known |= here
    texture = (centred - local)[image]
    drawn = np.random.default_rng(0).choice(texture, size=int(holes.sum()))
    mended = picture.copy()
    mended[holes] = local[holes] + drawn + np.float32(mean)
    return mended
