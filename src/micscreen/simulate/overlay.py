"""Simulated contaminants on a real micrograph: its own particles and noise, our film and ice."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.simulate.contaminants import PAINTERS
from micscreen.simulate.layers import Layers
from micscreen.simulate.optics import Image, draw_optics
from micscreen.simulate.scene import SHARES, Exposure, truth

GROUND_SIGMA = 10.0
"""What is smoother than this, px, is the picture's illumination; the rest is its field."""

NEEDS_PARTICLES = frozenset({"clumps"})
"""Painters that only choose where simulated particles lie."""


def overlay(
    rng: np.random.Generator,
    image: Image,
    classes: NDArray[np.uint8],
    box_size: float,
    names: tuple[str, ...] | None = None,
) -> tuple[Image, NDArray[np.uint8]]:
    """Paint contaminants onto a picture; neither input changes.

    Parameters
    ----------
    rng
        Source of chance.
    image, classes
        Shape (h, w): particles dark on bright at model scale, and what is known of it. What is
        bad or ignored already stays so.
    box_size
        Side of the particle box, px.
    names
        Which painters; None draws them by their shares.

    Returns
    -------
    Image and classes, of the same shapes. Things that cannot be seen afterwards are good.
    """
    good = classes == 0
    if good.sum() < 1000:
        return image, classes
    if names is None:
        names = _drawn(rng)
    layers = Layers.blank((image.shape[0], image.shape[1]), draw_optics(rng), box_size)
    for name in names:
        PAINTERS[name](rng, layers)
    ground = cv2.GaussianBlur(image, (0, 0), GROUND_SIGMA)
    field = image - ground
    spread = np.float32(field[good].std())
    rest = np.float32(rng.uniform(0.3, 0.8))  # of the field: shot noise is there under anything
    kept = rest + (1 - rest) * np.minimum(layers.particles, layers.solvent)
    changed = ground + field * kept + spread * (layers.texture - layers.dark)
    seen = truth(changed, Exposure(changed, 0.0, tuple(layers.things), np.empty((0, 2)), 0, False))
    return np.asarray(changed, np.float32), np.where(good, seen, classes)


def _drawn(rng: np.random.Generator) -> tuple[str, ...]:
    able = {name: share for name, share in SHARES.items() if name not in NEEDS_PARTICLES}
    while True:
        names = tuple(name for name, share in able.items() if rng.random() < share)
        if names:
            return names
