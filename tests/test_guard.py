"""The domain guard speaks when it should, and is silent when it should."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from micscreen.guard import mean_width, suspect
from micscreen.picks import Picks
from micscreen.preprocess import ModelInput, prepare
from micscreen.simulate import simulate_micrograph
from synthetic import BOX, field

SHAPE = (480, 560)


def seen(**how: object) -> tuple[ModelInput, Picks]:
    image, picks = field(SHAPE, **how)  # type: ignore[arg-type]
    return prepare(image, BOX, 16, contrast="dark"), picks


def maps_with(bad: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([1 - bad, bad]).astype(np.float32)


def keys(reasons: tuple[str, ...]) -> list[str]:
    return [reason.split(": ")[0] for reason in reasons]


def test_an_ordinary_micrograph_is_not_suspect() -> None:
    """Particles with some film and ice found give no reason."""
    view, picks = seen(film_from=420.0, ice=((100.0, 100.0, 20.0),))
    bad = np.zeros(view.valid.shape, np.float32)
    bad[:, 210:] = 1
    assert suspect(maps_with(bad), view.channels, view.valid, 16, picks, SHAPE) == ()


def test_an_almost_wholly_bad_picture_is_suspect() -> None:
    """More than 80 % bad is said, with the share of the image without frame and dead areas."""
    view, picks = seen()
    valid = view.valid.copy()
    valid[:, 100:] = False
    bad = np.zeros(valid.shape, np.float32)
    bad[:, :90] = 1
    reasons = suspect(maps_with(bad), view.channels, valid, 16, picks, SHAPE)
    assert keys(reasons) == ["mostly_bad"]
    assert "90%" in reasons[0]
    assert suspect(maps_with(bad), view.channels, view.valid, 16, picks, SHAPE) == ()


def test_picks_on_bad_in_a_good_picture_are_inverted() -> None:
    """When the picks are what is called bad and the rest is good, the mask may be inverted; a
    handful of such picks, or a bad picture, does not say so.
    """
    view, picks = seen()
    here = picks.rescaled(0.5)
    y, x = np.mgrid[:240, :280]
    near = np.min([np.hypot(x - a, y - b) for a, b in zip(here.x, here.y, strict=True)], axis=0)
    bad = (near < 4).astype(np.float32)
    assert keys(suspect(maps_with(bad), view.channels, view.valid, 16, picks, SHAPE)) == [
        "inverted"
    ]
    few = Picks(x=picks.x[:5], y=picks.y[:5])
    assert suspect(maps_with(bad), view.channels, view.valid, 16, few, SHAPE) == ()
    film = np.ones_like(bad)
    film[:70] = 0
    on_film = Picks(x=np.linspace(20, 540, 40), y=np.linspace(200, 460, 40))
    assert suspect(maps_with(film), view.channels, view.valid, 16, on_film, SHAPE) == ()


def test_an_undecided_network_is_unsure() -> None:
    """A contamination near one half over most of the image is said."""
    view, _ = seen()
    bad = np.full(view.valid.shape, 0.45, np.float32)
    assert keys(suspect(maps_with(bad), view.channels, view.valid, 16)) == ["unsure"]


def test_pictures_that_are_no_micrographs_are_told() -> None:
    """White noise is featureless; printed text and a bare ramp are unlike any micrograph."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2048, 2048)).astype(np.float32)
    y, x = np.mgrid[:1024, :1024].astype(np.float32)
    ramp = x + y + 3 * rng.standard_normal(x.shape).astype(np.float32)
    text = np.full((1024, 1024), 255, np.uint8)
    for line in range(20, 1024, 24):
        words = "The quick brown fox jumps over the lazy dog " * 2
        cv2.putText(text, words, (10, line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 0, 1)
    told = ((noise, 100, "featureless"), (ramp, 40, "unlike"), (text, 24, "unlike"))
    for picture, box, key in told:
        view = prepare(picture, box, 16, contrast="dark")
        maps = maps_with(np.zeros(view.valid.shape, np.float32))
        assert keys(suspect(maps, view.channels, view.valid, 16)) == [key]


@pytest.mark.parametrize(("shape", "told"), [((60, 200), True), ((70, 200), False)])
def test_a_box_that_fills_the_picture_is_suspect(shape: tuple[int, int], told: bool) -> None:
    """A box of more than a quarter of the short side is said."""
    channels = seen()[0].channels
    maps = maps_with(np.zeros(shape, np.float32))
    reasons = suspect(maps, channels, np.ones(shape, np.bool_), 16)
    assert (keys(reasons) == ["box_size"]) is told


def test_hundreds_of_boxes_along_a_side_are_suspect() -> None:
    """A box so small that more than 200 fit along the picture is said."""
    channels, shape = seen()[0].channels, (100, 3300)
    maps = maps_with(np.zeros(shape, np.float32))
    assert keys(suspect(maps, channels, np.ones(shape, np.bool_), 16)) == ["box_size"]


@pytest.mark.parametrize(
    ("seed", "factor", "found"),
    [(12, 1 / 3, "small"), (12, 0.75, ""), (12, 1.0, ""), (12, 1.3, ""), (11, 3.0, "large")],
)
def test_a_box_that_the_particles_do_not_go_with(seed: int, factor: float, found: str) -> None:
    """The mean of the picks tells a box that is several times too small or too large, and says
    nothing of one that is somewhat wrong.
    """
    made = simulate_micrograph("clean", (1600, 1600), 80.0, seed=seed)
    picks = Picks(x=made.x, y=made.y)
    view = prepare(made.image, 80.0 * factor, 16, contrast="dark", picks=picks)
    reasons = suspect(
        maps_with(np.zeros(view.valid.shape, np.float32)), view.channels, view.valid, 16, picks,
        made.image.shape, view.centres(picks, made.image.shape),
    )  # fmt: skip
    assert keys(reasons) == (["box_size"] if found else [])
    assert found in "".join(reasons)


def test_the_mean_of_picks_anywhere_says_nothing() -> None:
    """Picks that are on nothing, and too few picks, give no width; a disc gives its diameter."""
    rng = np.random.default_rng(3)
    image = rng.standard_normal((600, 600)).astype(np.float32)
    anywhere = rng.uniform(0, 600, (200, 2))
    assert mean_width(image, 16, anywhere) is None
    on = rng.integers(4, 20, (60, 2)) * 28.0
    for x, y in on:
        cv2.circle(image, (int(x), int(y)), 5, -3.0, -1)
    assert mean_width(image, 16, on) == pytest.approx(10 / 16, abs=0.08)
    assert mean_width(image, 16, on[:15]) is None
