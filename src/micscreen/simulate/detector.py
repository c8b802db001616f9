"""Illumination, drift, camera and what programs do to pictures afterwards."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.simulate.optics import Image, clouds, log_uniform, standardised

IGNORE = 255

Labels = NDArray[np.uint8]


def illumination(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Uneven brightness (h, w) in standard deviations of the field: ramps and dark corners."""
    h, w = shape
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    result = np.zeros(shape, np.float32)
    if rng.random() < 0.55:
        turn = rng.uniform(0, 2 * math.pi)
        ramp = x * np.float32(math.cos(turn)) + y * np.float32(math.sin(turn))
        result += np.float32(log_uniform(rng, 0.05, 3.0)) * ramp
    if rng.random() < 0.35:  # a dark corner or side: thicker ice towards the rim of the hole
        cx, cy = rng.uniform(-0.8, 0.8, 2)
        away = np.hypot(x - np.float32(cx), y - np.float32(cy)) / rng.uniform(1.2, 2.0)
        steep = rng.uniform(2.0, 7.0)
        result -= np.float32(log_uniform(rng, 0.3, 5.0)) * away ** np.float32(steep)
    if rng.random() < 0.3:
        result += np.float32(rng.uniform(0.05, 0.6)) * clouds(rng, shape, 2.2)
    return result


def drifted(rng: np.random.Generator, image: Image) -> Image:
    """Smear an image (h, w) along one direction, as uncorrected motion does."""
    length = int(rng.integers(5, 28))
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    turn = rng.uniform(0, math.pi)
    step = length / 2 * np.array([math.cos(turn), math.sin(turn)])
    first, last = np.rint(length - step).astype(int), np.rint(length + step).astype(int)
    cv2.line(kernel, first.tolist(), last.tolist(), 1.0, 1)
    kernel /= kernel.sum()
    smeared = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smeared, dtype=np.float32)


def processed(rng: np.random.Generator, image: Image) -> Image:
    """Apply one to three of the things programs do: smoothing, band-pass, 8 bit, JPEG, curves."""
    steps = rng.choice(len(_STEPS), size=int(rng.integers(1, 4)), replace=False)
    for step in sorted(steps):
        image = _STEPS[step](rng, standardised(image))
    return image


def _denoise(rng: np.random.Generator, image: Image) -> Image:
    if rng.random() < 0.25:
        grey, low, high = _to_bytes(image, 0.2)
        smooth = cv2.medianBlur(grey, 3)
        return _from_bytes(smooth, low, high)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6)), dtype=np.float32)


def _band_pass(rng: np.random.Generator, image: Image) -> Image:
    low = cv2.GaussianBlur(image, (0, 0), log_uniform(rng, 10.0, 80.0))
    return np.asarray(image - np.float32(rng.uniform(0.5, 1.0)) * low, dtype=np.float32)


def _equalise(rng: np.random.Generator, image: Image) -> Image:
    grey, _, _ = _to_bytes(image, 0.3)
    tiles = int(rng.integers(2, 7))
    clahe = cv2.createCLAHE(clipLimit=float(rng.uniform(1.0, 4.0)), tileGridSize=(tiles, tiles))
    return np.asarray(clahe.apply(grey), dtype=np.float32)


def _stretch(rng: np.random.Generator, image: Image) -> Image:
    grey, low, high = _to_bytes(image, log_uniform(rng, 0.01, 4.0))
    if rng.random() < 0.3:
        curve = 255.0 * (np.arange(256) / 255.0) ** rng.uniform(0.6, 1.6)
        grey = np.rint(curve).astype(np.uint8)[grey]
    return _from_bytes(grey, low, high)


def _jpeg(rng: np.random.Generator, image: Image) -> Image:
    grey, low, high = _to_bytes(image, 0.1)
    ok, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))])
    assert ok
    decoded = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    return _from_bytes(np.asarray(decoded, dtype=np.uint8), low, high)


_STEPS = (_denoise, _band_pass, _equalise, _stretch, _jpeg)


def _to_bytes(image: Image, clip_percent: float) -> tuple[Labels, float, float]:
    low, high = np.percentile(image, [clip_percent, 100.0 - clip_percent])
    scaled = (image - low) * (255.0 / max(float(high - low), 1e-9))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), float(low), float(high)


def _from_bytes(grey: Labels, low: float, high: float) -> Image:
    return (grey.astype(np.float32) * np.float32((high - low) / 255.0)) + np.float32(low)


def gain_errors(rng: np.random.Generator, image: Image) -> Image:
    """Return an image (h, w) whose sensor parts differ a little: steps and stripes that are good.

    A wrong or old gain reference leaves them; nothing of the specimen is hidden.
    """
    h, w = image.shape
    spread = np.float32(image.std())
    pattern = np.zeros((h, w), np.float32)
    for axis, side in enumerate((h, w)):
        if rng.random() < 0.6:  # sensor blocks
            cuts = np.sort(rng.integers(0, side, int(rng.integers(1, 5))))
            levels = rng.normal(0, 0.35, len(cuts) + 1)
            steps = levels[np.searchsorted(cuts, np.arange(side), side="right")]
        else:  # read-out columns
            steps = rng.normal(0, 0.12, side)
        pattern += np.expand_dims(steps, 1 - axis).astype(np.float32)
    return np.asarray(image + spread * pattern, dtype=np.float32)


def hot_pixels(rng: np.random.Generator, image: Image) -> None:
    """Make single pixels much brighter or darker in place; they hide nothing."""
    count = int(rng.integers(1, 25))
    rows = rng.integers(0, image.shape[0], count)
    columns = rng.integers(0, image.shape[1], count)
    image[rows, columns] += np.float32(image.std()) * rng.normal(0, 12, count).astype(np.float32)


def dead_lines(rng: np.random.Generator, image: Image, classes: Labels) -> None:
    """Overwrite a few rows or columns in place; nobody can say what lies under them (255)."""
    picture, truth = (image, classes) if rng.random() < 0.5 else (image.T, classes.T)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, picture.shape[0]))
        width = int(rng.integers(1, 4))
        spread = float(image.std())
        picture[at : at + width] += np.float32(rng.normal(0, 4) * spread)
        truth[max(0, at - 1) : at + width + 1] = IGNORE


def border(rng: np.random.Generator, image: Image, classes: Labels) -> None:
    """Overwrite one to four sides in place, as motion correction leaves them (255).

    Either a constant, or the last row repeated to the edge as stripes, often of high contrast.
    """
    spread = float(image.std())
    striped = rng.random() < 0.6
    gain = rng.uniform(1.0, 4.0)
    level = np.float32(np.median(image) + rng.normal(0, 2) * spread)
    sides = rng.permutation(4)[: int(rng.integers(1, 5))]
    width = int(rng.integers(2, 20))
    for side in sides:
        picture, truth = image, classes
        if side % 2:
            picture, truth = picture.T, truth.T
        if side // 2:
            picture, truth = picture[::-1], truth[::-1]
        middle = np.median(picture[width])
        picture[:width] = middle + gain * (picture[width] - middle) if striped else level
        truth[:width] = IGNORE
