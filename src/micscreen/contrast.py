"""Whether particles are dark on bright or bright on dark, decided on evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_PICKS: Final = 20
"""With fewer picks than this inside the picture, they are not asked."""

SURE: Final = 4.0
"""Standard errors by which picks must differ from their surroundings to decide alone."""

DARK_FROM: Final = 3.0
BRIGHT_FROM: Final = 6.0
"""Standard errors of skewness that decide; bright is rare, so that more is asked of it."""

BOTH_FROM: Final = 4.0
"""Combined standard errors of picks and skewness that decide when the picks alone do not."""


@dataclass(frozen=True, slots=True)
class ContrastDecision:
    """What was decided, and on what.

    Attributes
    ----------
    contrast
        `dark`: particles dark on bright; `bright`: the other way round.
    certain
        Whether the evidence decided; otherwise `contrast` is the usual `dark`.
    evidence
        One sentence with the numbers.
    """

    contrast: Literal["dark", "bright"]
    certain: bool
    evidence: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: nothing when it is certainly dark, as is usual."""
        if not self.certain:
            return (
                "contrast undecided, taken as particles dark on bright: give --contrast to be sure",
            )
        if self.contrast == "bright":
            return ("particles are bright on dark here: the picture was inverted",)
        return ()


def decide_contrast(
    image: NDArray[np.float32], box_px: float, centres: NDArray[np.float64] | None = None
) -> ContrastDecision:
    """Decide whether particles are dark or bright.

    With enough picks: the mean of a disc at each pick against the ring around it, compared with
    the same measure all over the picture. Without, or when that is undecided: the skewness of the
    band-passed picture, because particles and contaminants scatter more than ice.

    Parameters
    ----------
    image
        Shape (h, w), finite, without frame, at model scale.
    box_px
        Side of the particle box in px of this image.
    centres
        Shape (n, 2): x, y of picks in px of this image; those outside are not used.
    """
    skew, error = band_skewness(image, box_px)
    excess, inside = 0.0, 0
    if centres is not None and len(centres):
        excess, inside = pick_contrast(image, box_px, centres)
    tilt = skew / error
    told = f"the skewness at the particles' size is {skew:+.2f} ± {error:.2f}"
    if inside < MIN_PICKS:
        certain = tilt >= BRIGHT_FROM or tilt <= -DARK_FROM
        return ContrastDecision("bright" if certain and tilt > 0 else "dark", certain, told)
    told = f"{inside} picks differ from their surroundings by {excess:+.1f} standard errors, {told}"
    both = excess if abs(excess) >= SURE else (excess + tilt) / 2**0.5
    certain = abs(both) >= BOTH_FROM or both <= -DARK_FROM
    return ContrastDecision("bright" if certain and both > 0 else "dark", certain, told)


def pick_contrast(
    image: NDArray[np.float32], box_px: float, centres: NDArray[np.float64]
) -> tuple[float, int]:
    """Return how much brighter picks are than their surroundings, in standard errors; and how many.

    The disc has a third of the box as radius (about the particle), the ring reaches from there to
    two thirds. Medians, so that picks on contaminants and film do not decide.
    """
    columns, rows = np.rint(centres[:, 0]), np.rint(centres[:, 1])
    h, w = image.shape
    inside = (columns >= 0) & (columns < w) & (rows >= 0) & (rows < h)
    count = int(inside.sum())
    if count < 2:
        return 0.0, count
    difference = _disc_against_ring(_flattened(image, box_px), box_px)  # (h, w)
    at_picks = difference[rows[inside].astype(np.int64), columns[inside].astype(np.int64)]
    middle = float(np.median(at_picks))
    spread = 1.4826 * float(np.median(np.abs(at_picks - middle)))
    error = 1.2533 * spread / np.sqrt(count)  # of a median
    return (middle - float(np.median(difference))) / max(float(error), 1e-12), count


def band_skewness(image: NDArray[np.float32], box_px: float) -> tuple[float, float]:
    """Return the skewness of the picture around the size of a particle, and its standard error.

    0 is symmetric; negative: what stands out is dark. Outliers beyond 6 sigmas are cut. The error
    is that of white noise, of which the blur leaves one independent value per 4 pi sigma^2 px.
    """
    sigma = 0.08 * box_px
    band = cv2.GaussianBlur(_flattened(image, box_px), (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    deviation = float(band.std())
    band = np.clip(band - band.mean(), -6 * deviation, 6 * deviation)
    skew = float((band**3).mean() / max(float((band**2).mean()) ** 1.5, 1e-20))
    return skew, float(np.sqrt(6 * 4 * np.pi * sigma**2 / image.size))


def _flattened(image: NDArray[np.float32], box_px: float) -> NDArray[np.float32]:
    """Return the image without what is much larger than a box: (h, w)."""
    low = cv2.GaussianBlur(image, (0, 0), 0.75 * box_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(image - low, np.float32)


def _disc_against_ring(image: NDArray[np.float32], box_px: float) -> NDArray[np.float32]:
    """Return, at every pixel, the mean of the disc around it less that of the ring around that."""
    reach = int(np.ceil(box_px * 2 / 3))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(x, y)
    disc = radius <= box_px / 3
    ring = ~disc & (radius <= box_px * 2 / 3)
    kernel = disc / disc.sum() - ring / ring.sum()
    return np.asarray(
        cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT), np.float32
    )
