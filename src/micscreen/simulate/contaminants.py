"""What should not be in a micrograph, painted in units of the good field's own spread.

Every painter adds darkness and texture to `Layers` and leaves one `Thing` per object: where it
is and of what class. Whether a thing stays in the truth is decided later, from what can be seen
(`micscreen.simulate.scene`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.simulate.dirt import paint_beads, paint_beam, paint_crack, paint_fibres
from micscreen.simulate.layers import (
    AGGREGATE,
    CRYSTALLINE,
    DAMAGED,
    FILM,
    ICE,
    IGNORE,
    Layers,
    Thing,
)
from micscreen.simulate.optics import Image, band, clouds, filtered, log_uniform, white


def paint_film(rng: np.random.Generator, layers: Layers) -> None:
    """Support film around (or, seldom, inside) a round hole, with rim and Fresnel fringe."""
    inside = -_signed_distance(rng, layers.shape)  # > 0 on the film
    while float((inside > 0).mean()) > 0.93:  # film without an edge cannot be told from ice
        inside = -_signed_distance(rng, layers.shape)
    soft = rng.uniform(0.5, 2.5)
    alpha = _step(inside, soft)
    faint = rng.random() < 0.5
    darkness = rng.uniform(-0.4, 1.0) if faint else log_uniform(rng, 0.35, 10.0)
    layers.dark += np.float32(darkness) * alpha * _uneven(rng, layers.shape, 0.25)
    _film_texture(rng, layers, alpha, weak=abs(darkness) < 0.3)
    fringe = _rim(rng, layers, inside)
    draw = rng.random()
    keep = 0.0 if draw < 0.25 else (rng.uniform(0.0, 0.5) if draw < 0.6 else rng.uniform(0.5, 1))
    layers.particles *= 1.0 - np.float32(1.0 - keep) * alpha
    layers.add(FILM, inside > -fringe)


def _signed_distance(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Distance in px to the rim of a hole of any size near the picture; > 0 inside the hole."""
    h, w = shape
    radius = log_uniform(rng, 110.0, 1500.0)
    turn = rng.uniform(0, 2 * math.pi)
    reach = math.hypot(h, w) / 2
    if rng.random() < 0.35:  # a sliver in a corner
        offset = rng.uniform(0.55, 0.92) * reach
    else:
        offset = rng.uniform(-0.5, 0.8) * reach * 0.8
    cx = w / 2 + (offset - radius) * math.cos(turn)
    cy = h / 2 + (offset - radius) * math.sin(turn)
    y, x = np.ogrid[:h, :w]
    squash = rng.uniform(0.85, 1.18)
    distance = radius - np.hypot((x - cx) * squash, y - cy)
    if rng.random() < 0.6:
        distance = distance + rng.uniform(0.3, 5.0) * clouds(rng, shape, 1.5, finest=8.0)
    if rng.random() < 0.07:
        distance = -distance
    return np.asarray(distance, dtype=np.float32)


