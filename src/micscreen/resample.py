"""Area resampling of whole micrographs, of any dtype, without copying them.

A band of rows at a time is converted and summed, so that a memory-mapped file is read once and no
full-size copy is made. What hot pixels and holes (NaN, Inf) do is looked for in the small result;
only the rows that they touched are read again and averaged without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicrographError

SPIKE_SIGMAS: Final = 8.0
"""A pixel this far from the median around it, in sigmas at model scale, is looked into."""

FAR_SIGMAS: Final = 1000.0
"""So is one this far from the median of the whole picture; a large area of such is no image."""

LONE_SIGMAS: Final = 20.0
"""A lone pixel that still stands out so far after the repair gets the median around it."""

MAX_FLOAT: Final = float(np.finfo(np.float32).max)

MIN_SHARE: Final = 0.25
"""A pixel of which less than this share of its area is usable counts as having no image."""


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """A micrograph on another grid over the same field of view.

    Attributes
    ----------
    image
        Shape (h', w'), float32, finite.
    empty
        Shape (h', w'), bool: True where the micrograph had no usable value; `image` holds its
        median there.
    repaired
        How many pixels of `image` were averaged again without hot pixels or holes.
    """

    image: NDArray[np.float32]
    empty: NDArray[np.bool_]
    repaired: int


def resample(image: NDArray[Any], shape: tuple[int, int]) -> Resampled:
    """Resample a micrograph by area (cubic when enlarging) and repair what is not image.

    Parameters
    ----------
    image
        Shape (h, w), any real dtype and byte order, possibly a read-only memory map.
    shape
        Height and width of the result, px; both smaller or both larger than the image's.

    Raises
    ------
    MicrographError
        When no pixel is finite, or all have the same value.
    """
    image = np.asarray(image)  # a memory map's own class makes every slice slow
    with np.errstate(over="ignore", invalid="ignore"):
        if shape[0] > image.shape[0] or shape[1] > image.shape[1]:
            return _enlarge(image, shape)
        return _shrink(image, shape)


def _shrink(image: NDArray[Any], shape: tuple[int, int]) -> Resampled:
    """Resample by area; rows with pixels that are not image are read again without those."""
    small = _by_area(image, shape)
    finite = np.isfinite(small)
    if finite.mean() < 0.5:  # holes in most footprints: average what there is, then look again
        means, shares = _usable_mean(image, shape, np.arange(shape[0]), (-MAX_FLOAT, MAX_FLOAT))
        small = np.where(shares >= MIN_SHARE, means, np.float32(np.nan))
        finite = np.isfinite(small)
    empty = ~finite
    middle, sigma = _typical(image, small, finite)
    suspicious = _suspicious(small, finite, middle, sigma)  # (h', w')
    if suspicious.any():
        rows = np.flatnonzero(suspicious.any(axis=1))
        limit = max(2.0 * image.size / small.size, 100.0) * sigma
        means, shares = _usable_mean(image, shape, rows, (middle - limit, middle + limit))
        known, away = shares >= MIN_SHARE, np.abs(small[rows] - np.float32(middle))
        dense = ~known & (away <= FAR_SIGMAS * sigma)  # all of it is far off: an object, not a spot
        repaired = np.where(known, means, np.float32(middle))
        small[rows] = np.where(dense, small[rows], repaired)
        empty[rows] = ~known & ~dense
    _soften_lone_pixels(small, sigma)
    return _checked(Resampled(small, empty, int(suspicious.sum())))


def _enlarge(image: NDArray[Any], shape: tuple[int, int]) -> Resampled:
    """Resample to a finer grid; the repair is done before, on the micrograph's own pixels."""
    source = np.array(image, np.float32)
    finite = np.isfinite(source)
    middle, sigma = _typical(image, source, finite)
    suspicious = _suspicious(source, finite, middle, sigma)
    source[~finite] = middle
    if suspicious.any():
        around = cv2.medianBlur(source, 5).reshape(source.shape)
        source[suspicious] = around[suspicious]
    far = np.abs(source - np.float32(middle)) > FAR_SIGMAS * sigma if sigma > 0 else ~finite
    holes = (~finite | far).astype(np.uint8)
    size = (shape[1], shape[0])
    fine = cv2.resize(source, size, interpolation=cv2.INTER_CUBIC)
    empty = cv2.resize(holes, size, interpolation=cv2.INTER_NEAREST).reshape(shape) > 0
    fine = np.where(empty, np.float32(middle), np.asarray(fine, np.float32).reshape(shape))
    return _checked(Resampled(fine, empty, int(suspicious.sum())))


def _checked(resampled: Resampled) -> Resampled:
    """Return it, or raise MicrographError when nothing of it is image."""
    if resampled.empty.all():
        raise MicrographError(
            "the image has no usable pixel: all are NaN, infinite or absurdly large",
            hint="Look at the file; the step that wrote it has probably failed.",
        )
    return resampled


