"""Rarer bad things, painted as in `contaminants`: gold beads, fibres, cracks, the beam's edge."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.simulate.layers import DAMAGED, ICE, Layers
from micscreen.simulate.optics import clouds, log_uniform, white


def paint_beads(rng: np.random.Generator, layers: Layers) -> None:
    """Gold beads, as used for tomography: small round discs, nearly black, with a bright ring."""
    h, w = layers.shape
    radius = log_uniform(rng, 0.08, 0.4) * layers.box_size
    mask = np.zeros(layers.shape, np.uint8)
    for _ in range(int(rng.integers(1, 16))):
        x, y = rng.random(2) * (w, h)
        size = radius * rng.uniform(0.85, 1.15)
        cv2.circle(mask, (round(x * 8), round(y * 8)), round(size * 8), 1, -1, cv2.LINE_8, 3)
    body = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.6)
    ring = cv2.GaussianBlur(body, (0, 0), 1.5) - body
    layers.dark += np.float32(log_uniform(rng, 4.0, 30.0)) * (body - rng.uniform(0, 0.6) * ring)
    layers.particles *= 1.0 - body
    layers.add(ICE, cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0)


def paint_fibres(rng: np.random.Generator, layers: Layers) -> None:
    """Fibres and dirt: long bent dark threads of uneven width, sometimes with grains on them."""
    mask = np.zeros(layers.shape, np.uint8)
    width = log_uniform(rng, 2.0, 14.0)
    for _ in range(int(rng.integers(1, 4))):
        path = _bent_path(rng, layers.shape, bend=0.12)
        for start, end in pairwise(path):
            thick = max(1, round(width * rng.uniform(0.8, 1.2)))
            first, last = np.rint(start).astype(int).tolist(), np.rint(end).astype(int).tolist()
            cv2.line(mask, first, last, 1, thick, cv2.LINE_8)
    body = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(0.6, 1.8))
    grain = 1.0 + rng.uniform(0, 0.6) * cv2.GaussianBlur(white(rng, layers.shape), (0, 0), 1.2)
    layers.dark += np.float32(log_uniform(rng, 0.8, 9.0)) * body * grain.astype(np.float32)
    layers.particles *= 1.0 - 0.8 * body
    layers.add(ICE, mask > 0)


def paint_crack(rng: np.random.Generator, layers: Layers) -> None:
    """Tear film or ice: a jagged bright band without specimen, with dark lips."""
    path = _bent_path(rng, layers.shape, bend=0.5)
    away = np.ones(layers.shape, np.uint8)
    corners = np.rint(path).astype(np.int32)[:, None, :]  # (n, 1, 2)
    cv2.polylines(away, [corners], False, 0, 1)
    distance = cv2.distanceTransform(away, cv2.DIST_L2, 3)
    distance += rng.uniform(0, 3) * clouds(rng, layers.shape, 1.3, finest=4.0)
    half = log_uniform(rng, 2.5, 25.0)
    inside = 1.0 / (1.0 + np.exp(np.clip((distance - half) / 0.8, -30, 30)))
    lip = np.exp(-(((distance - half) / rng.uniform(1.0, 3.0)) ** 2))
    bright = np.float32(log_uniform(rng, 0.8, 7.0))
    layers.dark += bright * (rng.uniform(0.1, 1.0) * lip - inside).astype(np.float32)
    layers.particles *= 1.0 - inside.astype(np.float32)
    layers.solvent *= 1.0 - inside.astype(np.float32)
    layers.add(DAMAGED, distance < half + 1.0)


def paint_beam(rng: np.random.Generator, layers: Layers) -> None:
    """End the beam: beyond a wide circle there is little light, with fringes inside."""
    h, w = layers.shape
    radius = max(h, w) * rng.uniform(0.6, 2.0)
    turn = rng.uniform(0, 2 * math.pi)
    depth = rng.uniform(0.02, 0.3) * max(h, w)
    middle = np.array([w, h]) / 2 + (math.hypot(h, w) / 2 - depth - radius) * np.array(
        [math.cos(turn), math.sin(turn)]
    )
    y, x = np.ogrid[:h, :w]
    beyond = np.hypot(x - middle[0], y - middle[1]) - radius  # > 0 outside the beam
    outside = 1.0 / (1.0 + np.exp(np.clip(-beyond / rng.uniform(1.0, 5.0), -30, 30)))
    period = rng.uniform(4.0, 14.0)
    fringe = np.cos(2 * math.pi * beyond / period) * np.exp(-np.abs(beyond) / (2 * period))
    layers.dark += np.float32(log_uniform(rng, 4.0, 20.0)) * outside.astype(np.float32)
    layers.dark += np.float32(rng.uniform(0, 1.5)) * fringe.astype(np.float32)
    layers.particles *= 1.0 - outside.astype(np.float32)
    layers.solvent *= 1.0 - outside.astype(np.float32)
    layers.add(DAMAGED, beyond > 0)


def _bent_path(
    rng: np.random.Generator, shape: tuple[int, int], bend: float
) -> NDArray[np.float64]:
    """Return corners (n, 2) of a bent line across a picture (h, w)."""
    h, w = shape
    steps = 24
    turns = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, bend, steps))
    length = math.hypot(h, w) * rng.uniform(0.6, 1.4) / steps
    path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1) * length, axis=0)
    return np.asarray(path + rng.random(2) * (w, h) - path[steps // 2])
