"""From any micrograph to what the network expects, and the way back.

Everything here is pure: arrays in, arrays out.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

NORMALISATION: Final = "asinh-robust-3ch-v1"
"""Name of the recipe in `normalise`; stored with the weights, so that the two never part."""

HIGH_PASS_SIGMA: Final = 12.0
TEXTURE_SIGMA: Final = 6.0


def normalise(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a whole micrograph at model scale into the network's three channels.

    The whole micrograph is normalised at once, never tiles, so that neighbours see the same
    contrast.

    Parameters
    ----------
    image
        Shape (h, w), finite, particles dark on bright, at model scale (the box has about 16 px).

    Returns
    -------
    Shape (3, h, w), float32: asinh of the robust z-score; the same after a high-pass; and the
    logarithm of the local standard deviation relative to its median.
    """
    low = cv2.GaussianBlur(image, (0, 0), HIGH_PASS_SIGMA, borderType=cv2.BORDER_REFLECT)
    local_mean = cv2.GaussianBlur(image, (0, 0), TEXTURE_SIGMA, borderType=cv2.BORDER_REFLECT)
    difference = image - local_mean
    variance = cv2.GaussianBlur(
        difference * difference, (0, 0), TEXTURE_SIGMA, borderType=cv2.BORDER_REFLECT
    )
    channels = np.empty((3, *image.shape), np.float32)  # (3, h, w)
    channels[0] = np.arcsinh(_robust_z(image))
    channels[1] = np.arcsinh(_robust_z(image - low))
    typical = float(np.median(variance))
    floor = max(typical * 1e-4, 1e-20)
    channels[2] = np.clip(0.5 * np.log((variance + floor) / (typical + floor)), -4.0, 4.0)
    return channels


def _robust_z(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (image - median) / sigma, sigma being half the 16th to 84th percentile range."""
    p16, p50, p84 = np.percentile(image, [15.865, 50.0, 84.135])
    sigma = max((p84 - p16) / 2.0, 1e-6 * max(abs(p50), 1e-12), 1e-20)
    return np.asarray((image - np.float32(p50)) / np.float32(sigma), dtype=np.float32)