def _by_area(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return means over the area of each new pixel, edges weighted; not finite where it was not."""
    h, w = image.shape
    tall = np.empty((shape[0], w), np.float32)
    for i, (first, last, head, tail) in enumerate(_footprints(h, shape[0])):
        rows = _as_float(image[first:last])
        _sum_rows(rows, head, tail, tall[i : i + 1])
    small = _narrow(tall, shape[1])
    small *= np.float32(small.size / image.size)
    return small


def _narrow(tall: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Sum columns (h', w) to (h', width), edges weighted."""
    turned = cv2.transpose(tall)  # (w, h')
    turned = turned.reshape(tall.shape[1], tall.shape[0])
    narrow = np.empty((width, tall.shape[0]), np.float32)
    for i, (first, last, head, tail) in enumerate(_footprints(tall.shape[1], width)):
        _sum_rows(turned[first:last], head, tail, narrow[i : i + 1])
    return np.ascontiguousarray(narrow.T)  # (h', width)


def _sum_rows(
    rows: NDArray[np.float32], head: float, tail: float, total: NDArray[np.float32]
) -> None:
    """Write the sum of rows (k, w), less `head` of the first and `tail` of the last, to (1, w).

    OpenCV lets other threads run meanwhile and, unlike BLAS, starts none of its own.
    """
    cv2.reduce(rows, 0, cv2.REDUCE_SUM, dst=total, dtype=cv2.CV_32F)
    if head > 0:
        cv2.scaleAdd(rows[:1], -head, total, dst=total)
    if tail > 0:
        cv2.scaleAdd(rows[-1:], -tail, total, dst=total)


def _footprints(old: int, new: int) -> list[tuple[int, int, float, float]]:
    """Return, per new pixel, the old ones it covers [first, last) and what of them it does not.

    Examples
    --------
    >>> _footprints(5, 2)
    [(0, 3, 0.0, 0.5), (2, 5, 0.5, 0.0)]
    """
    found = []
    for i in range(new):
        first, rest = divmod(i * old, new)
        last = -(-(i + 1) * old // new)
        found.append((first, last, rest / new, (last * new - (i + 1) * old) / new))
    return found


def _as_float(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows as native, contiguous float32; no copy when they are."""
    return np.ascontiguousarray(rows, dtype=np.float32)


def _typical(
    image: NDArray[Any], small: NDArray[np.float32], finite: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return median and robust sigma of the finite pixels; raise when the image is constant."""
    values = np.sort(small[finite], axis=None)
    if not len(values):
        values = np.zeros(1, np.float32)
    n = len(values) - 1
    p2, p16, p50, p84, p98 = (
        float(values[round(n * share)]) for share in (0.02, 0.16, 0.5, 0.84, 0.98)
    )
    sigma = (p84 - p16) / 2.0 or (p98 - p2) / 4.0
    if sigma <= 1e-4 * abs(p50):
        _refuse_constant(image)
    return p50, sigma


def _refuse_constant(image: NDArray[Any]) -> None:
    """Raise MicrographError when all finite pixels have one value, or there are none."""
    first: float | None = None
    for top in range(0, image.shape[0], 256):
        band = image[top : top + 256]
        if band.dtype.kind == "f":
            band = band[np.isfinite(band)]
        if not band.size:
            continue
        low, high = float(band.min()), float(band.max())
        first = low if first is None else first
        if low != first or high != first:
            return
    what = "the image has no usable pixel: all are NaN or infinite"
    if first is not None:
        what = f"the image is constant: every pixel is {first:g}"
    raise MicrographError(
        what, hint="Look at the file; the step that wrote it has probably failed."
    )


def _suspicious(
    small: NDArray[np.float32], finite: NDArray[np.bool_], middle: float, sigma: float
) -> NDArray[np.bool_]:
    """Return where a pixel is not finite, absurd, or a spike among its neighbours: (h', w')."""
    if sigma <= 0:
        return ~finite
    filled = small if finite.all() else np.where(finite, small, np.float32(middle))
    around = cv2.medianBlur(filled, 5).reshape(small.shape)
    spikes = np.abs(filled - around) > SPIKE_SIGMAS * sigma
    far = np.abs(filled - np.float32(middle)) > FAR_SIGMAS * sigma
    return np.asarray(~finite | spikes | far)


def _usable_mean(
    image: NDArray[Any],
    shape: tuple[int, int],
    rows: NDArray[np.int64],
    limits: tuple[float, float],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average again, for some rows of the result, only what is finite and within limits.

    A pixel of the micrograph beyond the limits alone moves its new pixel by two sigmas or more.

    Returns
    -------
    means, shares
        Shape (len(rows), w'): the mean over the usable part, and how large that part is, 0 to 1.
    """
    h, w = image.shape
    low, high = np.float32(limits[0]), np.float32(limits[1])
    footprints = _footprints(h, shape[0])
    sums = np.zeros((len(rows), w), np.float32)
    counts = np.zeros((len(rows), w), np.float32)
    for i, row in enumerate(rows):
        first, last, head, tail = footprints[row]
        band = _as_float(image[first:last])
        usable = (band >= low) & (band <= high)  # NaN compares false
        _sum_rows(np.where(usable, band, np.float32(0)), head, tail, sums[i : i + 1])
        _sum_rows(usable.astype(np.float32), head, tail, counts[i : i + 1])
    sums, counts = _narrow(sums, shape[1]), _narrow(counts, shape[1])  # (len(rows), w')
    means = np.asarray(sums / np.maximum(counts, np.float32(1e-6)), np.float32)
    return means, np.asarray(counts * (shape[0] * shape[1] / image.size), np.float32)


def _soften_lone_pixels(small: NDArray[np.float32], sigma: float) -> None:
    """Replace, in place, single pixels far above or below all of their neighbours."""
    if sigma > 0:
        around = cv2.medianBlur(small, 3).reshape(small.shape)
        lone = np.abs(small - around) > LONE_SIGMAS * sigma
        small[lone] = around[lone]
