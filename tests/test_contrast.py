"""Dark on bright, or bright on dark."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from micscreen.contrast import decide_contrast, pick_contrast
from micscreen.picks import Picks
from micscreen.resample import resample
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