def _step(distance: Image, soft: float) -> Image:
    """Rise smoothly from 0 to 1 where the distance passes 0."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-distance / soft, -30, 30))), dtype=np.float32)


def _uneven(rng: np.random.Generator, shape: tuple[int, int], most: float) -> Image:
    """Return a factor around 1 that varies slowly."""
    amount = np.float32(rng.uniform(0, most))
    return np.asarray(1.0 + amount * clouds(rng, shape, 1.3, finest=8.0), dtype=np.float32)


def _film_texture(rng: np.random.Generator, layers: Layers, alpha: Image, *, weak: bool) -> None:
    """Amorphous carbon: strong phase contrast at high frequency; or gold: coarse dark grains."""
    shape = layers.shape
    if rng.random() < 0.1:  # gold foil
        grains = np.exp(0.8 * band(rng, shape, rng.uniform(4, 12)))
        strength = log_uniform(rng, 5.0, 50.0)
        layers.dark += np.float32(strength) * alpha * grains.astype(np.float32)
        return
    low = 0.9 if weak else 0.3
    amount = rng.uniform(low, 2.6) if rng.random() < 0.85 else rng.uniform(0, 0.5) + low * weak
    draw = rng.random()
    if draw < 0.7:
        grain = filtered(white(rng, shape), layers.optics.transfer(shape))
        grain /= max(float(grain.std()), 1e-9)
    elif draw < 0.85:
        grain = clouds(rng, shape, rng.uniform(0.1, 0.9), finest=rng.uniform(0.5, 3.0))
    else:
        grain = band(rng, shape, rng.uniform(3, 10))
    layers.texture += np.float32(amount) * alpha * grain


def _rim(rng: np.random.Generator, layers: Layers, inside: Image) -> float:
    """Paint rim and fringe; return how far in px beyond the edge the visible fringe reaches."""
    if rng.random() < 0.25:
        return 0.0
    scale = layers.box_size / 16.0
    width = log_uniform(rng, 0.7, 6.0) * scale
    strength = log_uniform(rng, 0.3, 9.0)
    at = rng.uniform(-0.3, 1.5) * width
    line = np.exp(-((inside - at) ** 2) / (2 * width**2))
    layers.dark += np.float32(strength) * line.astype(np.float32)
    bright = rng.uniform(0.0, 0.8) * strength
    away = at - width * rng.uniform(1.6, 3.0)
    halo = width * rng.uniform(0.7, 1.6)
    layers.dark -= np.float32(bright) * np.exp(-((inside - away) ** 2) / (2 * halo**2))
    if rng.random() < 0.4:  # further, weaker fringes
        period = width * rng.uniform(2.0, 4.0)
        wave = np.cos(2 * math.pi * inside / period) * np.exp(-np.abs(inside) / (1.5 * period))
        layers.dark += np.float32(0.3 * strength) * wave
    return float(max(0.0, min(halo - away, 12 * scale))) if bright > 1.0 else 0.0


def paint_ice(rng: np.random.Generator, layers: Layers) -> None:
    """Ice balls, hexagonal plates and other dense foreign objects, alone or in chains."""
    draw = rng.random()
    count = 1 + rng.poisson(1.5 if draw < 0.5 else (6 if draw < 0.85 else 18))
    h, w = layers.shape
    largest = log_uniform(rng, 7.0, 75.0) if count < 8 else log_uniform(rng, 6.0, 22.0)
    style = _BlobStyle.draw(rng)
    at = rng.random(2) * (w, h)
    chain = rng.random() < 0.3
    for _ in range(count):
        radius = log_uniform(rng, 4.0, max(largest, 4.5))
        if chain:
            turn = rng.uniform(0, 2 * math.pi)
            at = at + radius * rng.uniform(1.0, 2.2) * np.array([math.cos(turn), math.sin(turn)])
        else:
            at = rng.random(2) * (w, h)
        _paint_blob(rng, layers, at, radius, style)


@dataclass(frozen=True)
class _BlobStyle:
    """What the dense objects of one picture have in common."""

    contrast: float
    rim: float
    texture: float
    angular: float
    rough: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _BlobStyle:
        usual = rng.random() < 0.8
        return cls(
            contrast=rng.uniform(0.4, 3.0) if usual else log_uniform(rng, 3.0, 14.0),
            rim=rng.uniform(0.0, 2.5) if rng.random() < 0.6 else 0.0,
            texture=rng.uniform(0.0, 1.3),
            angular=float(rng.random() < 0.3),
            rough=rng.uniform(0.0, 0.25),
        )


def _outline(rng: np.random.Generator, radius: float, style: _BlobStyle) -> NDArray[np.float64]:
    """Corners (n, 2) of a closed outline around (0, 0), px."""
    stretch = np.array([rng.uniform(0.7, 1.0), rng.uniform(1.0, 1.35)]) * radius
    if style.angular and rng.random() < 0.8:
        turns = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(4, 8)))
        if rng.random() < 0.5:
            turns = np.arange(6) * math.pi / 3 + rng.normal(0, 0.12, 6)
        wobble = np.ones(len(turns))
    else:
        turns = np.linspace(0, 2 * math.pi, 40, endpoint=False)
        wobble = np.ones(40)
        for order in range(2, 6):
            phase = rng.uniform(0, 6.3)
            wobble += style.rough * rng.normal(0, 1.4 / order) * np.cos(order * turns + phase)
    points = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (wobble * 1.0)[:, None] * stretch
    spin = rng.uniform(0, math.pi)
    turned = np.array([[math.cos(spin), -math.sin(spin)], [math.sin(spin), math.cos(spin)]])
    return np.asarray(points @ turned.T)


def _paint_blob(
    rng: np.random.Generator,
    layers: Layers,
    at: NDArray[np.float64],
    radius: float,
    style: _BlobStyle,
    label: int = ICE,
) -> None:
    """Paint one dense object into a window of the layers."""
    h, w = layers.shape
    reach = math.ceil(radius * 1.8) + 8
    x0, x1 = max(0, int(at[0]) - reach), min(w, int(at[0]) + reach)
    y0, y1 = max(0, int(at[1]) - reach), min(h, int(at[1]) + reach)
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    window = (slice(y0, y1), slice(x0, x1))
    corners = np.rint((_outline(rng, radius, style) + at - (x0, y0)) * 8).astype(np.int32)
    solid = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(solid, [corners[:, None, :]], 1, cv2.LINE_8, 3)
    if not solid.any():
        return
    body = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), rng.uniform(0.5, 1.6))
    contrast = style.contrast * rng.uniform(0.6, 1.4)
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 3)
    round_top = np.ones_like(depth)
    if rng.random() < 0.5:
        round_top = np.sqrt(np.clip(depth / max(float(depth.max()), 1.0), 0, 1))
    layers.dark[window] += np.float32(contrast) * body * (0.4 + 0.6 * round_top)
    if style.rim > 0.0:
        edge = body - cv2.GaussianBlur(body, (0, 0), rng.uniform(1.0, 2.8))
        sign = 1.0 if rng.random() < 0.8 else -1.0
        layers.dark[window] += np.float32(sign * style.rim * 2.0) * edge
    grain = cv2.GaussianBlur(white(rng, body.shape), (0, 0), 0.8) * 2.2
    layers.texture[window] += np.float32(style.texture) * body * grain
    layers.particles[window] *= 1.0 - 0.8 * body
    layers.things.append(Thing(label, window, solid.astype(bool)))


def paint_aggregate(rng: np.random.Generator, layers: Layers) -> None:
    """Clumped protein: a ragged region, darker and far coarser in texture than the field."""
    shape = layers.shape
    h, w = shape
    inside = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        radius = log_uniform(rng, 9.0, 80.0)
        cx, cy = rng.uniform(0, w), rng.uniform(0, h)
        y, x = np.ogrid[:h, :w]
        away = np.hypot((x - cx) * rng.uniform(0.6, 1.6), y - cy) / radius
        inside = np.maximum(inside, 1.0 - away.astype(np.float32))
    ragged = inside + rng.uniform(0.1, 0.45) * clouds(rng, shape, 1.0, finest=4.0) * (inside > 0)
    alpha = _step(np.asarray(ragged - 0.25, dtype=np.float32), 0.06) * (inside > 0)
    grain = band(rng, shape, rng.uniform(0.25, 0.9) * layers.box_size)
    if rng.random() < 0.5:
        grain = np.asarray(np.abs(grain) * -1.2 + 0.9, dtype=np.float32)
    layers.texture += np.float32(rng.uniform(0.6, 3.2)) * alpha * grain
    layers.dark += np.float32(rng.uniform(0.0, 2.2)) * alpha
    layers.particles *= 1.0 - 0.7 * alpha
    layers.add(AGGREGATE, alpha > 0.5)


def paint_clumps(rng: np.random.Generator, layers: Layers) -> None:
    """Choose where the very particles of the field will lie jammed."""
    h, w = layers.shape
    box = layers.box_size
    inside = np.full(layers.shape, -1.0, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        at = rng.random(2) * (w, h)
        turn, length = rng.uniform(0, 2 * math.pi), int(rng.integers(1, 8))
        radius = log_uniform(rng, 0.55, 2.5) * box
        for _ in range(length):  # a clump, or a ribbon of them
            y, x = np.ogrid[:h, :w]
            away = np.hypot(x - at[0], y - at[1]) / radius
            inside = np.maximum(inside, 1.0 - away.astype(np.float32))
            turn += rng.normal(0, 0.6)
            at = at + radius * rng.uniform(0.4, 1.2) * np.array([math.cos(turn), math.sin(turn)])
    inside += rng.uniform(0.0, 0.3) * clouds(rng, layers.shape, 1.2, finest=4.0) * (inside > -0.3)
    mask = inside > 0.1
    layers.jammed = mask
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.15 * box)
    layers.dark += np.float32(rng.uniform(-0.2, 1.2)) * soft
    layers.add(AGGREGATE, mask)


def paint_network(rng: np.random.Generator, layers: Layers) -> None:
    """Dark strands between clumps, as of unfolded protein, in a part of the picture."""
    shape = layers.shape
    ridge = np.abs(clouds(rng, shape, rng.uniform(0.9, 1.5), finest=rng.uniform(3, 8)))
    where = clouds(rng, shape, 1.8, finest=20.0)
    alpha = _step(where - rng.uniform(0.3, 1.2), 0.1)
    strand = np.exp(-((ridge / rng.uniform(0.12, 0.4)) ** 2)).astype(np.float32)
    layers.dark += np.float32(rng.uniform(1.0, 4.5)) * alpha * strand
    layers.particles *= 1.0 - 0.5 * alpha
    solid = ((alpha > 0.5) & (strand > 0.2)).astype(np.uint8)
    kernel = np.ones((5, 5), np.uint8)
    layers.add(AGGREGATE, cv2.morphologyEx(solid, cv2.MORPH_CLOSE, kernel).astype(bool))


def paint_crystalline(rng: np.random.Generator, layers: Layers, whole: float = 0.5) -> None:
    """Crystalline or mottled ice: diffraction contrast in blotches, grains with dark borders."""
    shape = layers.shape
    if rng.random() < whole:
        alpha = np.ones(shape, np.float32)
    else:
        alpha = _step(clouds(rng, shape, 1.8, finest=25.0) - rng.uniform(-0.5, 1.2), 0.08)
    size = log_uniform(rng, 7.0, 45.0)
    kind = rng.random()
    if kind < 0.4:  # skewed dark blotches
        blotch = np.exp(rng.uniform(0.5, 1.0) * band(rng, shape, size)).astype(np.float32)
    elif kind < 0.6:  # grains with borders
        blotch = _grains(rng, shape, size)
    elif kind < 0.72:  # leopard skin: dark spots of one size on an even ground
        spots = band(rng, shape, rng.uniform(0.8, 2.5) * layers.box_size)
        blotch = _step(spots - rng.uniform(0.6, 1.4), rng.uniform(0.08, 0.3))
    else:  # clouds over many lengths
        blotch = clouds(rng, shape, rng.uniform(0.8, 1.6), finest=2.0) + band(rng, shape, size)
    blotch = (blotch - blotch.mean()) / max(float(blotch.std()), 1e-9)
    layers.dark += np.float32(log_uniform(rng, 1.0, 6.0)) * alpha * blotch
    layers.texture += np.float32(rng.uniform(0, 1.2)) * alpha * band(rng, shape, 6.0)
    layers.particles *= 1.0 - np.float32(rng.uniform(0.3, 1.0)) * alpha
    layers.add(CRYSTALLINE, alpha > 0.5)


def _grains(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Image:
    """Polygonal grains of unequal grey with dark borders, shape (h, w)."""
    h, w = shape
    count = max(6, int(h * w / size**2))
    seeds = np.ones(shape, np.uint8)
    seeds[rng.integers(0, h, count), rng.integers(0, w, count)] = 0
    distance, index = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    greys = rng.standard_normal(int(index.max()) + 1).astype(np.float32)
    border = cv2.morphologyEx(index.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    line = cv2.GaussianBlur(border.astype(np.float32), (0, 0), 1.2)
    return np.asarray(
        rng.uniform(0.2, 1) * cv2.GaussianBlur(greys[index], (0, 0), 1.5)
        + rng.uniform(1, 4) * line
        + 0.02 * distance,
        dtype=np.float32,
    )


def paint_vacuum(rng: np.random.Generator, layers: Layers, whole: float = 0.6) -> None:
    """Leave a place without ice: bright, nothing but shot noise, with or without an edge."""
    shape = layers.shape
    if rng.random() < whole:
        alpha = np.ones(shape, np.float32)
    else:
        inside = (
            -_signed_distance(rng, shape)
            if rng.random() < 0.5
            else np.asarray(
                (clouds(rng, shape, 1.8, finest=15.0) - rng.uniform(0.2, 1.4)) * 30, np.float32
            )
        )
        alpha = _step(inside, rng.uniform(0.6, 2.5))
        _rim(rng, layers, inside)
        layers.dark -= np.float32(rng.uniform(0.5, 7.0)) * alpha
    layers.particles *= 1.0 - alpha
    layers.solvent *= 1.0 - alpha
    layers.add(DAMAGED, alpha > 0.5)


def paint_discs(rng: np.random.Generator, layers: Layers) -> None:
    """Translucent discs: hardly darker than the field; nobody is sure about the faint ones."""
    style = _BlobStyle(rng.uniform(0.3, 1.3), rng.uniform(0, 1.0), 0.1, 0.0, 0.03)
    label = ICE if style.contrast > 0.9 else IGNORE
    for _ in range(int(rng.integers(1, 10))):
        at = rng.random(2) * layers.shape[::-1]
        _paint_blob(rng, layers, at, log_uniform(rng, 6.0, 40.0), style, label)


PAINTERS: dict[str, Callable[[np.random.Generator, Layers], None]] = {
    "film": paint_film,
    "ice": paint_ice,
    "aggregate": paint_aggregate,
    "clumps": paint_clumps,
    "network": paint_network,
    "crystalline": paint_crystalline,
    "vacuum": paint_vacuum,
    "discs": paint_discs,
    "beads": paint_beads,
    "fibres": paint_fibres,
    "crack": paint_crack,
    "beam": paint_beam,
}
"""Every contaminant by its name in a `Recipe`."""
