"""Full-size synthetic micrographs for demos and tests."""

from __future__ import annotations

import cv2
import numpy as np

from micscreen.errors import UsageError
from micscreen.simulate import detector
from micscreen.simulate import scene as scenes
from micscreen.simulate.layers import DAMAGED
from micscreen.simulate.optics import white
from micscreen.simulate.scene import Recipe, Scene

STRUCTURE_BOX = 20.0
"""Box at which structure is simulated before it is enlarged, px."""

KINDS: dict[str, Recipe] = {
    "mixed": Recipe(),
    "clean": Recipe(contaminants=(), crowding=0.6),
    "film": Recipe(contaminants=("film",), crowding=0.6),
    "ice": Recipe(contaminants=("ice",), crowding=0.5),
    "crystalline": Recipe(contaminants=("crystalline",), crowding=0.3),
    "aggregate": Recipe(contaminants=("aggregate",), crowding=0.5),
    "dense": Recipe(contaminants=(), crowding=1.0),
    "vacuum": Recipe(contaminants=("vacuum",), crowding=0.4),
    "clumps": Recipe(contaminants=("clumps",), crowding=0.5),
    "network": Recipe(contaminants=("network",), crowding=0.5),
    "discs": Recipe(contaminants=("discs",), crowding=0.4),
    "beads": Recipe(contaminants=("beads",), crowding=0.4),
    "fibres": Recipe(contaminants=("fibres",), crowding=0.5),
    "crack": Recipe(contaminants=("crack",), crowding=0.5),
    "beam": Recipe(contaminants=("beam",), crowding=0.5),
    "drifted": Recipe(contaminants=(), crowding=0.6),
    "empty": Recipe(contaminants=(), crowding=0.0),
}
"""The kinds of micrograph that `simulate_micrograph` makes."""

ENOUGH_BAD = 0.01
"""Least share of bad pixels in a kind that has anything bad."""


def simulate_micrograph(
    kind: str,
    shape: tuple[int, int] = (2048, 2048),
    box_size: float = 200.0,
    pixel_size: float = 1.0,
    seed: int = 0,
) -> Scene:
    """Simulate one motion-corrected micrograph at full size.

    Structure is drawn at a box of 20 px and enlarged; shot noise is added at full size, so that
    the picture averaged back to the model's scale has the noise of a training scene.

    Parameters
    ----------
    kind
        One of `KINDS`.
    shape
        (h, w), px.
    box_size
        Side of the particle box, px.
    pixel_size
        Å/px; only scales the mean dose per pixel, which rises with its area.
    seed
        Any integer >= 0; decides everything.

    Returns
    -------
    A `Scene` at full size.

    Raises
    ------
    UsageError
        For an unknown kind.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind of micrograph {kind!r}", hint=f"one of {', '.join(KINDS)}")
    scale = STRUCTURE_BOX / box_size
    small = (max(48, round(shape[0] * scale)), max(48, round(shape[1] * scale)))
    recipe = scenes.at_scale(KINDS[kind], small, STRUCTURE_BOX)
    exposure, classes = _exposed(recipe, seed)
    rng = np.random.default_rng([seed, 31])
    size = (shape[1], shape[0])
    signal = exposure.signal
    if kind == "drifted":
        signal = detector.drifted(rng, signal)
        classes = np.full_like(classes, DAMAGED)
    image = cv2.resize(signal, size, interpolation=cv2.INTER_CUBIC)
    noise = exposure.noise * max(1.0, 1.0 / scale)
    image = image + np.float32(noise) * white(rng, shape)
    dose = 30.0 * pixel_size**2  # electrons per px
    if kind == "mixed":
        if rng.random() < 0.1:
            image = detector.gain_errors(rng, image)
        detector.hot_pixels(rng, image)
    image = np.float32(dose) + image * np.float32(dose**0.5 / max(noise, 1e-6))
    full = cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST)
    grow = (shape[1] / small[1], shape[0] / small[0])
    points = (exposure.points + 0.5) * grow - 0.5
    placed = scenes.Exposure(image, noise, (), points, box_size, exposure.ruined)
    return scenes.finished(image, np.asarray(full, dtype=np.uint8), placed)


def _exposed(recipe: Recipe, seed: int) -> tuple[scenes.Exposure, np.ndarray]:
    """Draw until the truth has something bad, if the recipe asks for anything bad."""
    for attempt in range(50):
        rng = np.random.default_rng([seed, 30, attempt])
        exposure = scenes.expose(rng, recipe)
        noisy = exposure.signal + np.float32(exposure.noise) * white(rng, recipe.shape)
        classes = scenes.truth(noisy, exposure)
        bad = float(((classes > 0) & (classes < 255)).mean())
        enough_good = float((classes == 0).mean()) > 0.3
        if not recipe.contaminants or (bad >= ENOUGH_BAD and enough_good):
            return exposure, classes
    return exposure, classes
