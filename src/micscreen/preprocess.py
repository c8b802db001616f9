"""From any micrograph to what the network expects, and the way back.

Everything here is pure: arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.contrast import ContrastDecision, decide_contrast
from micscreen.errors import MicrographError, UsageError
from micscreen.frames import Crop, dead_areas, find_frame, mend
from micscreen.picks import Picks
from micscreen.resample import resample

NORMALISATION: Final = "asinh-robust-3ch-v1"
"""Name of the recipe in `normalise`; stored with the weights, so that the two never part."""

IQR_NORMALISATION: Final = "iqr-sigmoid-1ch-v1"
"""Name of MicrographCleaner's recipe, in `normalise_iqr`."""

HIGH_PASS_SIGMA: Final = 12.0
TEXTURE_SIGMA: Final = 6.0

MIN_SIDE: Final = 32
"""A picture with fewer px than this on a side at model scale is too small to judge."""

BINS: Final = 4096
"""Of the histograms that say where a percentile lies."""

MAX_PIXELS: Final = 64_000_000
"""A picture with more px than this at model scale is a wrong box size."""

SMALL_BOX: Final = 8.0
"""Below this box size in px of the micrograph there is too little detail to judge by."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelInput:
    """A micrograph as the network sees it, and what is needed to come back.

    Attributes
    ----------
    channels
        Shape (3, H, W), float32: the image without its frame, normalised, with reflected margins.
        (1, H, W) for the recipe of MicrographCleaner.
    picture
        Shape (h', w'), float32: the whole micrograph at model scale, mended, contrast as it was.
    valid
        Shape (h', w'), bool: where there is image, neither frame nor dead area.
    crop
        (top, bottom, left, right) of the image without its frame, in `picture`.
    margin
        px of reflection before the first row and column of the crop.
    scale
        Model px / micrograph px. A side is a whole number of px, so the exact scale of an axis is
        the ratio of the sides; `picture` covers the micrograph's field of view exactly.
    contrast
        `dark` (particles dark on bright) or `bright`, as found or given.
    contrast_evidence
        On what it was decided, with numbers; `given` when it was given.
    notes
        What the user should know, one sentence each; the same words for the same finding, so that
        a run can count them.
    """

    channels: NDArray[np.float32]
    picture: NDArray[np.float32]
    valid: NDArray[np.bool_]
    crop: Crop
    margin: int
    scale: float
    contrast: Literal["dark", "bright"]
    contrast_evidence: str
    notes: tuple[str, ...] = ()

    def centres(self, picks: Picks, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the centres of picks as (n, 2) x, y in px of the channels.

        Parameters
        ----------
        picks
            In px of the micrograph.
        shape
            Height and width of the micrograph.
        """
        model = self.picture.shape[0], self.picture.shape[1]
        return _at_scale(picks, shape, model, self.crop) + self.margin


def prepare(
    image: NDArray[Any],
    box_size: float,
    model_box: float,
    *,
    contrast: Literal["auto", "dark", "bright"] = "auto",
    picks: Picks | None = None,
    margin: int = 48,
    multiple: int = 8,
    normalisation: str = NORMALISATION,
) -> ModelInput:
    """Resample a micrograph so that the box has the model's size, and normalise it.

    Parameters
    ----------
    image
        Shape (h, w), any real dtype and byte order; never written to.
    box_size
        Side of the particle box, px of this micrograph.
    model_box
        Side of the particle box that the model expects, px.
    contrast
        Whether particles are dark on bright, bright on dark, or to be found out.
    picks
        In px of this micrograph; they help to find the contrast.
    margin
        Reflection around the image, px at model scale.
    multiple
        Of which the sides of the result are multiples.
    normalisation
        Name of the recipe; MicrographCleaner's takes the image with the contrast that it has.

    Raises
    ------
    MicrographError
        When the image is constant, has no finite pixel, or does not go with the box size.
    """
    shape, notes = _model_shape(image.shape, box_size, model_box)
    resampled = resample(image, shape)
    crop = find_frame(resampled.image)
    top, bottom, left, right = crop
    _check_size((bottom - top, right - left), image.shape, box_size)
    inside = resampled.image[top:bottom, left:right]
    holes = resampled.empty[top:bottom, left:right]
    dead = dead_areas(inside, holes, model_box)
    if dead.all():
        raise MicrographError(
            "nothing but constant areas and dead pixels",
            hint="Look at the file; the step that wrote it has probably failed.",
        )
    inside = mend(inside, holes | dead)
    valid = np.zeros(shape, np.bool_)
    valid[top:bottom, left:right] = ~dead
    picture = resampled.image
    picture[top:bottom, left:right] = inside
    notes += _image_notes(valid, crop)
    if contrast == "auto":
        centres = None if picks is None else _at_scale(picks, image.shape, shape, crop)
        decision = decide_contrast(inside, model_box, centres)
        notes += decision.notes
    else:
        decision = ContrastDecision(contrast, True, "given")
    if normalisation == IQR_NORMALISATION:
        channels = normalise_iqr(inside)
    else:
        channels = normalise(inside if decision.contrast == "dark" else -inside)
    return ModelInput(
        channels=_with_margin(channels, margin, multiple),
        picture=picture,
        valid=valid,
        crop=crop,
        margin=margin,
        scale=model_box / box_size,
        contrast=decision.contrast,
        contrast_evidence=decision.evidence,
        notes=notes,
    )


