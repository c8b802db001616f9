"""One synthetic micrograph and its truth, from one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.simulate import detector
from micscreen.simulate.contaminants import PAINTERS, paint_crystalline, paint_vacuum
from micscreen.simulate.layers import DAMAGED, IGNORE, Layers, Thing
from micscreen.simulate.optics import Image, clouds, draw_optics, filtered, log_uniform, white
from micscreen.simulate.specimen import (
    draw_species,
    filaments,
    scatter,
    stamp,
    vesicles,
)

SHARES = {
    "film": 0.42,
    "ice": 0.58,
    "aggregate": 0.13,
    "clumps": 0.13,
    "network": 0.05,
    "crystalline": 0.07,
    "vacuum": 0.07,
    "discs": 0.06,
    "beads": 0.04,
    "fibres": 0.05,
    "crack": 0.03,
    "beam": 0.03,
}
"""How often each contaminant appears in a picture that has anything bad."""


@dataclass(frozen=True)
class Recipe:
    """What kinds of scene are drawn.

    Attributes
    ----------
    shape
        (h, w) of the scene, px.
    box_low, box_high
        Range of the particle box, px; 12 to 24 for training at a box of 16 to 21.
    clean_share
        Share of scenes with nothing bad.
    ruined_share
        Share of scenes that are bad all over: drifted, empty, crystalline.
    processed_share
        Share of scenes that went through a denoiser, 8 bit, JPEG and the like.
    contaminants
        Names out of `SHARES` that every scene has; None draws them by their shares.
    crowding
        Coverage with particles from 0 (none) to 1 (touching); None draws it.
    artefacts
        Whether dead lines and borders may appear.
    """

    shape: tuple[int, int] = (320, 320)
    box_low: float = 12.0
    box_high: float = 24.0
    clean_share: float = 0.22
    ruined_share: float = 0.05
    processed_share: float = 0.45
    contaminants: tuple[str, ...] | None = None
    crowding: float | None = None
    artefacts: bool = True


@dataclass(frozen=True, eq=False)
class Scene:
    """A synthetic micrograph with its truth.

    Attributes
    ----------
    image
        Shape (h, w), float32, particles dark on bright.
    classes
        Shape (h, w), uint8: 0 good, 1 to 5 the bad classes, 255 ignore.
    x, y
        Shape (n,), centres of the particles that were put in, px.
    particle_bad
        Shape (n,), True where the particle lies on a bad (or ignored) pixel.
    box_size
        Side of the particle box, px.
    """

    image: Image
    classes: NDArray[np.uint8]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    particle_bad: NDArray[np.bool_]
    box_size: float


@dataclass(frozen=True, eq=False)
class Exposure:
    """A scene before shot noise: signal (h, w), the noise's standard deviation, and the truth."""

    signal: Image
    noise: float
    things: tuple[Thing, ...]
    points: NDArray[np.float64]
    box_size: float
    ruined: bool


def simulate_scene(seed: int, recipe: Recipe | None = None) -> Scene:
    """Draw one scene; the same seed and recipe give the same scene.

    Parameters
    ----------
    seed
        Any integer >= 0.
    recipe
        What may be drawn; the default recipe is the one for training.
    """
    recipe = recipe or Recipe()
    rng = np.random.default_rng([seed, 20])
    exposure = expose(rng, recipe)
    image = exposure.signal + np.float32(exposure.noise) * white(rng, exposure.signal.shape)
    if exposure.ruined and rng.random() < 0.4:
        image = detector.drifted(rng, image)
        image += np.float32(0.15 * float(image.std())) * white(rng, image.shape)
    classes = truth(image, exposure)
    if rng.random() < recipe.processed_share:
        image = detector.processed(rng, image)
    if recipe.artefacts and rng.random() < 0.06:
        image = detector.gain_errors(rng, image)
    if recipe.artefacts and rng.random() < 0.04:
        detector.hot_pixels(rng, image)
    if recipe.artefacts and rng.random() < 0.03:
        detector.dead_lines(rng, image, classes)
    if recipe.artefacts and rng.random() < 0.06:
        detector.border(rng, image, classes)
    return finished(image, classes, exposure)


def finished(image: Image, classes: NDArray[np.uint8], exposure: Exposure) -> Scene:
    """Put image, truth and particles together."""
    x, y = exposure.points[:, 0], exposure.points[:, 1]
    h, w = classes.shape
    row = np.clip(np.rint(y).astype(int), 0, h - 1)
    column = np.clip(np.rint(x).astype(int), 0, w - 1)
    return Scene(
        image=np.ascontiguousarray(image, dtype=np.float32),
        classes=classes,
        x=x,
        y=y,
        particle_bad=np.asarray(classes[row, column] != 0),
        box_size=exposure.box_size,
    )


