"""The story: a micrograph and its picks in, maps and scored picks out."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micscreen.cleaning import Cleaned, CleanSettings, clean
from micscreen.errors import MicrographError, UsageError
from micscreen.micrograph import Micrograph
from micscreen.model.backend import FakeBackend
from micscreen.picks import CLASS_NAMES, REASONS, Picks
from micscreen.score import ScoreRule, keep
from micscreen.tiles import TileSettings
from synthetic import BOX, field

BACKEND = FakeBackend()
ICE = ((120.0, 140.0, 24.0), (330.0, 380.0, 20.0))
SETTINGS = CleanSettings(box_size=BOX)


def scene(seed: int = 0) -> tuple[Micrograph, Picks]:
    """A field with two ice balls, and picks on particles and on the balls."""
    image, picks = field((480, 560), ice=ICE, seed=seed)
    x = np.concatenate([picks.x, [ball[0] for ball in ICE]])
    y = np.concatenate([picks.y, [ball[1] for ball in ICE]])
    return Micrograph(image, 1.5, "scene"), Picks(x=x, y=y, box_size=BOX)


def kept(cleaned: Cleaned) -> np.ndarray:
    assert cleaned.picks is not None and cleaned.picks.goodness is not None
    return keep(cleaned.picks.goodness, 0.8)


def test_picks_on_ice_go_and_the_others_stay() -> None:
    """The two picks on ice balls are rejected as ice, nearly all on particles away from it stay."""
    micrograph, picks = scene()
    cleaned = clean(micrograph, picks, BACKEND, SETTINGS)
    found = cleaned.picks
    assert found is not None and found.class_index is not None and found.reason is not None
    assert not kept(cleaned)[-2:].any()
    assert [CLASS_NAMES[i] for i in found.class_index[-2:]] == ["ice_contamination"] * 2
    near = [np.hypot(picks.x - x, picks.y - y) < radius + 0.75 * BOX for x, y, radius in ICE]
    away = ~np.any(near, axis=0)
    assert kept(cleaned)[away].mean() > 0.95
    assert found.distance is not None and (found.distance[-2:] == 0).all()
    assert (found.distance[away] > 0.2 * BOX).mean() > 0.95
    assert cleaned.maps.shape == (6, 240, 280)
    assert 0.005 < cleaned.class_area["ice_contamination"] < 0.1
    assert abs(sum(cleaned.class_area.values()) - 1) < 1e-9
    assert cleaned.suspect == ()


def test_what_came_in_is_handed_back_untouched() -> None:
    """Coordinates, order and the picker's own score are the very same; inputs are not changed."""
    micrograph, picks = scene()
    picks = replace(picks, figure_of_merit=np.arange(len(picks), dtype=np.float64))
    image = micrograph.image.copy()
    found = clean(micrograph, picks, BACKEND, SETTINGS).picks
    assert found is not None and found.x is picks.x and found.y is picks.y
    assert found.figure_of_merit is picks.figure_of_merit
    assert picks.goodness is None
    np.testing.assert_array_equal(micrograph.image, image)


def test_without_picks_there_are_maps_alone() -> None:
    """None gives the mask only; zero picks give zero scored picks and the same mask."""
    micrograph, _ = scene()
    none = clean(micrograph, None, BACKEND, SETTINGS)
    zero = clean(micrograph, Picks(x=np.empty(0), y=np.empty(0)), BACKEND, SETTINGS)
    assert none.picks is None
    assert zero.picks is not None and zero.picks.goodness is not None and len(zero.picks) == 0
    np.testing.assert_array_equal(none.maps, zero.maps)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 50), st.sampled_from(["x", "y", "turn"]))
def test_turning_picture_and_picks_changes_no_decision(seed: int, how: str) -> None:
    """Flips and transposes of the micrograph with its picks give the same goodness."""
    micrograph, picks = scene(seed)
    h, w = micrograph.shape
    first = clean(micrograph, picks, BACKEND, SETTINGS)
    if how == "x":
        image, turned = micrograph.image[:, ::-1], replace(picks, x=w - 1 - picks.x)
    elif how == "y":
        image, turned = micrograph.image[::-1], replace(picks, y=h - 1 - picks.y)
    else:
        image, turned = micrograph.image.T, replace(picks, x=picks.y, y=picks.x)
    second = clean(Micrograph(image, 1.5), turned, BACKEND, SETTINGS)
    assert first.picks is not None and second.picks is not None
    np.testing.assert_allclose(first.picks.goodness, second.picks.goodness, atol=0.02)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 50), st.sampled_from([2, 3]))
def test_the_scale_of_the_picture_changes_no_decision(seed: int, scale: int) -> None:
    """The same field with two or three times the pixels, box and picks scaled with it, gives the
    same goodness and the same distances in Å.
    """
    micrograph, picks = scene(seed)
    large = np.kron(micrograph.image, np.ones((scale, scale), np.float32))
    first = clean(micrograph, picks, BACKEND, SETTINGS)
    second = clean(
        Micrograph(large, 1.5 / scale),
        picks.rescaled(scale),
        BACKEND,
        CleanSettings(box_size=BOX * scale),
    )
    assert first.picks is not None and second.picks is not None
    np.testing.assert_allclose(first.picks.goodness, second.picks.goodness, atol=1e-3)
    np.testing.assert_allclose(
        first.picks.distance * scale, second.picks.distance, rtol=1e-3, atol=0.5
    )


