"""Picks are consistent, and geometry goes there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micscreen.errors import PicksError
from micscreen.picks import Picks


@given(st.floats(0.05, 20), st.lists(st.floats(-100, 20_000), max_size=20))
def test_rescaling_goes_there_and_back(scale: float, values: list[float]) -> None:
    """Rescaled by a factor and by its inverse, picks and box are where they were."""
    x = np.array(values)
    picks = Picks(x=x, y=x[::-1].copy(), box_size=200.0)
    back = picks.rescaled(scale).rescaled(1 / scale)
    assert np.allclose(back.x, picks.x, atol=1e-6)
    assert np.allclose(back.y, picks.y, atol=1e-6)
    assert back.box_size == pytest.approx(200.0)


def test_the_centre_of_the_field_stays_the_centre() -> None:
    """The centre of a 100 px row is the centre of the same field at 50 px."""
    picks = Picks(x=np.array([49.5]), y=np.array([49.5])).rescaled(0.5)
    assert picks.x[0] == 24.5


def test_a_subset_carries_everything() -> None:
    """A subset keeps each column's rows together, and the box."""
    n = 5
    picks = Picks(
        x=np.arange(n) * 1.0,
        y=np.arange(n) * 2.0,
        box_size=30.0,
        figure_of_merit=np.arange(n) * 3.0,
        goodness=np.linspace(0, 1, n, dtype=np.float32),
    )
    some = picks.subset(np.array([False, True, False, True, False]))
    assert some.x.tolist() == [1, 3]
    assert some.y.tolist() == [2, 6]
    assert some.figure_of_merit is not None
    assert some.figure_of_merit.tolist() == [3, 9]
    assert some.goodness is not None
    assert some.goodness.tolist() == [0.25, 0.75]
    assert some.box_size == 30.0
    assert some.class_index is None


def test_columns_of_different_length_are_refused() -> None:
    """x and y of different lengths, two-dimensional x, and an impossible box raise PicksError."""
    with pytest.raises(PicksError, match="shape"):
        Picks(x=np.zeros(3), y=np.zeros(2))
    with pytest.raises(PicksError, match=r"\(n,\)"):
        Picks(x=np.zeros((3, 2)), y=np.zeros((3, 2)))
    with pytest.raises(PicksError, match="box"):
        Picks(x=np.zeros(3), y=np.zeros(3), box_size=0)
