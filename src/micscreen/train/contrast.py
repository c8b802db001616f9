"""The weights of the contrast decision: fitted on simulated fields, measured on real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.contrast import WEIGHTS, band_skewness
from micscreen.preprocess import prepare
from micscreen.samples import load_real

BOX_PX: Final = 16.0
EVERY_SHARD: Final = 6
EVERY_SCENE: Final = 8
RIDGE: Final = 1e-3
"""Penalty on the squares of the weights, whose skewnesses are divided by their root mean square."""


def fit_weights(skewness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit how much each skewness says that particles are bright, from fields where they are dark.

    A logistic regression without intercept (by Newton's method): every field counts as seen, and
    inverted with the opposite answer.

    Parameters
    ----------
    skewness
        Shape (fields, 2, scales): `band_skewness` of fields with dark particles.

    Returns
    -------
    numpy.ndarray
        Shape (2, scales).
    """
    flat = -skewness.reshape(len(skewness), -1)
    unit = np.sqrt((flat * flat).mean(0))
    seen = flat / unit
    weights = np.zeros(seen.shape[1])
    for _ in range(30):
        wrong = 1 / (1 + np.exp(seen @ weights))
        slope = -(seen * wrong[:, None]).mean(0) + 2 * RIDGE * weights
        bend = (seen * (wrong * (1 - wrong))[:, None]).T @ seen / len(seen)
        weights -= np.linalg.solve(bend + 2 * RIDGE * np.eye(len(weights)), slope)
    return np.asarray((weights / unit).reshape(skewness.shape[1:]), np.float64)


def simulated_skewness(shards: Path) -> NDArray[np.float64]:
    """Return `band_skewness` of every `EVERY_SCENE`-th scene of every `EVERY_SHARD`-th shard."""
    rows = []
    for path in sorted(shards.glob("shard-*.npz"))[::EVERY_SHARD]:
        with np.load(path) as shard:
            images = shard["images"][::EVERY_SCENE]
        rows += [band_skewness(image.astype(np.float32), BOX_PX) for image in images]
    return np.array(rows)


def contrast_report(shards: Path | None, real: Path | None) -> str:
    """Fit the weights on shards and measure the decision on real pictures, each also inverted.

    Real pictures are asked without picks, as `micscreen mask` is.
    """
    lines = []
    if shards is not None:
        skewness = simulated_skewness(shards)
        fitted = fit_weights(skewness)
        lines += [f"{len(skewness)} simulated fields", f"weights {fitted.round(2).tolist()}"]
        odds = (np.array(WEIGHTS) * skewness).sum((1, 2))
        lines.append(f"with the weights that ship {(odds < 0).mean():.1%} are on the right side")
    if real is not None:
        pictures, right = load_real(real), 0
        for name, image, _, box in pictures:
            seen, inverted = (prepare(i, box, BOX_PX) for i in (image, -image))
            right += (seen.contrast == "dark") + (inverted.contrast == "bright")
            lines.append(
                f"{name:20} {seen.contrast:6} {inverted.contrast:6} {seen.contrast_evidence}"
            )
        lines.append(f"{right} of {2 * len(pictures)} right: seen, then inverted")
    return "\n".join(lines)
