"""How good a contamination mask and the screened picks are, on arrays, in numpy alone.

Masks are compared pixel by pixel; label 255 is left out everywhere. Quotients of nothing by
nothing are NaN, so that a mean over pictures can leave them out (`numpy.nanmean`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

IGNORE: Final = 255

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Confusion:
    """Counts of pixels: bad is the positive class.

    Attributes
    ----------
    hit, false_alarm, missed, passed
        Bad called bad; good called bad; bad called good; good called good.
    """

    hit: int
    false_alarm: int
    missed: int
    passed: int

    @property
    def iou(self) -> float:
        """Intersection over union of bad (Jaccard 1901); NaN when both are empty."""
        return _ratio(self.hit, self.hit + self.false_alarm + self.missed)

    @property
    def precision(self) -> float:
        """Share of what is called bad that is bad; NaN when nothing is called bad."""
        return _ratio(self.hit, self.hit + self.false_alarm)

    @property
    def recall(self) -> float:
        """Share of what is bad that is called bad; NaN when nothing is bad."""
        return _ratio(self.hit, self.hit + self.missed)

    @property
    def called_bad(self) -> float:
        """Share of all known pixels that is called bad."""
        total = self.hit + self.false_alarm + self.missed + self.passed
        return _ratio(self.hit + self.false_alarm, total)


def confusion(
    contamination: Floats, classes: NDArray[np.uint8], threshold: float = 0.5
) -> Confusion:
    """Count agreements between a contamination mask and the labelled classes.

    Parameters
    ----------
    contamination
        Shape (h, w), probability in [0, 1] that a pixel is bad.
    classes
        Shape (h, w): 0 good, 1 to 5 bad, 255 left out.
    threshold
        A pixel is called bad from here on.
    """
    known = classes != IGNORE
    bad = (classes > 0) & known
    called = (contamination >= threshold) & known
    hit = int((called & bad).sum())
    false_alarm = int(called.sum()) - hit
    missed = int(bad.sum()) - hit
    return Confusion(hit, false_alarm, missed, int(known.sum()) - hit - false_alarm - missed)


def class_recall(
    contamination: Floats, classes: NDArray[np.uint8], label: int, threshold: float = 0.5
) -> float:
    """Share of the pixels of one class that is called bad, of whatever kind; NaN without any."""
    of_class = classes == label
    return _ratio(int((contamination[of_class] >= threshold).sum()), int(of_class.sum()))


def calibration_error(contamination: Floats, classes: NDArray[np.uint8], bins: int = 15) -> float:
    """Return the expected calibration error: how far probabilities are from frequencies.

    After Guo et al. 2017.

    Parameters
    ----------
    contamination, classes
        Of the same shape; 255 is left out.
    bins
        Number of equal bins of probability.

    Returns
    -------
    Mean over pixels of |mean probability - share of bad| of the pixel's bin; NaN without pixels.
    """
    known = classes != IGNORE
    chance = contamination[known].astype(np.float64)
    bad = (classes[known] > 0).astype(np.float64)
    if chance.size == 0:
        return float("nan")
    index = np.minimum((chance * bins).astype(int), bins - 1)
    gap = np.bincount(index, chance, bins) - np.bincount(index, bad, bins)
    return float(np.abs(gap).sum() / chance.size)


def box_goodness(
    contamination: Floats, x: Floats, y: Floats, box: float, empty: float = 0.0
) -> NDArray[np.float64]:
    """Return 1 minus the mean contamination in the box around each pick.

    Parameters
    ----------
    contamination
        Shape (h, w).
    x, y
        Shape (n,), centres in px of the mask; the centre of the first pixel is (0, 0).
    box
        Side of the box, px of the mask.
    empty
        Goodness of a pick whose box lies wholly outside.

    Returns
    -------
    Shape (n,).
    """
    h, w = contamination.shape
    table = np.zeros((h + 1, w + 1))
    table[1:, 1:] = contamination.cumsum(0, dtype=np.float64).cumsum(1)
    x0, x1 = (np.clip(np.rint(x + 0.5 + s * box / 2), 0, w).astype(int) for s in (-1, 1))
    y0, y1 = (np.clip(np.rint(y + 0.5 + s * box / 2), 0, h).astype(int) for s in (-1, 1))
    area = (x1 - x0) * (y1 - y0)
    total = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    mean = np.divide(total, area, out=np.full(len(area), 1.0 - empty), where=area > 0)
    return np.asarray(1.0 - mean, dtype=np.float64)


def share_lost(goodness: Floats, threshold: float = 0.8) -> float:
    """Share of picks (n,) whose goodness is below the threshold; NaN without picks."""
    return _ratio(int((goodness < threshold).sum()), len(goodness))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
