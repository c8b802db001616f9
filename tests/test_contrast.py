"""Dark on bright, or bright on dark."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from micscreen.contrast import band_skewness, decide_contrast, pick_contrast
from micscreen.picks import Picks
from micscreen.resample import resample
from micscreen.train.contrast import fit_weights
from synthetic import BOX, field


def small(seed: int = 0, **how: object) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    image, picks = field(seed=seed, **how)  # type: ignore[arg-type]
    half = picks.rescaled(0.5)
    return resample(image, (240, 280)).image, np.stack([half.x, half.y], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_picks_decide_and_inverting_the_picture_inverts_the_answer(seed: int) -> None:
    """With picks the contrast is found and certain, dark and bright alike."""
    image, centres = small(seed)
    dark = decide_contrast(image, BOX / 2, centres)
    bright = decide_contrast(-image, BOX / 2, centres)
    assert (dark.contrast, dark.certain) == ("dark", True)
    assert (bright.contrast, bright.certain) == ("bright", True)
    assert dark.notes == ()
    assert "picks" in bright.evidence
    assert "bright on dark" in bright.notes[0]


def test_picks_weigh_more_than_what_else_is_in_the_picture() -> None:
    """Dark particles under bright dirt: the skewness says bright, the picks say dark and win."""
    image, centres = small()
    rng = np.random.default_rng(0)
    for row, column in rng.integers(10, 230, (40, 2)):
        image[row - 2 : row + 3, column - 2 : column + 3] += 60
    assert decide_contrast(image, BOX / 2).contrast == "bright"
    assert decide_contrast(image, BOX / 2, centres).contrast == "dark"


def test_without_picks_dark_dirt_decides() -> None:
    """Contaminants alone tell the contrast of an empty picture, both ways round."""
    balls = tuple((60.0 + 90 * i, 60.0 + 70 * i, 14.0) for i in range(5))
    image, _ = small(particles=0, ice=balls)
    assert decide_contrast(image, BOX / 2).contrast == "dark"
    assert decide_contrast(-image, BOX / 2).contrast == "bright"


def test_nothing_to_go_by_means_dark_and_says_so() -> None:
    """White noise is undecided: dark, not certain, with a note that names the option."""
    image = np.random.default_rng(0).standard_normal((240, 280)).astype(np.float32)
    centres = np.random.default_rng(1).uniform(0, 240, (50, 2))
    for decision in (decide_contrast(image, 16), decide_contrast(image, 16, centres)):
        assert (decision.contrast, decision.certain) == ("dark", False)
        assert "--contrast" in decision.notes[0]


def test_picks_outside_and_too_few_are_not_asked() -> None:
    """Picks beyond the edge or not finite are not counted, and a handful does not decide."""
    image, centres = small()
    away = np.array([[-50.0, 10.0], [np.nan, 5.0], [1e9, 1e9]])
    flat = image - image.mean()
    assert pick_contrast(flat, 16, np.concatenate([centres, away]))[1] == len(centres)
    few = decide_contrast(image, 16, centres[:5])
    assert "picks" not in few.evidence
    assert Picks(x=centres[:0, 0], y=centres[:0, 1]).x.size == 0


@pytest.mark.parametrize("seed", range(3))
def test_without_picks_a_dense_field_tells_its_contrast(seed: int) -> None:
    """Particles alone, no picks given, tell dark from bright, and inverting inverts the answer."""
    image, _ = small(seed, particles=400)
    assert decide_contrast(image, BOX / 2).contrast == "dark"
    inverted = decide_contrast(-image, BOX / 2)
    assert (inverted.contrast, inverted.certain) == ("bright", True)


def test_skewness_knows_no_gain_and_offset() -> None:
    """The numbers that decide without picks are the same after gain and offset."""
    image, _ = small()
    first = band_skewness(image, BOX / 2)
    np.testing.assert_allclose(band_skewness(7 * image + 300, BOX / 2), first, atol=0.01)
    np.testing.assert_allclose(band_skewness(-image, BOX / 2), -first, atol=0.01)


def test_weights_are_fitted_from_dark_fields() -> None:
    """What is negative in dark fields gets a large positive weight, the useless small ones."""
    rng = np.random.default_rng(0)
    skewness = rng.normal(0, 1, (400, 2, 5))
    skewness[:, 0, 2] -= 2
    weights = fit_weights(skewness)
    assert weights[0, 2] > 1.5
    assert np.abs(np.delete(weights.ravel(), 2)).max() < 0.8
