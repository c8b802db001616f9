"""Do the picks lie in the micrographs' own frame? Checked before a long run, and said.

Two kinds of evidence. Geometry: picks beyond the edges, picks that would fit when x and y are
swapped or divided by a binning factor, picks that fill only a corner. Density: particles are darker
(or brighter) than what surrounds them, so the mean band-passed density at the picks stands out
from zero by many standard errors in the right frame, and does not in a flipped one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from micscreen.picks import Picks
from micscreen.resample import resample

BOX_IN_SAMPLE: Final = 16.0
"""Side of the box, px, in the pictures on which the density evidence is taken."""

CLEAR: Final = 6.0
"""Standard errors from zero that count as clear evidence."""

MARGIN: Final = 1.5
"""How many times stronger than the picks as they are another frame must be to be believed."""

FRAMES: Final = ("as they are", "y flipped", "x flipped", "x and y flipped", "x and y swapped")


@dataclass(frozen=True, slots=True, eq=False)
class FrameSample:
    """A small band-passed picture of one micrograph, and its picks.

    Attributes
    ----------
    picture
        Shape (h', w'), float32, band-passed to the size of a particle, robust sigma 1.
    x, y
        Shape (n,): picks in px of `picture`.
    """

    picture: NDArray[np.float32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FrameFinding:
    """What was found out about the coordinate frame.

    Attributes
    ----------
    flip_y
        Whether y is counted from the other end of the rows for scoring.
    evidence
        Frame to its evidence in standard errors; empty when too few picks were seen.
    warnings
        Sentences for the user; empty when all is well.
    """

    flip_y: bool
    evidence: dict[str, float]
    warnings: tuple[str, ...]

    def noted(self, micrographs: int) -> dict[str, Any]:
        """Return what a job keeps of it, with the number of micrographs that there were."""
        evidence = {name: round(value, 2) for name, value in self.evidence.items()}
        return {
            "flip_y": self.flip_y,
            "evidence": evidence,
            "warnings": list(self.warnings),
            "micrographs": micrographs,
        }


def frame_sample(image: NDArray[Any], picks: Picks, box_size: float) -> FrameSample:
    """Prepare one micrograph for the density evidence.

    Parameters
    ----------
    image
        Shape (h, w), any real dtype.
    picks
        In px of `image`.
    box_size
        Side of the box, px of `image`.
    """
    import cv2

    scale = min(1.0, BOX_IN_SAMPLE / box_size)
    shape = round(image.shape[0] * scale), round(image.shape[1] * scale)
    small = resample(image, shape).image  # (h', w')
    particle = box_size * scale / 6.0
    band = cv2.GaussianBlur(small, (0, 0), particle) - cv2.GaussianBlur(small, (0, 0), 2 * particle)
    low, high = np.percentile(band, [15.865, 84.135])
    picture = np.clip(band / max((high - low) / 2.0, 1e-20), -4.0, 4.0)
    moved = picks.rescaled(scale)
    return FrameSample(picture.astype(np.float32), moved.x, moved.y)


def find_frame(
    flip_y: Literal["auto", "yes", "no"],
    frames: Sequence[tuple[tuple[int, int], Picks]],
    samples: Sequence[FrameSample],
) -> FrameFinding:
    """Decide whether y is flipped, and warn about picks that do not fit their micrographs.

    Parameters
    ----------
    flip_y
        `yes` and `no` are obeyed (the evidence is still reported); `auto` flips only on clear
        evidence.
    frames
        Shape (h, w) of a micrograph in px, and its picks.
    samples
        From `frame_sample`, for a few micrographs.
    """
    evidence = density_evidence(samples)
    flipped = flip_y == "yes"
    warnings = list(geometry_warnings(frames))
    if evidence:
        best = max(evidence, key=lambda name: abs(evidence[name]))
        strength, as_is = abs(evidence[best]), abs(evidence[FRAMES[0]])
        clear = strength >= CLEAR and strength >= MARGIN * max(as_is, 1.0)
        numbers = f"{strength:.0f} standard errors against {as_is:.0f} as they are"
        if clear and best == "y flipped" and flip_y != "yes":
            flipped = flip_y == "auto"
            done = "y is flipped for scoring" if flipped else "--flip-y no was obeyed"
            warnings.append(f"the picks fit better with y flipped ({numbers}): {done}")
        elif clear and best not in ("as they are", "y flipped"):
            warnings.append(
                f"the picks fit better with {best} ({numbers}): check where they come from; "
                "micscreen does not change that"
            )
        elif flip_y == "yes" and as_is >= CLEAR and as_is >= MARGIN * abs(evidence["y flipped"]):
            warnings.append(
                f"the picks fit better as they are ({as_is:.0f} standard errors), yet --flip-y yes "
                "was obeyed"
            )
    return FrameFinding(flipped, evidence, tuple(warnings))


def density_evidence(samples: Sequence[FrameSample], least: int = 30) -> dict[str, float]:
    """Return, per frame, how many standard errors the density at the picks is from zero.

    Parameters
    ----------
    samples
        A few micrographs.
    least
        With fewer picks than this in all, nothing is said: the result is empty.

    Returns
    -------
    Frame (see `FRAMES`) to signed evidence: negative where picks are dark.
    """
    if sum(len(sample.x) for sample in samples) < least:
        return {}
    found: dict[str, float] = {}
    for name in FRAMES:
        values = np.concatenate([_density_at(sample, name) for sample in samples])  # (n,)
        if len(values) >= least:
            found[name] = float(values.mean() * np.sqrt(len(values)) / max(values.std(), 0.3))
    return found


def _density_at(sample: FrameSample, frame: str) -> NDArray[np.float32]:
    """Return the density at the picks, read in another frame; the mean of the picture is zero."""
    h, w = sample.picture.shape
    x, y = sample.x, sample.y
    if frame == "x and y swapped":
        x, y = y, x
    if frame.startswith("x") and "flipped" in frame:
        x = w - 1 - x
    if frame in ("y flipped", "x and y flipped"):
        y = h - 1 - y
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    inside = (column >= 0) & (row >= 0) & (column < w) & (row < h)
    typical = np.float32(sample.picture.mean())
    return np.asarray(sample.picture[row[inside], column[inside]] - typical, np.float32)


def geometry_warnings(frames: Sequence[tuple[tuple[int, int], Picks]]) -> list[str]:
    """Warn about picks beyond the edges or in a corner only, and say what would fit.

    Parameters
    ----------
    frames
        Shape (h, w) of a micrograph in px, and its picks.
    """
    fractions = [np.stack([p.x / w, p.y / h, p.y / w, p.x / h]) for (h, w), p in frames if len(p)]
    if not fractions:
        return []
    x, y, swapped_x, swapped_y = np.concatenate(fractions, axis=1)  # each (n,)
    outside = (x < 0) | (y < 0) | (x > 1) | (y > 1)
    share = float(outside.mean())
    if share > 0.001:
        text = f"{outside.sum()} of {len(x)} picks checked ({share:.1%}) lie outside their frame"
        reach = float(np.quantile(np.maximum(x, y), 0.995))
        if share > 0.01 and ((swapped_x <= 1) & (swapped_y <= 1)).mean() > 1 - share / 10:
            text += "; with x and y swapped they fit"
        elif reach > 1.2:
            factor = 2 ** int(np.ceil(np.log2(reach)))
            text += (
                f"; divided by {factor} they fit: were they picked on micrographs {factor} times "
                "as large? Then give those, and these with --micrographs-other"
            )
        return [text]
    reach = float(max(x.max(), y.max()))
    if len(x) >= 200 and reach < 0.55:
        return [
            f"all {len(x)} picks checked lie in the first {reach:.0%} of their micrographs: were "
            "they picked on binned ones? Then give those, and these with --micrographs-other"
        ]
    return []
