"""Pictures that do not fit at once: overlapping tiles with a halo, blended without seams.

Tiles are cut from the normalised whole, so that neighbours see the same contrast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import UsageError

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(n, 3, H, W) -> (n, k, H, W)."""


@dataclass(frozen=True, slots=True)
class TileSettings:
    """How a picture is cut.

    Attributes
    ----------
    limit
        A picture with no side longer than this is predicted at once, px at model scale.
    side
        Side of a tile, px; a multiple of `multiple`.
    halo
        Of each tile, this many px along inner edges are not used: at least the network's
        receptive radius, then tiles give what the whole would give.
    blend
        Over this many px inwards of the halo, one tile fades into the next.
    multiple
        Tiles start at multiples of this, so that the network's coarse grids coincide.
    """

    limit: int = 1536
    side: int = 1024
    halo: int = 288
    blend: int = 32
    multiple: int = 8

    def __post_init__(self) -> None:
        if self.side % self.multiple or self.side - 2 * self.halo - self.blend < self.multiple:
            raise UsageError(
                f"tiles of {self.side} px with a halo of {self.halo} and {self.blend} px of "
                f"blending, at multiples of {self.multiple}, cannot cover a picture"
            )


def predict_whole(
    predict: Predict, channels: NDArray[np.float32], settings: TileSettings | None = None
) -> NDArray[np.float32]:
    """Predict one picture, in tiles when it is too large.

    Parameters
    ----------
    predict
        The network: (n, 3, H, W) to (n, k, H, W).
    channels
        Shape (3, H, W), float32; H and W multiples of the network's.

    Returns
    -------
    Shape (k, H, W), float32.
    """
    settings = settings or TileSettings()
    _, height, width = channels.shape
    if max(height, width) <= settings.limit:
        whole: NDArray[np.float32] = predict(channels[None])[0]  # (k, H, W)
        return whole
    rows, columns = _spans(height, settings), _spans(width, settings)
    blended: NDArray[np.float32] | None = None
    for top, bottom in rows:
        fade_y = _fade(top, bottom, height, settings)[:, None]  # (h, 1)
        for left, right in columns:
            fade_x = _fade(left, right, width, settings)  # (w,)
            tile = np.ascontiguousarray(channels[:, top:bottom, left:right])
            maps = predict(tile[None])[0]  # (k, h, w)
            if blended is None:
                blended = np.zeros((len(maps), height, width), np.float32)
            blended[:, top:bottom, left:right] += maps * (fade_y * fade_x)
    assert blended is not None
    blended /= _total(rows, height, settings)[:, None]
    blended /= _total(columns, width, settings)
    return blended


def _spans(length: int, settings: TileSettings) -> list[tuple[int, int]]:
    """Return where tiles start and stop along one axis."""
    if length <= settings.side:
        return [(0, length)]
    step = settings.side - 2 * settings.halo - settings.blend
    step -= step % settings.multiple
    starts = [*range(0, length - settings.side, step), length - settings.side]
    return [(start, start + settings.side) for start in starts]


def _fade(start: int, stop: int, length: int, settings: TileSettings) -> NDArray[np.float32]:
    """Return a tile's weight along one axis: 0 in the halo, a ramp, 1 inside and at true edges."""
    weight = np.ones(stop - start, np.float32)
    ramp = (np.arange(settings.blend, dtype=np.float32) + 1) / (settings.blend + 1)
    edge = np.concatenate([np.zeros(settings.halo, np.float32), ramp])
    if start > 0:
        weight[: len(edge)] = edge
    if stop < length:
        weight[len(weight) - len(edge) :] = np.minimum(
            weight[len(weight) - len(edge) :], edge[::-1]
        )
    return weight


def _total(
    spans: list[tuple[int, int]], length: int, settings: TileSettings
) -> NDArray[np.float32]:
    """Return the sum of all tiles' weights along one axis, (length,)."""
    total = np.zeros(length, np.float32)
    for start, stop in spans:
        total[start:stop] += _fade(start, stop, length, settings)
    return total