def expose(rng: np.random.Generator, recipe: Recipe) -> Exposure:
    """Draw specimen, contaminants and illumination; everything but shot noise."""
    box = float(rng.uniform(recipe.box_low, recipe.box_high))
    optics = draw_optics(rng)
    layers = Layers.blank(recipe.shape, optics, box)
    ruined = recipe.contaminants is None and rng.random() < recipe.ruined_share
    if ruined:
        _ruin(rng, layers)
    else:
        for name in _drawn_contaminants(rng, recipe):
            PAINTERS[name](rng, layers)
    points, specimen, noise = _specimen(rng, recipe, layers)
    ice = np.float32(log_uniform(rng, 0.18, 0.9)) * filtered(
        white(rng, recipe.shape), optics.transfer(recipe.shape)
    )
    if rng.random() < 0.6:
        ice += np.float32(log_uniform(rng, 0.03, 0.6)) * clouds(
            rng, recipe.shape, rng.uniform(0.5, 1.6)
        )
    field = specimen + ice * layers.solvent
    good = field[(layers.particles > 0.9) & (layers.solvent > 0.9)]
    spread = math.hypot(float(good.std()) if good.size > 500 else 0.7, noise)
    bad = layers.texture - layers.dark + detector.illumination(rng, recipe.shape)
    signal = field + np.float32(spread) * bad
    return Exposure(
        np.asarray(signal, dtype=np.float32), noise, tuple(layers.things), points, box, ruined
    )


def _drawn_contaminants(rng: np.random.Generator, recipe: Recipe) -> tuple[str, ...]:
    if recipe.contaminants is not None:
        return recipe.contaminants
    if rng.random() < recipe.clean_share:
        return ()
    while True:
        names = tuple(name for name, share in SHARES.items() if rng.random() < share)
        if names:
            return names


def _ruin(rng: np.random.Generator, layers: Layers) -> None:
    """Make the whole picture bad: crystalline, empty, or heavy dark clouds."""
    draw = rng.random()
    if draw < 0.4:
        paint_crystalline(rng, layers, whole=1.0)
    elif draw < 0.75:
        paint_vacuum(rng, layers, whole=1.0)
    else:
        heavy = log_uniform(rng, 2.0, 9.0)
        layers.dark += np.float32(heavy) * clouds(rng, layers.shape, rng.uniform(1.2, 2.0))
        layers.add(DAMAGED, np.ones(layers.shape, bool))


def _specimen(
    rng: np.random.Generator, recipe: Recipe, layers: Layers
) -> tuple[NDArray[np.float64], Image, float]:
    """Particles through the optics: centres (n, 2), image (h, w), and the shot noise's spread."""
    shape, box = recipe.shape, layers.box_size
    noise = 1.0 if rng.random() < 0.85 else rng.uniform(0.15, 0.6)
    crowding = recipe.crowding
    if crowding is None:
        crowding = 0.0 if rng.random() < 0.12 else float(rng.uniform(0.05, 1.0))
    diameter = box * (rng.uniform(0.35, 0.85) if rng.random() < 0.93 else rng.uniform(0.85, 1.1))
    canvas = np.zeros(shape, np.float32)
    points = np.empty((0, 2))
    if crowding > 0.0:
        style = rng.choice(["even", "random", "patchy", "lattice"], p=[0.42, 0.22, 0.23, 0.13])
        spacing = diameter * (rng.uniform(0.8, 1.05) + 3.0 * (1.0 - crowding) ** 2)
        points = scatter(rng, shape, max(spacing, 4.0), str(style))
        _place(rng, canvas, diameter, points)
        if rng.random() < 0.25:  # the crowd itself is dark, as thick layers of protein are
            crowd = cv2.GaussianBlur(np.abs(canvas), (0, 0), rng.uniform(0.7, 2.0) * box)
            crowd -= crowd.min()
            layers.dark += np.float32(rng.uniform(0.2, 2.5)) * crowd / max(float(crowd.max()), 1e-6)
    if rng.random() < 0.04:
        filaments(rng, canvas, box * rng.uniform(0.1, 0.45))
    if rng.random() < 0.04:
        vesicles(rng, canvas, 2 * diameter)
    canvas *= layers.particles
    if layers.jammed is not None:
        _jam(rng, canvas, diameter, layers.jammed)
    snr = log_uniform(rng, 0.2, 4.0) if rng.random() < 0.82 else rng.uniform(2.0, 9.0)
    image = -filtered(canvas, layers.optics.transfer(shape))
    covered = canvas > 0.35
    level = float(image[covered].std()) if covered.sum() > 50 else 1.0
    image *= np.float32(math.sqrt(snr) / max(level, 1e-6))
    return points, image, noise


