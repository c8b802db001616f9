"""From a micrograph to the network's input, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from micscreen.errors import MicrographError, UsageError
from micscreen.preprocess import BINS, _percentiles, back, enlarge, normalise, prepare
from synthetic import BOX, field


@settings(deadline=None, max_examples=25)
@given(
    st.integers(120, 500),
    st.integers(120, 500),
    st.floats(12, 60),
    st.sampled_from([8, 16, 32]),
    st.integers(0, 60),
)
def test_what_goes_out_comes_back_in_place(
    h: int, w: int, box: float, multiple: int, margin: int
) -> None:
    """For any size, box, margin and multiple, `back` undoes the padding exactly."""
    image, _ = field((h, w), particles=5)
    if min(h, w) * 16 / box < 33:
        return
    seen = prepare(image, box, 16, contrast="dark", margin=margin, multiple=multiple)
    assert seen.channels.shape[1] % multiple == 0
    assert seen.channels.shape[2] % multiple == 0
    top, bottom, left, right = seen.crop
    expected = normalise(seen.picture[top:bottom, left:right])
    maps = back(seen.channels, seen)
    assert maps.shape[1:] == seen.valid.shape == (round(h * 16 / box), round(w * 16 / box))
    np.testing.assert_array_equal(maps[:, top:bottom, left:right], expected)


def test_normalisation_is_what_its_name_says() -> None:
    """Channels are asinh of a robust z-score, the same high-passed, and the log local deviation:
    against the definition with NumPy's own functions.
    """
    image = field()[0][:200, :220] / 7 + 3
    p16, p50, p84 = np.percentile(image, [15.865, 50, 84.135])
    expected = np.arcsinh((image - p50) / ((p84 - p16) / 2))
    channels = normalise(image.astype(np.float32))
    np.testing.assert_allclose(channels[0], expected, atol=1e-4)
    assert abs(np.median(channels[1])) < 1e-4
    assert abs(np.median(channels[2])) < 1e-4


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["normal", "whole", "outlier", "flat", "edges"]),
    st.floats(0, 100),
)
def test_percentiles_are_those_of_numpy(h: int, w: int, seed: int, kind: str, at: float) -> None:
    """Whatever the values, the percentiles by histogram are exactly those by sorting."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((h, w))
    if kind == "whole":
        image = np.round(image)
    elif kind == "outlier":
        image[0, 0] = rng.choice([-1e30, 1e30])
    elif kind == "flat":
        image[:] = 3
    elif kind == "edges":  # on the borders of the bins, where a histogram may decide either way
        image = rng.integers(0, BINS + 1, (h, w)) / BINS
    image = image.astype(np.float32)
    expected = np.percentile(image.astype(np.float64), [at, 50.0])
    np.testing.assert_allclose(_percentiles(image, at, 50.0), expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=15)
@given(st.floats(0.001, 1000), st.floats(-1e4, 1e4))
def test_gain_and_offset_of_the_camera_do_not_matter(gain: float, offset: float) -> None:
    """Any positive gain and any offset give the network the same picture."""
    image = field()[0][:160, :160].astype(np.float64)
    image -= image.mean()
    plain = normalise(image.astype(np.float32))
    offset *= min(gain, 1.0)
    changed = normalise((image * gain + offset).astype(np.float32))
    np.testing.assert_allclose(changed, plain, atol=0.02)


def test_an_inverted_micrograph_becomes_the_same_input() -> None:
    """Bright particles on dark, told or found out from the picks, give what dark ones give."""
    image, picks = field()
    dark = prepare(image, BOX, 16, contrast="dark")
    told = prepare(-image, BOX, 16, contrast="bright")
    found = prepare(-image, BOX, 16, picks=picks)
    assert found.contrast == "bright"
    np.testing.assert_allclose(told.channels, dark.channels, atol=1e-4)
    np.testing.assert_allclose(found.channels, dark.channels, atol=1e-4)


