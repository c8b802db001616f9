"""Area resampling, and the repair of what is not image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from micscreen.errors import MicrographError
from micscreen.resample import resample
from synthetic import field

DTYPES = ("u1", "i1", "i2", "u2", "f2", "f4", "f8", ">f4", ">i2", ">u2")


def noise(shape: tuple[int, int] = (200, 260), seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(60, 15, shape).astype(np.float32)


def exact_area(image: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Average by areas, by the definition: overlap of every old with every new pixel."""

    def overlap(old: int, new: int) -> NDArray[np.float64]:
        edges = np.arange(new + 1) * old / new
        low = np.maximum(edges[:-1, None], np.arange(old)[None])
        high = np.minimum(edges[1:, None], np.arange(old)[None] + 1)
        return np.maximum(high - low, 0) * new / old

    return overlap(image.shape[0], shape[0]) @ image @ overlap(image.shape[1], shape[1]).T


@settings(deadline=None, max_examples=30)
@given(st.integers(40, 90), st.integers(40, 90), st.data())
def test_shrinking_averages_areas_exactly(h: int, w: int, data: st.DataObject) -> None:
    """For every pair of sizes, each new pixel is the mean over its own area of old pixels."""
    shape = (data.draw(st.integers(12, h)), data.draw(st.integers(12, w)))
    image = noise((h, w))
    found = resample(image, shape)
    np.testing.assert_allclose(found.image, exact_area(image.astype(float), shape), atol=1e-3)
    assert not found.empty.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_byte_order_gives_the_same_picture(dtype: str) -> None:
    """The same numbers in another dtype or byte order are resampled to the same values."""
    image = np.clip(np.rint(noise()), 0, 120)
    expected = resample(image.astype(np.float32), (33, 47)).image
    np.testing.assert_allclose(resample(image.astype(dtype), (33, 47)).image, expected, atol=1e-3)


def test_views_turned_upside_down_are_read_correctly() -> None:
    """Negative strides, as a flipped TIFF has them, and columns in Fortran order are no matter."""
    image = noise()
    flipped = resample(image[::-1], (33, 47)).image
    np.testing.assert_allclose(flipped, resample(image, (33, 47)).image[::-1], atol=1e-3)
    fortran = resample(np.asfortranarray(image), (33, 47)).image
    np.testing.assert_array_equal(fortran, resample(image, (33, 47)).image)


def test_the_micrograph_is_never_written_to() -> None:
    """A read-only image with holes and hot pixels is repaired in the result, not in place."""
    image = noise()
    image[3, 4], image[50:90, 50:90] = 1e9, np.nan
    before = image.copy()
    image.setflags(write=False)
    for shape in ((40, 52), (300, 390)):
        resample(image, shape)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 3e38, 2e4, -2e4])
@pytest.mark.parametrize("shape", [(40, 52), (150, 190), (200, 260), (260, 338)])
def test_a_hot_pixel_does_not_shine_through(value: float, shape: tuple[int, int]) -> None:
    """Single pixels that are not finite or absurd leave no trace beyond the picture's own noise."""
    image = noise()
    clean = resample(image, shape).image
    for y, x in ((0, 0), (77, 101), (199, 259), (100, 3)):
        image[y, x] = value
    found = resample(image, shape)
    usable = ~found.empty
    assert np.abs(found.image - clean)[usable].max() < 5 * clean.std()
    assert np.isfinite(found.image).all()
    assert found.empty.sum() <= 16


@pytest.mark.parametrize("sigmas", [40, 400])
def test_real_dark_objects_are_left_alone(sigmas: float) -> None:
    """A gold bead forty or four hundred sigmas deep is image: it is not taken for hot pixels."""
    image = noise((400, 400))
    y, x = np.mgrid[:400, :400]
    image[np.hypot(x - 200, y - 200) < 45] -= sigmas * 1.5
    expected = cv2.resize(image, (40, 40), interpolation=cv2.INTER_AREA)
    found = resample(image, (40, 40))
    inner = np.s_[17:23, 17:23]
    np.testing.assert_allclose(found.image[inner], expected[inner], atol=0.01)
    assert not found.empty.any()
    if sigmas == 40:
        np.testing.assert_allclose(found.image, expected, atol=0.01)


def test_a_hole_is_empty_and_only_the_hole() -> None:
    """An area of NaN is reported as empty, pixel by pixel, and the rest keeps its values."""
    image, _ = field((400, 400))
    whole = resample(image, (100, 100)).image
    image[100:200, 40:80] = np.nan
    found = resample(image, (100, 100))
    expected = np.zeros((100, 100), np.bool_)
    expected[25:50, 10:20] = True
    np.testing.assert_array_equal(found.empty, expected)
    np.testing.assert_allclose(found.image[~expected], whole[~expected], atol=0.01)


def test_scattered_nan_everywhere_still_gives_a_picture() -> None:
    """With NaN in every footprint (5 % of all pixels) the rest of each footprint is averaged."""
    image, _ = field((400, 400))
    whole = resample(image, (40, 40)).image
    image[np.random.default_rng(1).random(image.shape) < 0.05] = np.nan
    found = resample(image, (40, 40))
    assert not found.empty.any()
    assert np.abs(found.image - whole).max() < 10


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.full((64, 64), 7, np.int16), "constant"),
        (np.full((64, 64), 0.1, np.float32), "constant"),
        (np.full((64, 64), np.nan, np.float32), "usable"),
        (np.full((64, 64), np.inf, np.float32), "usable"),
    ],
)
@pytest.mark.parametrize("side", [40, 90])
def test_an_image_of_nothing_is_refused_in_words(
    image: NDArray[np.generic], word: str, side: int
) -> None:
    """Constant and all-NaN images raise MicrographError that says so, with what to do."""
    with pytest.raises(MicrographError, match=word) as caught:
        resample(image, (side, side))
    assert caught.value.hint


def test_a_faint_image_on_a_large_offset_is_not_constant() -> None:
    """Contrast of a ten-thousandth of the mean is still contrast."""
    image = 30000 + noise() * 0.02
    assert resample(image.astype(np.float32), (100, 130)).image.std() > 0.1
