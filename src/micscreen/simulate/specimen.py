"""What should be in a micrograph: particles of many kinds, filaments, vesicles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.simulate.optics import Image, clouds

Points = NDArray[np.float64]
"""Shape (n, 2), columns x and y, px."""

FAMILIES = ("globular", "shell", "barrel", "rod", "disc", "sphere", "lobes", "nanodisc")


@dataclass(frozen=True)
class Species:
    """Projections of one kind of particle.

    Attributes
    ----------
    views
        Shape (n, s, s), projected potential, unit root mean square inside the particle.
    diameter
        Of the particle, px.
    """

    views: Image
    diameter: float


def draw_species(
    rng: np.random.Generator, diameter: float, count: int = 12, family: str | None = None
) -> Species:
    """Build a random assembly of 3-D Gaussians of one family and project it `count` times."""
    radius = diameter / 2.0
    chosen = FAMILIES[rng.integers(len(FAMILIES))] if family is None else family
    points, sigma = _assembly(rng, chosen)
    weights = rng.uniform(0.5, 1.5, len(points)).astype(np.float32)
    turned = points @ _rotations(rng, count, preferred=rng.random() < 0.3)  # (count, n, 3)
    half = math.ceil(radius * 1.3) + 1
    axis = np.arange(-half, half + 1, dtype=np.float32)[None, :, None]
    spread = 2.0 * max(sigma * radius, 0.55) ** 2
    across = np.exp(-((axis - radius * turned[:, None, :, 0]) ** 2) / spread)  # (count, s, n)
    along = np.exp(-((axis - radius * turned[:, None, :, 1]) ** 2) / spread)  # (count, s, n)
    views = (along * weights) @ across.transpose(0, 2, 1)  # (count, s, s)
    inside = axis[0] ** 2 + axis[0].T ** 2 <= radius**2
    scale = np.sqrt(np.mean(views[:, inside] ** 2)) + 1e-9
    return Species(np.asarray(views / scale, dtype=np.float32), diameter)


def _assembly(rng: np.random.Generator, family: str) -> tuple[Image, float]:
    """Points (n, 3) in the unit ball and the Gaussian width, both in units of the radius."""
    if family == "globular":
        points = _ball(rng, int(rng.integers(5, 24))) * 0.75
        sigma = rng.uniform(0.18, 0.4)
    elif family == "shell":
        points = _sphere(rng, 90) * 0.85
        sigma = rng.uniform(0.10, 0.2)
    elif family == "barrel":
        turn, height = rng.uniform(0, 2 * math.pi, 70), rng.uniform(0.4, 1.0)
        side = rng.uniform(0.35, 0.7)
        z = rng.choice(np.linspace(-height, height, 4), 70)
        points = np.stack([side * np.cos(turn), side * np.sin(turn), z], axis=1)
        sigma = rng.uniform(0.12, 0.2)
    elif family == "rod":
        points = _ball(rng, 24) * rng.uniform(0.1, 0.3)
        points[:, 0] = np.linspace(-0.9, 0.9, 24)
        sigma = rng.uniform(0.12, 0.25)
    elif family == "disc":
        turn, away = rng.uniform(0, 2 * math.pi, 80), np.sqrt(rng.uniform(0.3, 1, 80)) * 0.85
        points = np.stack([away * np.cos(turn), away * np.sin(turn), 0 * away], axis=1)
        sigma = rng.uniform(0.12, 0.22)
    elif family == "sphere":
        points = _ball(rng, 50) * 0.8
        sigma = rng.uniform(0.25, 0.35)
    elif family == "nanodisc":  # a belt of lipid with a protein through and beyond it
        turn, away = rng.uniform(0, 2 * math.pi, 60), np.sqrt(rng.uniform(0.2, 1, 60)) * 0.85
        belt = np.stack([away * np.cos(turn), away * np.sin(turn), rng.uniform(-0.2, 0.2, 60)], 1)
        protein = _ball(rng, 20) * 0.35
        protein[:, 2] += rng.uniform(-0.2, 0.6)
        points = np.concatenate([belt, protein])
        sigma = rng.uniform(0.12, 0.2)
    else:
        lobes = _sphere(rng, int(rng.integers(2, 5))) * 0.6
        points = np.concatenate([lobe + 0.3 * _ball(rng, 8) for lobe in lobes])
        sigma = rng.uniform(0.15, 0.28)
    return np.asarray(points, dtype=np.float32), float(sigma)


def _sphere(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    points = rng.standard_normal((count, 3))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


def _ball(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return _sphere(rng, count) * np.cbrt(rng.random((count, 1)))


def _rotations(rng: np.random.Generator, count: int, *, preferred: bool) -> Image:
    """Rotation matrices (count, 3, 3); if preferred, only turns in the plane and small tilts."""
    q = rng.standard_normal((count, 4))
    if preferred:
        q[:, 1:3] *= 0.15
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.asarray(rows, dtype=np.float32).transpose(2, 0, 1)  # (count, 3, 3)


def scatter(
    rng: np.random.Generator, shape: tuple[int, int], spacing: float, style: str
) -> NDArray[np.float64]:
    """Draw particle centres.

    Parameters
    ----------
    rng, shape
        Source of chance; (h, w) px.
    spacing
        Typical distance of neighbours, px.
    style
        ``even`` (a disturbed hexagonal grid with gaps), ``random`` (overlaps happen),
        ``patchy`` (density follows smooth clouds) or ``lattice`` (a 2-D crystal, whole or broken).

    Returns
    -------
    Shape (n, 2), columns x and y, px.
    """
    h, w = shape
    if style == "random":
        count = rng.poisson(0.7 * h * w / spacing**2)
        return np.asarray(rng.random((count, 2)) * (w, h))
    if style == "lattice":
        return _crystal(rng, shape, spacing)
    rows = np.arange(-1, h / (spacing * 0.866) + 1)
    columns = np.arange(-1, w / spacing + 1)
    x = (columns[None, :] + 0.5 * (rows[:, None] % 2)) * spacing
    y = np.broadcast_to(rows[:, None] * spacing * 0.866, x.shape)
    points = np.stack([x.ravel(), y.ravel()], axis=1) + rng.uniform(0, spacing, 2)
    loose = rng.uniform(0.1, 0.45)
    points = _inside(points + rng.standard_normal(points.shape) * loose * spacing * 0.6, shape)
    if style == "patchy":
        density = clouds(rng, shape, 1.6, finest=spacing)
        at = _at(density, points)
        return np.asarray(points[at + 0.3 * rng.standard_normal(len(at)) > rng.uniform(-0.6, 0.8)])
    return np.asarray(points[rng.random(len(points)) < rng.uniform(0.45, 1.0)])


def _crystal(rng: np.random.Generator, shape: tuple[int, int], spacing: float) -> Points:
    """Draw a 2-D lattice (n, 2) in any direction, often broken: gaps, two domains, loose places."""
    result = _grid(rng, shape, spacing)
    domain = clouds(rng, shape, 1.8, finest=spacing)
    draw = rng.random()
    if draw < 0.3:
        result = result[_at(domain, result) > rng.uniform(-1.5, 0.3)]
    elif draw < 0.5:
        edge, other = rng.uniform(-0.7, 0.7), _grid(rng, shape, spacing)
        first, second = _at(domain, result) > edge, _at(domain, other) <= edge
        result = np.concatenate([result[first], other[second]])
    elif draw < 0.75:
        result = result + rng.standard_normal(result.shape) * spacing * rng.uniform(0.03, 0.2)
    return _inside(result, shape)


def _grid(rng: np.random.Generator, shape: tuple[int, int], spacing: float) -> Points:
    """Draw the nodes (n, 2) of a perfect lattice that covers a picture."""
    h, w = shape
    count = math.ceil(0.75 * math.hypot(h, w) / spacing) + 1
    i, j = np.mgrid[-count : count + 1, -count : count + 1].reshape(2, -1)
    turn = rng.uniform(0, math.pi)
    angle = rng.choice([math.pi / 3, math.pi / 2, rng.uniform(1.0, 2.0)])
    long = spacing * rng.uniform(1.0, 1.4)
    x = i * spacing * math.cos(turn) + j * long * math.cos(turn + angle) + w / 2
    y = i * spacing * math.sin(turn) + j * long * math.sin(turn + angle) + h / 2
    points = np.stack([x, y], axis=1) + rng.standard_normal((len(x), 2)) * 0.02 * spacing
    return _inside(points, shape)


def _inside(points: Points, shape: tuple[int, int]) -> Points:
    """Return the points (n, 2) that lie within a picture."""
    h, w = shape
    return points[(points >= 0).all(1) & (points[:, 0] < w) & (points[:, 1] < h)]


def _at(field: Image, points: Points) -> NDArray[np.float32]:
    """Return the values of a field (h, w) at points (n, 2)."""
    h, w = field.shape
    x, y = np.clip(points[:, 0], 0, w - 1).astype(int), np.clip(points[:, 1], 0, h - 1).astype(int)
    return np.asarray(field[y, x])


def stamp(
    rng: np.random.Generator,
    canvas: Image,
    species: Species,
    points: NDArray[np.float64],
    strength: NDArray[np.float32] | None = None,
) -> None:
    """Add one random view of the species to the canvas (h, w) at every point (n, 2)."""
    count, size, _ = species.views.shape
    half = size // 2
    padded = np.zeros((canvas.shape[0] + 2 * size, canvas.shape[1] + 2 * size), np.float32)
    corners = np.rint(points).astype(int) + size - half
    which = rng.integers(0, count, len(points))
    for i, (column, row) in enumerate(corners):
        view = species.views[which[i]]
        patch = padded[row : row + size, column : column + size]
        patch += view if strength is None else view * strength[i]
    canvas += padded[size:-size, size:-size]


def filaments(rng: np.random.Generator, canvas: Image, width: float) -> None:
    """Add a few long, slightly bent filaments of the given width in px to the canvas (h, w).

    A third of the pictures has tubes, which are hollow, instead.
    """
    h, w = canvas.shape
    hollow = rng.random() < 0.33
    for _ in range(int(rng.integers(1, 12))):
        turn = rng.uniform(0, 2 * math.pi)
        turns = turn + np.cumsum(rng.standard_normal(60)) * rng.uniform(0.0, 0.08)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * max(h, w) / 40
        path = np.cumsum(steps, axis=0)
        path += (rng.uniform(0, w), rng.uniform(0, h)) - path[30]
        layer = np.zeros_like(canvas)
        _line(layer, path, max(1, round(width)))
        soft = cv2.GaussianBlur(layer, (0, 0), 0.6 + 0.15 * width)
        if hollow and width >= 4:
            inner = np.zeros_like(canvas)
            _line(inner, path, max(1, round(0.5 * width)))
            soft -= 0.8 * cv2.GaussianBlur(inner, (0, 0), 0.6)
        canvas += soft


def vesicles(rng: np.random.Generator, canvas: Image, diameter: float) -> None:
    """Add closed thin membranes, whole or slightly bent, to the canvas (h, w)."""
    h, w = canvas.shape
    layer = np.zeros_like(canvas)
    turns = np.linspace(0, 2 * math.pi, 64, endpoint=True)
    for _ in range(int(rng.integers(1, 25))):
        radius = diameter * rng.uniform(0.5, 2.2)
        wave = 1 + rng.uniform(0, 0.12) * np.cos(rng.integers(2, 4) * turns + rng.uniform(0, 6))
        path = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (radius * wave)[:, None]
        _line(layer, path + np.array([rng.uniform(0, w), rng.uniform(0, h)]), 1)
    canvas += cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.6, 1.1)) * 2.0


def _line(layer: Image, path: NDArray[np.float64], width: int) -> None:
    corners = np.rint(path * 8).astype(np.int32)[:, None, :]  # (n, 1, 2), 1/8 px
    cv2.polylines(layer, [corners], False, 1.0, width, cv2.LINE_AA, 3)
