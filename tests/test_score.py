"""Goodness, class, distance and reason of picks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from micscreen.errors import UsageError
from micscreen.picks import CLASS_NAMES, REASONS, Picks
from micscreen.score import ScoreRule, keep, score

ICE, FILM = CLASS_NAMES.index("ice_contamination"), CLASS_NAMES.index("support_film")
RULES = (ScoreRule(), ScoreRule("centre"), ScoreRule("distance", 60.0))


def maps_with(bad: NDArray[np.float32], class_: int = ICE) -> NDArray[np.float32]:
    maps = np.zeros((6, *bad.shape), np.float32)
    maps[class_] = bad
    maps[0] = 1 - bad
    return maps


def blob(shape: tuple[int, int], x: float, y: float, radius: float) -> NDArray[np.float32]:
    """A bad region that falls off from its centre, in px of the map."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    distance = np.hypot(columns - x, rows - y)
    return np.clip(1.5 - distance / radius, 0, 1).astype(np.float32)


def at(*places: tuple[float, float], box: float | None = 40.0) -> Picks:
    array = np.array(places, np.float64).reshape(-1, 2)
    return Picks(x=array[:, 0], y=array[:, 1], box_size=box)


def goodness(
    picks: Picks, maps: NDArray[np.float32], shape: tuple[int, int], rule: ScoreRule
) -> NDArray[np.float32]:
    found = score(picks, maps, shape, rule, pixel_size=1.0).goodness
    assert found is not None
    return found


@settings(deadline=None, max_examples=40)
@given(st.floats(-30, 330), st.floats(-30, 230), st.floats(5, 90), st.integers(0, 9))
def test_the_box_rule_is_the_mean_over_the_box(x: float, y: float, box: float, seed: int) -> None:
    """Goodness is 1 minus the mean over the box, edges weighted, clipped at the picture's edge:
    against a brute-force mean on a fine grid.
    """
    bad = np.random.default_rng(seed).random((40, 60)).astype(np.float32)
    found = goodness(at((x, y), box=box), maps_with(bad), (200, 300), ScoreRule())[0]
    if not (-0.5 <= x <= 299.5 and -0.5 <= y <= 199.5):
        assert found == 0
        return
    steps = (np.arange(400) + 0.5) / 400 * box - box / 2 + 0.5
    columns, rows = (x + steps) / 5, (y + steps) / 5
    columns = columns[(columns >= 0) & (columns < 60)].astype(int)
    rows = rows[(rows >= 0) & (rows < 40)].astype(int)
    assert abs(found - (1 - bad[np.ix_(rows, columns)].mean())) < 0.02


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 100), st.sampled_from(RULES), st.sampled_from(["x", "y", "turn"]))
def test_turned_pictures_give_the_same_scores(seed: int, rule: ScoreRule, how: str) -> None:
    """Flips and transposes of picture and picks together change no score."""
    rng = np.random.default_rng(seed)
    bad = blob((41, 53), *rng.uniform(5, 40, 2), 9)
    h, w = 410, 530
    picks = Picks(x=rng.uniform(-5, w + 5, 60), y=rng.uniform(-5, h + 5, 60), box_size=70.0)
    first = score(picks, maps_with(bad), (h, w), rule, pixel_size=1.0)
    if how == "x":
        turned, flipped, shape = bad[:, ::-1], replace(picks, x=w - 1 - picks.x), (h, w)
    elif how == "y":
        turned, flipped, shape = bad[::-1], replace(picks, y=h - 1 - picks.y), (h, w)
    else:
        turned, flipped, shape = bad.T, replace(picks, x=picks.y, y=picks.x), (w, h)
    second = score(flipped, maps_with(turned), shape, rule, pixel_size=1.0)
    for name in ("goodness", "distance"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=2e-3)
    np.testing.assert_array_equal(first.reason, second.reason)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 100), st.sampled_from(RULES), st.sampled_from([0.5, 2.0, 3.0]))