def _place(
    rng: np.random.Generator, canvas: Image, diameter: float, points: NDArray[np.float64]
) -> None:
    """Stamp one species, sometimes a second one, of even or uneven strength."""
    strength = None
    if rng.random() < 0.3:
        strength = rng.uniform(0.5, 1.5, len(points)).astype(np.float32)
    first = draw_species(rng, diameter)
    if rng.random() < 0.2 and len(points) > 4:
        cut = int(rng.integers(1, len(points)))
        order = rng.permutation(len(points))
        second = draw_species(rng, diameter * rng.uniform(0.5, 1.3))
        stamp(rng, canvas, first, points[order[:cut]])
        stamp(rng, canvas, second, points[order[cut:]])
        return
    stamp(rng, canvas, first, points, strength)


def _jam(
    rng: np.random.Generator, canvas: Image, diameter: float, where: NDArray[np.bool_]
) -> None:
    """Stamp overlapping particles into the clumps (h, w), in several heights."""
    spacing = diameter * rng.uniform(0.35, 0.75)
    points = scatter(rng, canvas.shape, max(spacing, 2.5), "random")
    points = points[where[points[:, 1].astype(int), points[:, 0].astype(int)]]
    strength = rng.uniform(0.4, 1.4, len(points)).astype(np.float32)
    stamp(rng, canvas, draw_species(rng, diameter * rng.uniform(0.7, 1.1)), points, strength)


def truth(image: Image, exposure: Exposure) -> NDArray[np.uint8]:
    """Classes (h, w) of what can be seen: invisible things are good, doubtful ones are 255."""
    classes = np.zeros(image.shape, np.uint8)
    anything = np.zeros(image.shape, bool)
    for thing in exposure.things:
        anything[thing.window] |= thing.mask
    large_first = sorted(exposure.things, key=lambda thing: -int(thing.mask.sum()))
    background = ~anything
    level = image - cv2.GaussianBlur(image, (0, 0), 25.0)  # gradients hide nothing from an eye
    spread = float(level[background].std()) if background.sum() > 800 else float(level.std())
    for thing in large_first:
        part = classes[thing.window]
        seen = visibility(image, background, thing, spread)
        if seen < 0.6:
            continue
        part[thing.mask] = thing.label if seen >= 1.0 else IGNORE
        if thing.label == IGNORE:
            part[thing.mask] = IGNORE
    return classes


def visibility(image: Image, background: NDArray[np.bool_], thing: Thing, spread: float) -> float:
    """How well a thing stands out: below 0.6 hardly at all, from 1 on without doubt.

    The largest of the contrasts of mean grey, of fine and of coarse texture with the good
    surroundings, scaled so that small things need more of it (Rose criterion) and large ones less.
    """
    window = _grown(thing, image.shape)
    mask = np.zeros(image.shape, bool)
    mask[thing.window] = thing.mask
    inside, around = mask[window], background[window]
    area = int(inside.sum())
    if area >= 0.9 * image.size:
        return 1.0
    if area < 12:
        return 0.0
    part = image[window]
    if around.sum() < 60:
        part, inside, around = image, mask, background
        if around.sum() < 60:
            return 1.0
    grey = abs(float(part[inside].mean()) - float(part[around].mean())) / max(spread, 1e-9)
    smooth = cv2.GaussianBlur(part, (0, 0), 3.0)
    fine = _ratio(part - smooth, inside, around)
    coarse = _ratio(smooth - cv2.GaussianBlur(part, (0, 0), 15.0), inside, around)
    weight = min(1.0, math.sqrt(area) / 14.0)
    patches = min(1.0, math.sqrt(area) / 60.0)  # coarse texture of few patches is chance
    return max(grey * weight / 0.5, fine * weight / 0.16, coarse * patches / 0.5)


def _ratio(texture: Image, inside: NDArray[np.bool_], around: NDArray[np.bool_]) -> float:
    """Return by how much, as a logarithm, the spread of a texture differs inside and around."""
    within, without = float(texture[inside].std()), float(texture[around].std())
    return abs(math.log((within + 1e-9) / (without + 1e-9)))


def _grown(thing: Thing, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the window of a thing grown by 12 px, cut to the scene."""
    rows, columns = (
        slice(
            max(0, (part.start or 0) - 12),
            min(size, (size if part.stop is None else part.stop) + 12),
        )
        for part, size in zip(thing.window, shape, strict=True)
    )
    return rows, columns


def at_scale(recipe: Recipe, shape: tuple[int, int], box: float) -> Recipe:
    """Return the recipe for scenes of another shape and one given box, px."""
    return replace(recipe, shape=shape, box_low=box, box_high=box)