def _model_shape(
    shape: tuple[int, ...], box_size: float, model_box: float
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return height and width at model scale, and a note when the box is tiny."""
    if not 0 < box_size < float("inf"):
        raise UsageError(f"a box size of {box_size} px is impossible", where="--box-size")
    scale = model_box / box_size
    height, width = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
    _check_size((height, width), shape, box_size)
    if height * width > MAX_PIXELS:
        raise MicrographError(
            f"a box of {box_size:g} px is far too small for {shape[1]} x {shape[0]} px",
            hint="Give the box in px of the picked micrographs: --box-size.",
        )
    if box_size >= SMALL_BOX:
        return (height, width), ()
    return (height, width), (
        f"the box has fewer than {SMALL_BOX:g} px of the micrograph: too little detail to judge by",
    )


def _check_size(model: tuple[int, int], shape: tuple[int, ...], box_size: float) -> None:
    """Raise MicrographError when the picture is too small at model scale."""
    if min(model) < MIN_SIDE:
        raise MicrographError(
            f"a box of {box_size:g} px leaves only {model[1]} x {model[0]} px at the model's "
            f"scale of a picture of {shape[1]} x {shape[0]} px (at least {MIN_SIDE} are needed)",
            hint="The box size is probably too large: give it in px of the picked micrographs.",
        )


def _image_notes(valid: NDArray[np.bool_], crop: Crop) -> tuple[str, ...]:
    """Say what of the picture is no image."""
    top, bottom, left, right = crop
    notes = []
    if (bottom - top, right - left) != valid.shape:
        notes.append("a frame without image around the picture was left out")
    if not valid[top:bottom, left:right].all():
        notes.append("a part of the picture is constant or dead and was not judged")
    return tuple(notes)


def _at_scale(
    picks: Picks, shape: tuple[int, ...], model: tuple[int, int], crop: Crop
) -> NDArray[np.float64]:
    """Return the centres of picks as (n, 2) x, y in px of the crop at model scale."""
    x = (picks.x + 0.5) * (model[1] / shape[1]) - 0.5 - crop[2]
    y = (picks.y + 0.5) * (model[0] / shape[0]) - 0.5 - crop[0]
    return np.stack([x, y], axis=1)


def _with_margin(channels: NDArray[np.float32], margin: int, multiple: int) -> NDArray[np.float32]:
    """Reflect (3, h, w) by a margin on each side, and further up to the next multiple."""
    below, right = (margin + -(side + 2 * margin) % multiple for side in channels.shape[1:])
    sides = (margin, below, margin, right)
    padded = [cv2.copyMakeBorder(channel, *sides, cv2.BORDER_REFLECT_101) for channel in channels]
    return np.asarray(np.stack(padded), np.float32)  # (3, H, W)


def back(maps: NDArray[np.float32], model_input: ModelInput) -> NDArray[np.float32]:
    """Take the network's answer back to the whole micrograph at model scale.

    Parameters
    ----------
    maps
        Shape (k, H, W): probability per class, on the grid of `model_input.channels`.

    Returns
    -------
    Shape (k, h', w'). The frame, where there is no image, is class 0.
    """
    top, bottom, left, right = model_input.crop
    first = model_input.margin
    inside = maps[:, first : first + bottom - top, first : first + right - left]
    whole = np.zeros((len(maps), *model_input.valid.shape), np.float32)
    whole[0] = 1
    whole[:, top:bottom, left:right] = inside
    return whole


def enlarge(map_: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring a map (h', w') over the same field of view to another shape (h, w), linearly."""
    shrinks = shape[0] * shape[1] < map_.size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(map_, (shape[1], shape[0]), interpolation=how), np.float32)


