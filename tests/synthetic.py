"""Small synthetic micrographs for tests of the screening itself: dark particles, ice, film."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.picks import Picks

BOX = 32.0


def field(
    shape: tuple[int, int] = (480, 560),
    *,
    particles: int = 60,
    ice: tuple[tuple[float, float, float], ...] = (),
    film_from: float | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.float32], Picks]:
    """Return a micrograph (h, w) and the picks of its particles; box 32 px.

    `ice`: x, y, radius of dark balls; `film_from`: from this column on there is dark film.
    """
    rng = np.random.default_rng(seed)
    h, w = shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    image = 500 + 20 * rng.standard_normal(shape).astype(np.float32)
    px, py = rng.uniform(10, w - 10, particles), rng.uniform(10, h - 10, particles)
    bumps = np.zeros(shape, np.float32)
    for cx, cy in zip(px, py, strict=True):
        cv2.circle(bumps, (round(cx), round(cy)), 9, 1.0, -1)
    image -= 10 * cv2.GaussianBlur(bumps, (0, 0), 2.0)
    for cx, cy, radius in ice:
        image[np.hypot(x - cx, y - cy) <= radius] -= 120
    if film_from is not None:
        image[:, int(film_from) :] -= 60
    return image, Picks(x=px, y=py, box_size=BOX)
