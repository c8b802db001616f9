"""The story: a micrograph, its picks and a network give class maps and scored picks.

Values in, values out; nothing here knows of files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicrographError, UsageError
from micscreen.guard import suspect
from micscreen.micrograph import Micrograph
from micscreen.model.backend import Backend
from micscreen.model.weights import ModelSpec
from micscreen.picks import CLASS_NAMES, Picks
from micscreen.preprocess import IQR_NORMALISATION, back, normalise, prepare
from micscreen.score import ScoreRule, score
from micscreen.tiles import TileSettings, predict_whole
from micscreen.windows import window_maps

ONE_KIND: Final = "these weights know one kind of bad; it stands as support_film"
"""Note of micrographs that imported old weights have judged."""


@dataclass(frozen=True, slots=True)
class CleanSettings:
    """How one micrograph is screened.

    Attributes
    ----------
    box_size
        Side of the particle box, px of the micrograph that was picked.
    contrast
        Particles `dark` on bright, `bright` on dark, or `auto`.
    rule
        The neighbourhood of a pick that decides.
    box_scale
        When another micrograph of the same field of view is screened: px of it per px of the
        picked one.
    tiles
        How pictures are cut that are too large for the network.
    windows
        Predict as MicrographCleaner does, by `micscreen.windows`; for its weights only.
    """

    box_size: float
    contrast: Literal["auto", "dark", "bright"] = "auto"
    rule: ScoreRule = field(default_factory=ScoreRule)
    box_scale: float = 1.0
    tiles: TileSettings = field(default_factory=TileSettings)
    windows: bool = False

    def __post_init__(self) -> None:
        for name, value in (("--box-size", self.box_size), ("box scale", self.box_scale)):
            if not 0 < value < float("inf"):
                raise UsageError(f"must be a positive number, not {value}", where=name)
        if self.contrast not in ("auto", "dark", "bright"):
            raise UsageError(f"there is no contrast {self.contrast!r}", where="--contrast")


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """What was found on one micrograph.

    Attributes
    ----------
    picks
        The picks that came in, with goodness, class, distance and reason; None when none came.
    maps
        Shape (6, h', w'), float32: probability per class of `CLASS_NAMES`, at model scale, over
        the whole field of view.
    valid
        Shape (h', w'), bool: where there is image; elsewhere the maps say good.
    scale
        px of the maps per px of the screened micrograph.
    contrast
        `dark` or `bright`, as found or given.
    contrast_evidence
        On what it was decided, with numbers; `given` when it was given.
    preview
        Shape (h', w'), uint8: the micrograph at model scale, for pictures.
    notes
        What the user should know, one sentence each; the same words for the same finding.
    suspect
        Why the result should not be believed, ``key: sentence`` each; empty when nothing speaks
        against it.
    timings
        Seconds per step: prepare, predict, score.
    """

    picks: Picks | None
    maps: NDArray[np.float32]
    valid: NDArray[np.bool_]
    scale: float
    contrast: Literal["dark", "bright"]
    contrast_evidence: str
    preview: NDArray[np.uint8]
    notes: tuple[str, ...]
    suspect: tuple[str, ...]
    timings: Mapping[str, float]

    @property
    def contamination(self) -> NDArray[np.float32]:
        """Shape (h', w'), float32 in [0, 1]: probability that a pixel is bad."""
        return np.asarray(np.clip(np.float32(1) - self.maps[0], 0, 1), np.float32)

    @property
    def classes(self) -> NDArray[np.uint8]:
        """Shape (h', w'): the likeliest class; among the bad ones where contamination >= 0.5."""
        worst = 1 + np.argmax(self.maps[1:], axis=0)
        return np.asarray(np.where(self.contamination >= 0.5, worst, 0), np.uint8)

    @property
    def class_area(self) -> dict[str, float]:
        """Share of the image per class of `CLASS_NAMES`; they sum to 1."""
        counts = np.bincount(self.classes[self.valid], minlength=len(CLASS_NAMES))
        shares = counts / max(counts.sum(), 1)
        return {name: float(share) for name, share in zip(CLASS_NAMES, shares, strict=True)}


def clean(
    micrograph: Micrograph, picks: Picks | None, backend: Backend, settings: CleanSettings
) -> Cleaned:
    """Screen one micrograph: find what is bad, and say what each pick is worth.

    Parameters
    ----------
    micrograph
        What is screened.
    picks
        In px of the picked micrograph; None for the maps alone.
    backend
        The network, from `open_backend`.
    settings
        The box, and how to judge.

    Raises
    ------
    MicrographError
        When the image is constant or has no usable pixel, or the box does not go with it.
    UsageError
        When the rule needs a pixel size that is not known, or windows are wanted of other weights
        than MicrographCleaner's.
    """
    start = time.perf_counter()
    spec, box_size = backend.spec, settings.box_size * settings.box_scale
    old = _are_old(spec, settings)
    here = None if picks is None else replace(picks, box_size=settings.box_size)
    here = None if here is None else here.rescaled(settings.box_scale)
    try:
        seen = prepare(
            micrograph.image,
            box_size,
            spec.box_px,
            contrast=settings.contrast,
            picks=here,
            margin=spec.margin,
            multiple=spec.multiple,
            normalisation=spec.normalisation,
        )
    except MicrographError as error:
        where = error.where or micrograph.name or None
        raise MicrographError(error.what, where=where, hint=error.hint) from error
    prepared = time.perf_counter()
    if settings.windows:
        maps = window_maps(micrograph.image, box_size, seen.picture.shape, backend.predict)
    else:
        answer = predict_whole(backend.predict, seen.channels, settings.tiles)  # (6, H, W)
        maps = back(answer, seen)  # (6, h', w')
    predicted = time.perf_counter()
    looks = normalise(seen.picture) if old else seen.channels  # what the guard knows to judge
    shape, pixel_size = micrograph.shape, micrograph.pixel_size
    scored, centres = None, None
    if here is not None:
        centres = None if old else seen.centres(here, shape)
        scored = score(here, maps, shape, settings.rule, pixel_size=pixel_size, valid=seen.valid)
        picks = _with_scores(picks, scored, settings.box_scale)
    return Cleaned(
        picks=picks,
        maps=maps,
        valid=seen.valid,
        scale=seen.scale,
        contrast=seen.contrast,
        contrast_evidence=seen.contrast_evidence,
        preview=_preview(seen.picture),
        notes=seen.notes + (ONE_KIND,) * old,
        suspect=suspect(maps, looks, seen.valid, spec.box_px, here, shape, centres),
        timings={
            "prepare": prepared - start,
            "predict": predicted - prepared,
            "score": time.perf_counter() - predicted,
        },
    )


def _are_old(spec: ModelSpec, settings: CleanSettings) -> bool:
    """Return whether the weights are MicrographCleaner's; raise UsageError if they must be."""
    old = spec.normalisation == IQR_NORMALISATION
    if settings.windows and not old:
        raise UsageError(
            f"the weights {spec.name} are not MicrographCleaner's",
            where="--windows",
            hint="Leave it away, or give imported weights: micscreen model import.",
        )
    return old


def _with_scores(picks: Picks | None, scored: Picks, box_scale: float) -> Picks | None:
    """Return the picks as they came, with scores, distances in their own px."""
    if picks is None or scored.distance is None:
        return scored
    return replace(
        picks,
        goodness=scored.goodness,
        class_index=scored.class_index,
        distance=(scored.distance / np.float32(box_scale)).astype(np.float32),
        reason=scored.reason,
    )


def _preview(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a picture (h', w') as 8 bit, its darkest and brightest hundredth cut."""
    values = np.sort(picture[::2, ::2], axis=None)
    low, high = values[len(values) // 100], values[-1 - len(values) // 100]
    stretched = (picture - low) * (255.0 / max(float(high - low), 1e-20))
    return np.asarray(np.clip(stretched, 0, 255), np.uint8)