def test_the_pixel_size_of_the_micrograph_does_not_matter(
    seed: int, rule: ScoreRule, scale: float
) -> None:
    """The same field with two or three times the pixels, or half, gives the same decisions, and
    distances that scale with it.
    """
    rng = np.random.default_rng(seed)
    maps = maps_with(blob((40, 50), *rng.uniform(5, 40, 2), 9))
    picks = Picks(x=rng.uniform(0, 499, 60), y=rng.uniform(0, 399, 60), box_size=64.0)
    shape = (int(400 * scale), int(500 * scale))
    first = score(picks, maps, (400, 500), rule, pixel_size=1.0)
    second = score(picks.rescaled(scale), maps, shape, rule, pixel_size=1.0 / scale)
    np.testing.assert_allclose(first.goodness, second.goodness, atol=1e-5)
    np.testing.assert_array_equal(first.class_index, second.class_index)
    np.testing.assert_allclose(first.distance * scale, second.distance, rtol=1e-4, atol=1e-3)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.sampled_from(RULES), st.floats(4, 12))
def test_moving_towards_a_bad_region_never_raises_goodness(
    seed: int, rule: ScoreRule, radius: float
) -> None:
    """On the way from anywhere to the middle of a bad region goodness only falls, and so does the
    distance to it.
    """
    rng = np.random.default_rng(seed)
    maps = maps_with(blob((60, 60), 30, 30, radius))
    start = rng.uniform(150, 450, 2)
    way = np.linspace(0, 1, 40)[:, None]
    path = start * (1 - way) + np.array([299.5, 299.5]) * way
    picks = Picks(x=path[:, 0], y=path[:, 1], box_size=50.0)
    found = score(picks, maps, (600, 600), rule, pixel_size=1.0)
    assert (found.goodness - np.minimum.accumulate(found.goodness)).max() <= 0.02
    assert np.diff(found.distance).max() <= 2.0


def test_each_rule_looks_where_it_says() -> None:
    """A bad spot in the box's corner counts for `box` a little, for `centre` nothing, and for
    `distance` wholly when it is near enough.
    """
    bad = np.zeros((40, 40), np.float32)
    bad[22:24, 22:24] = 1  # px 220 to 239 of the micrograph
    picks, maps = at((200, 200), box=80.0), maps_with(bad)
    assert abs(goodness(picks, maps, (400, 400), ScoreRule())[0] - (1 - 400 / 6400)) < 0.01
    assert goodness(picks, maps, (400, 400), ScoreRule("centre"))[0] == 1
    assert goodness(picks, maps, (400, 400), ScoreRule("distance", 20.0))[0] == 1
    assert goodness(picks, maps, (400, 400), ScoreRule("distance", 50.0))[0] == 0
    half_as_far = score(picks, maps, (400, 400), ScoreRule("distance", 50.0), pixel_size=2.5)
    assert half_as_far.goodness is not None and half_as_far.goodness[0] == 1


def test_class_is_what_weighs_most_in_the_neighbourhood() -> None:
    """The class that condemns has the largest mass in the box; a pick with little bad has none."""
    maps = np.zeros((6, 40, 40), np.float32)
    maps[FILM, :, :10] = 0.7
    maps[ICE, :, :10] = 0.3
    maps[ICE, :, 30:] = 0.9
    maps[0] = 1 - maps[1:].sum(axis=0)
    found = score(at((30, 200), (380, 200), (200, 200), (128, 200)), maps, (400, 400))
    np.testing.assert_array_equal(found.class_index, [FILM, ICE, 0, 0])
    assert [REASONS[i] for i in found.reason] == ["bad_region", "bad_region", "good", "good"]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 100), st.sampled_from(RULES), st.floats(0, 0.9))
def test_every_rejected_pick_has_a_class_or_a_reason(
    seed: int, rule: ScoreRule, threshold: float
) -> None:
    """At any threshold up to 0.9 a rejected pick can say why."""
    rng = np.random.default_rng(seed)
    bad = rng.random((30, 30)).astype(np.float32) ** 3
    picks = Picks(x=rng.uniform(-9, 310, 80), y=rng.uniform(-9, 310, 80), box_size=40.0)
    found = score(picks, maps_with(bad), (300, 300), rule, pixel_size=1.0)
    rejected = ~keep(found.goodness, threshold)
    assert (found.reason[rejected] != REASONS.index("good")).all()
    named = found.reason == REASONS.index("bad_region")
    np.testing.assert_array_equal(named, found.class_index > 0)


