"""Making few labelled pictures go further: real contaminants on other fields, rougher pictures.

Copying objects between pictures with their labels is after Ghiasi et al. 2021 (Simple
Copy-Paste); here an object is kept as its difference from its own surroundings in units of their
spread, so that it fits any field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

IGNORE: Final = 255
PASTED: Final = (2, 4)
"""Classes whose objects are copied: ice and other foreign bodies, aggregates."""

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Cutout:
    """One real object.

    Attributes
    ----------
    label
        Its class.
    difference
        Shape (h, w): object minus the median of its surroundings, in their standard deviations.
    mask
        Shape (h, w): 1 on the object, 0 elsewhere.
    """

    label: int
    difference: Image
    mask: Labels


def cutouts(image: Image, labels: Labels, least: int = 10, most: float = 0.12) -> list[Cutout]:
    """Cut the separate objects out of a picture at model scale, both (h, w).

    Parameters
    ----------
    image, labels
        Picture before normalisation, and its classes.
    least
        Smallest area, px.
    most
        Largest area, as a share of the picture.
    """
    found = []
    for label in PASTED:
        count, parts, stats, _ = cv2.connectedComponentsWithStats(
            (labels == label).astype(np.uint8), connectivity=8
        )
        for part in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[part])
            if not least <= area <= most * labels.size:
                continue
            window = (
                slice(max(0, y - 12), min(labels.shape[0], y + h + 12)),
                slice(max(0, x - 12), min(labels.shape[1], x + w + 12)),
            )
            around = image[window][labels[window] == 0]
            if around.size < 60:
                continue
            spread = float(around.std()) + 1e-6
            difference = (image[window] - np.median(around)) / spread
            mask = (parts[window] == part).astype(np.uint8)
            found.append(Cutout(label, np.asarray(difference, np.float32), mask))
    return found


def paste(
    rng: np.random.Generator, image: Image, labels: Labels, objects: Sequence[Cutout]
) -> tuple[Image, Labels]:
    """Put one to four objects onto the good parts of a picture (h, w); neither input changes."""
    image, labels = image.copy(), labels.copy()
    good = image[labels == 0]
    if not objects or good.size < 200:
        return image, labels
    spread = float(good.std())
    ground = cv2.GaussianBlur(image, (0, 0), 10.0)
    for _ in range(int(rng.integers(1, 5))):
        chosen = objects[int(rng.integers(len(objects)))]
        difference, mask = _turned(rng, chosen)
        h, w = mask.shape
        if h >= image.shape[0] or w >= image.shape[1]:
            continue
        y, x = (int(rng.integers(0, a - b)) for a, b in zip(image.shape, (h, w), strict=True))
        window = (slice(y, y + h), slice(x, x + w))
        if not (labels[window] == 0).mean() > 0.7:
            continue
        alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
        strength = np.float32(spread * rng.uniform(0.65, 1.4))
        body = ground[window] + strength * difference
        image[window] = image[window] * (1.0 - alpha) + body * alpha
        part = labels[window]
        part[(mask > 0) & (part == 0)] = chosen.label
    return image, labels


def _turned(rng: np.random.Generator, chosen: Cutout) -> tuple[Image, Labels]:
    """Return a cutout in another size, turned and mirrored at random."""
    scale = math.exp(rng.uniform(math.log(0.7), math.log(1.4)))
    size = tuple(max(4, round(n * scale)) for n in chosen.mask.shape[::-1])
    difference = cv2.resize(chosen.difference, size, interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(chosen.mask, size, interpolation=cv2.INTER_NEAREST)
    turns = int(rng.integers(4))
    difference, mask = np.rot90(difference, turns), np.rot90(mask, turns)
    if rng.random() < 0.5:
        difference, mask = difference[:, ::-1], mask[:, ::-1]
    return np.asarray(difference, np.float32), np.asarray(mask, np.uint8)


def roughen(rng: np.random.Generator, image: Image) -> Image:
    """Treat a picture (h, w) as some program or microscope might have: one to three changes."""
    spread = np.float32(image.std() + 1e-6)
    h, w = image.shape
    for what in rng.choice(5, size=int(rng.integers(1, 4)), replace=False):
        if what == 0:
            noise = rng.standard_normal(image.shape, dtype=np.float32)
            image = image + np.float32(rng.uniform(0.1, 0.9)) * spread * noise
        elif what == 1:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1))
        elif what == 2:
            rise = rng.normal(0, 0.8, 2)
            y = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
            x = np.linspace(-1, 1, w, dtype=np.float32)[None, :]
            slope = spread * (np.float32(rise[0]) * y + np.float32(rise[1]) * x)
            image = image + slope.astype(np.float32)
        elif what == 3:
            low, high = np.percentile(image, (rng.uniform(0, 1.5), 100 - rng.uniform(0, 1.5)))
            image = np.round(np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255)
        else:
            soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 3.0))
            image = image + np.float32(rng.uniform(0.2, 0.8)) * (image - soft)
        image = np.asarray(image, np.float32)
    return image


def part_of(
    rng: np.random.Generator, image: Image, labels: Labels, least: int
) -> tuple[Image, Labels]:
    """Cut 55 to 100 % of each side, but at least `least` px: another field of view."""
    window = []
    for side in labels.shape:
        length = min(side, max(least, round(side * rng.uniform(0.55, 1.0))))
        start = int(rng.integers(0, side - length + 1))
        window.append(slice(start, start + length))
    rows, columns = window
    return image[rows, columns], labels[rows, columns]
