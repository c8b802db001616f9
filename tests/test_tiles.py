"""Tiles give what the whole gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from micscreen.errors import UsageError
from micscreen.model.backend import FakeBackend
from micscreen.tiles import TileSettings, predict_whole

SMALL = TileSettings(limit=64, side=96, halo=24, blend=12, multiple=8)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 100))
def test_tiles_equal_the_whole_for_any_size(rows: int, columns: int, seed: int) -> None:
    """With a halo of the receptive radius, tiled and whole maps agree everywhere."""
    channels = np.random.default_rng(seed).normal(-1, 1, (3, 8 * rows, 8 * columns))
    channels = channels.astype(np.float32)
    backend = FakeBackend()
    whole = backend.predict(channels[None])[0]
    np.testing.assert_allclose(predict_whole(backend.predict, channels, SMALL), whole, atol=1e-5)


def test_tiles_are_small_aligned_and_only_made_when_needed() -> None:
    """Every call gets at most one tile, cut at multiples; what fits is predicted at once."""
    seen = []

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append((batch.shape, int(batch[0, 0, 0, 0]), int(batch[0, 1, 0, 0])))
        return np.full((1, 6, *batch.shape[2:]), 0.25, np.float32)

    y, x = np.mgrid[:200, :304].astype(np.float32)
    maps = predict_whole(predict, np.stack([y, x, y]), SMALL)
    np.testing.assert_allclose(maps, 0.25, atol=1e-6)
    assert all(shape[2:] == (96, 96) for shape, *_ in seen)
    assert all(top % 8 == 0 and left % 8 == 0 for _, top, left in seen)
    seen.clear()
    predict_whole(predict, np.stack([y, x, y])[:, :64, :64], SMALL)
    assert len(seen) == 1


def test_a_disagreement_between_tiles_fades() -> None:
    """Even when tiles disagree wholly, neighbouring pixels of the result differ little: no seam."""
    calls = iter(range(100))

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full((1, 1, *batch.shape[2:]), float(next(calls) % 2), np.float32)

    maps = predict_whole(predict, np.zeros((3, 96, 400), np.float32), SMALL)
    assert maps.max() == 1 and maps.min() == 0
    assert np.abs(np.diff(maps[0], axis=1)).max() < 2 / SMALL.blend


def test_tiles_that_cannot_cover_are_refused() -> None:
    """A halo that eats the whole tile is an error at birth, not a gap in the mask."""
    with pytest.raises(UsageError):
        TileSettings(side=256, halo=120, blend=32)
    with pytest.raises(UsageError):
        TileSettings(side=100)