@pytest.mark.parametrize("kind", ["box", "centre", "distance"])
def test_other_micrographs_give_the_same_decisions(kind: str) -> None:
    """Screening the same field with half the pixels, with box scale 0.5, decides the same for
    picks that stay in px of the picked micrograph, and so do the distances.
    """
    micrograph, picks = scene()
    image = micrograph.image
    half = cv2.resize(image, (280, 240), interpolation=cv2.INTER_AREA)
    rule = ScoreRule(kind, 60.0)  # type: ignore[arg-type]
    first = clean(micrograph, picks, BACKEND, replace(SETTINGS, rule=rule))
    second = clean(
        Micrograph(half, 3.0), picks, BACKEND, replace(SETTINGS, rule=rule, box_scale=0.5)
    )
    assert first.picks is not None and second.picks is not None
    assert second.picks.x is picks.x
    np.testing.assert_allclose(first.picks.goodness, second.picks.goodness, atol=1e-3)
    np.testing.assert_allclose(first.picks.distance, second.picks.distance, atol=0.1)


def test_inverted_micrographs_are_recognised() -> None:
    """Bright particles on dark, contrast auto: the same goodness, and a note that says so."""
    micrograph, picks = scene()
    first = clean(micrograph, picks, BACKEND, SETTINGS)
    second = clean(Micrograph(-micrograph.image), picks, BACKEND, SETTINGS)
    assert (first.contrast, second.contrast) == ("dark", "bright")
    assert second.notes and "bright on dark" in second.notes[0]
    assert first.picks is not None and second.picks is not None
    np.testing.assert_allclose(first.picks.goodness, second.picks.goodness, atol=1e-4)


def test_tiles_change_nothing() -> None:
    """A picture cut into tiles gets the same scores as at once."""
    micrograph, picks = scene()
    small = TileSettings(limit=64, side=128, halo=24, blend=8)
    first = clean(micrograph, picks, BACKEND, SETTINGS)
    second = clean(micrograph, picks, BACKEND, replace(SETTINGS, tiles=small))
    assert first.picks is not None and second.picks is not None
    np.testing.assert_allclose(first.picks.goodness, second.picks.goodness, atol=1e-5)


def test_a_frame_costs_no_pick_beside_it() -> None:
    """Zeros around the image, as motion correction leaves them, reject only picks in them."""
    micrograph, picks = scene()
    image = np.pad(micrograph.image, 48)
    moved = replace(
        picks, x=np.append(picks.x + 48, [10.0, 300.0]), y=np.append(picks.y + 48, [200.0, 570.0])
    )
    first = clean(micrograph, picks, BACKEND, SETTINGS)
    second = clean(Micrograph(image), moved, BACKEND, SETTINGS)
    assert second.picks is not None and second.picks.reason is not None
    assert (kept(first) == kept(second)[:-2]).mean() > 0.96
    assert [REASONS[i] for i in second.picks.reason[-2:]] == ["no_image"] * 2
    assert not kept(second)[-2:].any()
    assert second.suspect == ()


def test_errors_name_the_micrograph() -> None:
    """A constant image and an impossible box are errors that say which micrograph."""
    picks = scene()[1]
    with pytest.raises(MicrographError, match=r"flat: .*constant"):
        clean(Micrograph(np.zeros((64, 64)), 1.0, "flat"), picks, BACKEND, SETTINGS)
    with pytest.raises(MicrographError, match=r"scene: .*box of 900 px"):
        clean(scene()[0], picks, BACKEND, CleanSettings(box_size=900))
    for wrong in ({"box_size": 0.0}, {"box_size": 5.0, "box_scale": float("nan")}):
        with pytest.raises(UsageError):
            CleanSettings(**wrong)
    with pytest.raises(UsageError, match="--pixel-size"):
        rule = ScoreRule("distance", 100.0)
        clean(Micrograph(scene()[0].image), picks, BACKEND, replace(SETTINGS, rule=rule))


def test_the_timings_account_for_the_time() -> None:
    """Time per step is told, and its sum is the time it took."""
    micrograph, picks = scene()
    start = time.perf_counter()
    cleaned = clean(micrograph, picks, BACKEND, SETTINGS)
    took = time.perf_counter() - start
    assert set(cleaned.timings) == {"prepare", "predict", "score"}
    assert 0.5 * took < sum(cleaned.timings.values()) <= took


def test_the_preview_is_the_picture() -> None:
    """The 8-bit preview has the maps' size and follows the micrograph's grey values."""
    micrograph, picks = scene()
    cleaned = clean(micrograph, picks, BACKEND, SETTINGS)
    small = cv2.resize(micrograph.image, (280, 240), interpolation=cv2.INTER_AREA)
    assert cleaned.preview.dtype == np.uint8 and cleaned.preview.shape == (240, 280)
    assert np.corrcoef(cleaned.preview.ravel(), small.ravel())[0, 1] > 0.9
