"""Questions to the truth of a scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from micscreen.simulate.scene import Scene


def picks_on_bad(
    scene: Scene, count: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw false picks: places on bad pixels (classes 1 to 5), as a careless picker makes them.

    Parameters
    ----------
    scene
        Where to pick.
    count
        How many; fewer come back only when the scene has no bad pixel (none then).
    seed
        Any integer >= 0.

    Returns
    -------
    x and y, each of shape (n,), px of the scene.
    """
    rng = np.random.default_rng([seed, 40])
    bad = np.flatnonzero((scene.classes > 0) & (scene.classes < 255))
    if bad.size == 0 or count <= 0:
        return np.empty(0), np.empty(0)
    row, column = np.unravel_index(rng.choice(bad, count), scene.classes.shape)
    return column + rng.uniform(-0.5, 0.5, count), row + rng.uniform(-0.5, 0.5, count)