def normalise(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a whole micrograph at model scale into the network's three channels.

    The whole micrograph is normalised at once, never tiles, so that neighbours see the same
    contrast.

    Parameters
    ----------
    image
        Shape (h, w), finite, particles dark on bright, at model scale (the box has about 16 px).

    Returns
    -------
    Shape (3, h, w), float32: asinh of the robust z-score; the same after a high-pass; and the
    logarithm of the local standard deviation relative to its median.
    """
    low = cv2.GaussianBlur(image, (0, 0), HIGH_PASS_SIGMA, borderType=cv2.BORDER_REFLECT)
    local_mean = cv2.GaussianBlur(image, (0, 0), TEXTURE_SIGMA, borderType=cv2.BORDER_REFLECT)
    difference = image - local_mean
    variance = cv2.GaussianBlur(
        difference * difference, (0, 0), TEXTURE_SIGMA, borderType=cv2.BORDER_REFLECT
    )
    channels = np.empty((3, *image.shape), np.float32)  # (3, h, w)
    _asinh(_robust_z(image), channels[0])
    _asinh(_robust_z(image - low), channels[1])
    typical = _percentiles(variance, 50.0)[0]
    floor = max(typical * 1e-4, 1e-20)
    log = 0.5 * np.log((variance + np.float32(floor)) / np.float32(typical + floor))
    np.clip(log, -4.0, 4.0, out=channels[2])
    return channels


def normalise_iqr(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a micrograph at model scale into MicrographCleaner's input.

    The sigmoid of the distance from the median in units of the 10th to 90th percentile range, as
    in Sanchez-Garcia et al. 2020 and the code of micrograph-cleaner-em 1.0.2.

    Parameters
    ----------
    image
        Shape (h, w), finite, at model scale (the box has 16 px).

    Returns
    -------
    Shape (1, h, w), float32 in [0, 1].
    """
    low, middle, high = _percentiles(image, 10.0, 50.0, 90.0)
    width = max(high - low, 1e-6 * max(abs(middle), 1e-12), 1e-20)
    scaled = (image - np.float32(middle)) / np.float32(width)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scaled, -80, 80))), np.float32)[None]


def _robust_z(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (image - median) / sigma, sigma being half the 16th to 84th percentile range."""
    p16, p50, p84 = _percentiles(image, 15.865, 50.0, 84.135)
    sigma = max((p84 - p16) / 2.0, 1e-6 * max(abs(p50), 1e-12), 1e-20)
    return np.asarray((image - np.float32(p50)) / np.float32(sigma), dtype=np.float32)


def _percentiles(image: NDArray[np.float32], *wanted: float) -> list[float]:
    """Return percentiles with linear interpolation: as `numpy.percentile`, but faster."""
    lowest, highest = float(image.min()), float(image.max())
    edges = np.linspace(lowest, highest, BINS + 1)
    counts = np.zeros(BINS, np.int64)
    if np.isfinite(highest - lowest) and highest > lowest:
        bins = cv2.calcHist([image], [0], None, [BINS], [lowest, np.nextafter(highest, np.inf)])
        counts = np.cumsum(bins.ravel().astype(np.int64))
    return [_percentile(image, percent, edges, counts) for percent in wanted]


def _percentile(
    image: NDArray[np.float32],
    percent: float,
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> float:
    """Return one percentile, by sorting only the values in and beside its bin of a histogram.

    The histogram, of `BINS` bins between `edges` with cumulative `counts`, only says where to
    look: what it says wrongly costs time.
    """
    rank = percent / 100.0 * (image.size - 1)
    first, last = np.searchsorted(counts, (rank, rank + 1.0), side="right")
    low, high = edges[max(0, first - 1)], edges[min(BINS, last + 2)]
    values = image[(image >= low) & (image <= high)]
    below = int(np.count_nonzero(image < low))
    whole, part = divmod(rank, 1.0)
    at, after = int(whole) - below, min(int(whole) + 1, image.size - 1) - below
    if not (at >= 0 and after < values.size):
        values, at, after = image.ravel(), at + below, after + below
    values = np.sort(values)
    return float(values[at]) + part * (float(values[after]) - float(values[at]))


def _asinh(z: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write asinh(z) to `out`, by logarithms, which NumPy computes several numbers at a time."""
    size = np.minimum(np.abs(z), np.float32(1e18))
    np.log(size + np.sqrt(size * size + np.float32(1)), out=out)
    np.copysign(out, z, out=out)
