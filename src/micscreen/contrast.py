"""Whether particles are dark on bright or bright on dark, decided on evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

INNER: Final = 0.18
OUTER: Final = 0.4
"""Sigmas, as shares of the box, of the Gaussians over a particle and over what is around it."""

MIN_PICKS: Final = 20
"""With fewer picks than this inside the picture, they are not asked."""

SURE: Final = 4.0
"""Standard errors by which picks must differ from their surroundings to decide alone."""

SCALES: Final = (0.044, 0.081, 0.15, 0.28, 0.5)
"""Sigmas, as shares of the box, of the bands in which the picture's skewness is measured."""

WEIGHTS: Final = (
    (0.68, 0.73, 0.30, 0.07, 1.10),
    (-0.72, 0.97, 2.01, 1.61, 0.39),
)
"""How much each number of `band_skewness` says that particles are bright.

Of a logistic regression on simulated fields (`python -m micscreen.train contrast`), without
intercept, so that an inverted picture gets the opposite answer.
"""

DECIDED: Final = 0.5
"""Log-odds from which the answer is certain; on white noise they stay below that and `NOISE`."""

NOISE: Final = 130.0
"""Three standard deviations of the log-odds on white noise, times the root of its pixels."""


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

    With enough picks: the mean at each pick against the surroundings, compared with the same
    measure all over the picture. Without, or when that is undecided: the skewness of the
    picture at several scales, because particles and contaminants scatter more than ice.

    Parameters
    ----------
    image
        Shape (h, w), finite, without frame, at model scale.
    box_px
        Side of the particle box in px of this image.
    centres
        Shape (n, 2): x, y of picks in px of this image; those outside are not used.
    """
    flat = _flattened(image, box_px)  # (h, w)
    excess, inside = 0.0, 0
    if centres is not None and len(centres):
        excess, inside = pick_contrast(flat, box_px, centres)
    told = f"{inside} picks differ from their surroundings by {excess:+.1f} standard errors"
    if inside >= MIN_PICKS and abs(excess) >= SURE:
        return ContrastDecision("bright" if excess > 0 else "dark", True, told)
    tilt = float((np.array(WEIGHTS) * band_skewness(image, box_px)).sum())
    told_skew = f"the skewness at five scales gives log-odds of {tilt:+.1f} for bright"
    least = DECIDED + NOISE / image.size**0.5
    if inside >= MIN_PICKS:
        tilt, told_skew = tilt + excess, f"{told}, {told_skew}"
    certain = abs(tilt) >= least
    return ContrastDecision("bright" if certain and tilt > 0 else "dark", certain, told_skew)


def pick_contrast(
    flat: NDArray[np.float32], box_px: float, centres: NDArray[np.float64]
) -> tuple[float, int]:
    """Return how much brighter picks are than their surroundings, in standard errors; and how many.

    A Gaussian mean over about a particle less a wider one, compared with the same all over the
    picture. Medians, so that picks on contaminants and film do not decide.

    Parameters
    ----------
    flat
        Shape (h, w): the image without what is much larger than a box.
    box_px
        Side of the particle box, px.
    centres
        Shape (n, 2): x, y, px.
    """
    columns, rows = np.rint(centres[:, 0]), np.rint(centres[:, 1])
    h, w = flat.shape
    inside = (columns >= 0) & (columns < w) & (rows >= 0) & (rows < h)
    count = int(inside.sum())
    if count < 2:
        return 0.0, count
    difference = _inner_against_outer(flat, box_px)  # (h, w)
    at_picks = difference[rows[inside].astype(np.int64), columns[inside].astype(np.int64)]
    middle = float(np.median(at_picks))
    spread = 1.4826 * float(np.median(np.abs(at_picks - middle)))
    error = 1.2533 * spread / np.sqrt(count)  # of a median
    usual = float(np.median(difference[::2, ::2]))
    return (middle - usual) / max(float(error), 1e-12), count


def band_skewness(image: NDArray[np.float32], box_px: float) -> NDArray[np.float64]:
    """Return the skewness of the picture at several scales: shape (2, scales), no unit.

    The first row is of the picture blurred to each of `SCALES`, the second of the bands between
    one scale and the next finer one. 0 is symmetric; negative: what stands out is dark. Outliers
    beyond 6 sigmas are cut.

    Parameters
    ----------
    image
        Shape (h, w), finite.
    box_px
        Side of the particle box, px.
    """
    border = cv2.BORDER_REFLECT
    above = image - cv2.GaussianBlur(image, (0, 0), box_px, borderType=border)  # (h, w)
    flat, rows = above, []
    for scale in SCALES:
        blurred = cv2.GaussianBlur(flat, (0, 0), scale * box_px, borderType=border)
        rows.append((_skewness(blurred), _skewness(above - blurred)))
        above = blurred
    return np.array(rows, np.float64).T


def _skewness(band: NDArray[np.float32]) -> float:
    """Return the skewness of a band, its outliers cut at 6 sigmas."""
    deviation = float(band.std())
    scaled = np.clip((band - band.mean()) / max(deviation, 1e-20), -6, 6)
    return float((scaled * scaled * scaled).mean())


def _flattened(image: NDArray[np.float32], box_px: float) -> NDArray[np.float32]:
    """Return the image without what is much larger than a box: (h, w)."""
    low = cv2.GaussianBlur(image, (0, 0), 0.75 * box_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(image - low, np.float32)


def _inner_against_outer(flat: NDArray[np.float32], box_px: float) -> NDArray[np.float32]:
    """Return, at every pixel, the mean over about a particle less that over what is around it."""
    border = cv2.BORDER_REFLECT
    inner = cv2.GaussianBlur(flat, (0, 0), INNER * box_px, borderType=border)
    outer = cv2.GaussianBlur(flat, (0, 0), OUTER * box_px, borderType=border)
    return np.asarray(inner - outer, np.float32)