def test_distances_are_measured_to_the_edge_of_the_nearest_bad_pixel() -> None:
    """In px of the micrograph: 0 inside, exact along a straight edge, inf when nothing is bad."""
    bad = np.zeros((40, 40), np.float32)
    bad[:, :10] = 1  # the edge lies at x = 99.5
    picks = at((50, 200), (149.5, 200), (349.5, 33))
    found = score(picks, maps_with(bad), (400, 400))
    np.testing.assert_allclose(found.distance, [0, 50, 250], atol=1.0)
    nothing = score(picks, maps_with(0 * bad), (400, 400))
    assert np.isinf(nothing.distance).all() and (nothing.goodness == 1).all()
    everything = score(picks, maps_with(0 * bad + 1), (400, 400))
    assert (everything.distance == 0).all() and (everything.goodness == 0).all()


@pytest.mark.parametrize("rule", RULES)
def test_picks_off_the_picture_are_outside_frame(rule: ScoreRule) -> None:
    """Centres beyond the edge, or not finite, have goodness 0 with that reason; on the edge not."""
    picks = at((-0.6, 5), (5, 399.6), (np.nan, 5), (1e12, 5), (-0.4, 5), (399.4, 399.4))
    maps = maps_with(np.zeros((40, 40), np.float32))
    found = score(picks, maps, (400, 400), rule, pixel_size=1.0)
    np.testing.assert_array_equal(found.goodness, [0, 0, 0, 0, 1, 1])
    assert [REASONS[i] for i in found.reason] == ["outside_frame"] * 4 + ["good"] * 2


@pytest.mark.parametrize("rule", RULES)
def test_where_there_is_no_image_counts_for_nothing(rule: ScoreRule) -> None:
    """A pick in a dead area is refused as such; one beside it is judged by the image in its box."""
    valid = np.ones((40, 40), np.bool_)
    valid[:, :10] = False
    bad = np.where(valid, 0, 1).astype(np.float32)
    found = score(
        at((50, 200), (105, 200)), maps_with(bad), (400, 400), rule, pixel_size=1.0, valid=valid
    )
    np.testing.assert_allclose(found.goodness, [0, 1], atol=1e-6)
    assert [REASONS[i] for i in found.reason] == ["no_image", "good"]


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_a_goodness_equal_to_the_threshold_is_kept(thousandths: int) -> None:
    """0.8 is kept at 0.8, whatever single and double precision make of it."""
    threshold = thousandths / 1000
    values = np.array([threshold, 1 - (1 - threshold)], np.float32)
    assert keep(values, threshold)[0]
    assert keep(np.nextafter(values, np.float32(2)), threshold)[0]
    assert not keep(np.nextafter(values[:1], np.float32(-1)), threshold)[0] or threshold == 0


def test_minus_one_keeps_all() -> None:
    """The threshold -1 keeps every pick, those outside the frame too."""
    assert keep(np.array([0, 0.5, 1], np.float32), -1).all()
    np.testing.assert_array_equal(keep(np.array([0, 0.5, 1], np.float32), 1.0), [0, 0, 1])


def test_no_picks_are_scored_to_no_picks() -> None:
    """Zero picks give empty columns of the right types, for every rule."""
    for rule in RULES:
        found = score(at(), maps_with(np.ones((4, 4), np.float32)), (40, 40), rule, pixel_size=1.0)
        assert found.goodness is not None and found.goodness.dtype == np.float32
        assert found.class_index is not None and found.class_index.dtype == np.uint8
        assert len(found) == 0


def test_what_a_rule_lacks_is_said() -> None:
    """A rule without its box or pixel size raises UsageError that names the option."""
    maps = maps_with(np.ones((4, 4), np.float32))
    with pytest.raises(UsageError, match="--box-size"):
        score(at((1, 1), box=None), maps, (40, 40))
    with pytest.raises(UsageError, match="--pixel-size"):
        score(at((1, 1)), maps, (40, 40), ScoreRule("distance", 50.0))
    with pytest.raises(UsageError, match="--distance"):
        ScoreRule("distance")