@pytest.mark.parametrize("stripes", [True, False])
def test_a_frame_changes_nothing_inside(stripes: bool) -> None:
    """With a frame around it, the image gets the same channels as without, and no pixel of the
    frame counts as image.
    """
    image, _ = field((480, 480))
    framed = np.pad(image, 40, mode="edge") if stripes else np.pad(image, 40)
    seen = prepare(framed, BOX, 16, contrast="dark")
    top, bottom, left, right = seen.crop
    assert 20 <= top <= 22 and 20 <= left <= 22 and 258 <= bottom <= 260 and 258 <= right <= 260
    assert not seen.valid[:20].any() and not seen.valid[:, 261:].any()
    assert seen.valid[22:258, 22:258].all()
    alone = prepare(image, BOX, 16, contrast="dark")
    assert alone.crop == (0, 240, 0, 240)
    inside = back(seen.channels, seen)[:, 40:240, 40:240]
    np.testing.assert_allclose(inside, back(alone.channels, alone)[:, 20:220, 20:220], atol=0.1)
    assert "frame" in seen.notes[0]


def test_the_frame_comes_back_as_good() -> None:
    """Maps have class 0 with certainty where there is no image."""
    framed = np.pad(field((480, 480))[0], 40)
    seen = prepare(framed, BOX, 16, contrast="dark")
    maps = np.full((6, *seen.channels.shape[1:]), 1 / 6, np.float32)
    whole = back(maps, seen)
    assert (whole[0][~seen.valid] == 1).all()
    assert (whole[1:, ~seen.valid] == 0).all()
    np.testing.assert_allclose(whole.sum(axis=0), 1, atol=1e-6)


def test_dead_areas_are_not_judged_and_do_not_disturb() -> None:
    """A dead block (NaN or zero) is not valid; away from it the channels stay as they were."""
    image, _ = field((480, 480))
    plain = prepare(image, BOX, 16, contrast="dark")
    for value in (np.nan, 0.0):
        broken = image.copy()
        broken[100:200, 300:400] = value
        seen = prepare(broken, BOX, 16, contrast="dark")
        assert not seen.valid[52:98, 152:198].any()
        assert 0.95 < seen.valid.mean() < 0.97
        there, here = back(plain.channels, plain), back(seen.channels, seen)
        assert np.abs(here - there)[:, 140:].max() < 0.3
        assert "constant or dead" in seen.notes[0]


def test_small_and_large_boxes_are_said_in_words() -> None:
    """A box far too large or small for the picture is an error that names it; a tiny one a note."""
    image, _ = field((480, 480))
    with pytest.raises(MicrographError, match="box of 400 px") as caught:
        prepare(image, 400, 16)
    assert "too large" in (caught.value.hint or "")
    with pytest.raises(MicrographError, match="far too small"):
        prepare(np.broadcast_to(image[:1, :1], (9000, 9000)), 1.0, 16)
    with pytest.raises(UsageError):
        prepare(image, 0, 16)
    assert "too little detail" in prepare(image, 5, 16, contrast="dark").notes[0]
    assert prepare(image, 160, 16, contrast="dark").valid.shape == (48, 48)


def test_a_particle_of_a_third_of_the_picture_still_works() -> None:
    """Large particles leave a small picture at model scale, which is still prepared."""
    seen = prepare(field((480, 480))[0], 160, 16, contrast="dark")
    assert seen.channels.shape == (3, 144, 144)
    assert np.isfinite(seen.channels).all()


@pytest.mark.parametrize("shape", [(50, 70), (400, 300), (33, 201)])
def test_enlarging_a_map_keeps_its_place_and_range(shape: tuple[int, int]) -> None:
    """A map at another size covers the same field: its centre of mass stays, nothing overshoots."""
    small: NDArray[np.float32] = np.zeros((50, 70), np.float32)
    small[20:30, 40:60] = 1
    large = enlarge(small, shape)
    assert large.shape == shape
    assert large.min() >= 0 and large.max() <= 1
    y, x = np.mgrid[: shape[0], : shape[1]]
    assert math.isclose((y + 0.5)[large > 0.5].mean() / shape[0], 25 / 50, abs_tol=0.02)
    assert math.isclose((x + 0.5)[large > 0.5].mean() / shape[1], 50 / 70, abs_tol=0.02)
