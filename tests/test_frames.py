"""Frames, dead areas, and how they are filled."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from micscreen.frames import dead_areas, find_frame, mend
from micscreen.resample import resample
from synthetic import field


def picture(seed: int = 0) -> NDArray[np.float32]:
    return resample(field(seed=seed)[0], (240, 280)).image


@pytest.mark.parametrize("kind", ["constant", "stripes", "zero"])
def test_each_kind_of_frame_is_found_on_its_side(kind: str) -> None:
    """Constant borders and repeated edge pixels are cut from the side where they are, exactly."""
    image = picture()
    if kind == "stripes":
        image[:, :12] = image[:, 12:13]
        image[230:] = image[229:230]
    else:
        image[:, :12] = 0 if kind == "zero" else image.mean()
        image[230:] = 0 if kind == "zero" else image.mean()
    top, bottom, left, right = find_frame(image)
    assert (top, right) == (0, 280)
    assert 12 <= left <= 14
    assert 227 <= bottom <= 230


def test_the_blurred_rim_of_a_frame_goes_with_it() -> None:
    """A denoised picture smears image into its frame: rows that are mostly frame are cut too."""
    image = cv2.GaussianBlur(picture(), (0, 0), 1.5)
    image[:, :12] = image[:, 12:13]
    smeared = cv2.GaussianBlur(image, (9, 1), 2.0)
    change = np.abs(np.diff(smeared, axis=1)).mean(axis=0)
    left = find_frame(smeared)[2]
    assert left > np.flatnonzero(change > 0.1 * np.median(change))[0] + 1
    assert left <= 14


def test_a_picture_without_frame_loses_nothing() -> None:
    """Ordinary pictures keep every row and column, with film and gradient too."""
    for seed in range(5):
        image = picture(seed)
        assert find_frame(image) == (0, 240, 0, 280)
    image, _ = field(film_from=300)
    image += np.linspace(0, 300, image.shape[0], dtype=np.float32)[:, None]
    assert find_frame(image) == (0, *image.shape[:1], 0, image.shape[1])


def test_an_outermost_row_of_its_own_is_cut() -> None:
    """A single deviating row or column at the edge, as detectors leave it, is not image."""
    image = picture()
    image[0] += 40 * image.std()
    image[:, -1] -= 40 * image.std()
    assert find_frame(image) == (1, 240, 0, 279)


def test_large_dead_areas_count_and_small_ones_do_not() -> None:
    """A constant area of more than a box is no image; the clipped core of a particle is."""
    image, empty = picture(), np.zeros((240, 280), np.bool_)
    image[100:130, 50:90] = 7.5
    image[30:36, 30:36] = 7.5
    dead = dead_areas(image, empty, 16)
    assert dead[100:130, 50:90].all()
    assert dead.sum() == 30 * 40
    empty[200:210, 200:210], empty[5, 5] = True, True
    assert dead_areas(image, empty, 16).sum() == 30 * 40 + 100


def test_mended_holes_look_like_their_surroundings() -> None:
    """A filled hole has the local mean and the picture's texture, and is the same every time."""
    image = picture()
    image += np.linspace(0, 50, 280, dtype=np.float32)
    holes = np.zeros(image.shape, np.bool_)
    holes[60:160, 150:260] = True
    broken = np.where(holes, 0, image).astype(np.float32)
    filled = mend(broken, holes)
    np.testing.assert_array_equal(filled[~holes], image[~holes])
    inside = np.s_[100:120, 190:210]
    assert abs(filled[inside].mean() - image[inside].mean()) < 2 * image.std()
    assert 0.6 < filled[inside].std() / image[inside].std() < 1.6
    np.testing.assert_array_equal(filled, mend(broken, holes))
