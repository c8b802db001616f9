"""People's own labelled micrographs, as the training wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicscreenError, UsageError
from micscreen.io.labels import IGNORE, LabelKind, as_classes, label_kind, read_label
from micscreen.io.micrographs import read_micrograph
from micscreen.preprocess import prepare
from micscreen.resample import resample
from micscreen.samples import RealPicture

BOX_PX: Final = 21.0
"""Pictures are kept with this many px per box: the most that the training draws."""

Contrast = Literal["auto", "dark", "bright"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled pictures, and what was found on the way.

    Attributes
    ----------
    pictures
        Name, image (h, w) with dark particles, classes (h, w) and box in px of each.
    kind
        Whether the labels are class maps or masks.
    problems
        Name and reason of each micrograph that could not be used.
    """

    pictures: tuple[RealPicture, ...]
    kind: LabelKind
    problems: tuple[tuple[str, str], ...]


def read_labelled(
    pairs: Sequence[tuple[Path, Path]],
    box_size: float,
    *,
    contrast: Contrast = "auto",
    tiff_flip_y: bool = True,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Labelled:
    """Read micrographs with their labels, resampled to `BOX_PX` where they are larger.

    Parameters
    ----------
    pairs
        Micrograph and label of each; a label may have another size, of the same shape.
    box_size
        Side of the particle box, px of the micrographs.
    contrast
        Of the particles; bright ones are inverted.
    tiff_flip_y
        As in `read_micrograph`, for both.
    told
        Gets how many pairs are read, and of how many.

    Raises
    ------
    UsageError
        When no pair could be used.
    """
    read: list[tuple[Path, Path, NDArray[np.float32], NDArray[Any], float]] = []
    problems = []
    for done, (micrograph, label) in enumerate(pairs, start=1):
        try:
            pair = _pair(micrograph, label, box_size, contrast, tiff_flip_y)
            read.append((micrograph, label, *pair))
        except MicscreenError as error:
            problems.append((micrograph.name, str(error)))
        told(done, len(pairs))
    kind = label_kind(values for _, _, _, values, _ in read)
    pictures: list[RealPicture] = []
    for micrograph, where, image, values, box in read:
        try:
            pictures.append((micrograph.name, image, as_classes(values, kind, where), box))
        except MicscreenError as error:
            problems.append((micrograph.name, str(error)))
    if not pictures:
        raise UsageError(
            "no labelled micrograph could be used",
            hint="; ".join(" ".join(problem) for problem in problems[:3]) or "None was given.",
        )
    return Labelled(tuple(pictures), kind, tuple(problems))


def _pair(
    micrograph: Path, label: Path, box_size: float, contrast: Contrast, tiff_flip_y: bool
) -> tuple[NDArray[np.float32], NDArray[Any], float]:
    """Return image and label (h, w) of one size, and the box in their px."""
    image = read_micrograph(micrograph, tiff_flip_y=tiff_flip_y).image
    values = read_label(label, tiff_flip_y=tiff_flip_y)
    height, width = image.shape
    if abs(values.shape[0] * width / (values.shape[1] * height) - 1.0) > 0.02:
        raise UsageError(
            f"the label has {values.shape[0]} x {values.shape[1]} px, its micrograph "
            f"{micrograph.name} {height} x {width}",
            where=label,
            hint="A label has the size of its micrograph, or is a smaller copy of the same shape.",
        )
    scale = min(1.0, BOX_PX / box_size)
    shape = max(8, round(height * scale)), max(8, round(width * scale))
    small = resample(image, shape).image
    if prepare(image, box_size, 16.0, contrast=contrast).contrast == "bright":
        small = -small
    whole = values if values.dtype.kind == "f" else values.astype(np.int32)
    nearest = cv2.resize(
        np.ascontiguousarray(whole), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT
    )
    return small, nearest, box_size * scale


def hold_out(
    pictures: Sequence[RealPicture], share: float, seed: int
) -> tuple[list[RealPicture], list[RealPicture]]:
    """Divide pictures into those to learn from and those kept apart, drawn from a seed.

    With a bad region or without: each kind gives its share, so that both are judged. Fewer than
    four pictures are not divided.
    """
    if not 0 <= share < 1:
        raise UsageError(f"must lie in [0, 1), not {share}", where="--hold-out")
    if len(pictures) < 4 or share == 0:
        return list(pictures), []
    rng = np.random.default_rng(seed)
    apart: set[int] = set()
    for bad in (True, False):
        these = [i for i, (_, _, classes, _) in enumerate(pictures) if _has_bad(classes) == bad]
        count = max(1, round(share * len(these))) if len(these) > 1 else 0
        apart.update(rng.permutation(these)[:count].tolist())
    learnt = [p for i, p in enumerate(pictures) if i not in apart]
    return learnt, [pictures[i] for i in sorted(apart)]


def _has_bad(classes: NDArray[np.uint8]) -> bool:
    return bool(((classes > 0) & (classes != IGNORE)).any())
