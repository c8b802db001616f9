"""Pictures inside a page, as JPEG that stays within a number of bytes."""

from __future__ import annotations

import base64
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.pages.html import escape

Picture = NDArray[np.uint8]

STEPS: Final = ((1.0, 88), (1.0, 78), (0.8, 72), (0.6, 68), (0.4, 60), (0.25, 50))
"""(Part of the width, JPEG quality), tried one after the other until it fits."""


def inside(picture: Picture, limit: int, words: str) -> str:
    """Return an <img> that holds the picture.

    Parameters
    ----------
    picture
        Shape (h, w, 3) RGB, or (h, w) grey.
    limit
        Bytes that the picture may take in the page; the smallest version is taken when none fits.
    words
        What it shows, for those who cannot see it.
    """
    import cv2

    straight = np.ascontiguousarray(picture[..., ::-1] if picture.ndim == 3 else picture)
    data = b""
    for part, quality in STEPS:
        small = straight
        if part < 1:
            small = np.asarray(
                cv2.resize(straight, None, fx=part, fy=part, interpolation=cv2.INTER_AREA), np.uint8
            )
        done, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done  # only a lack of memory keeps OpenCV from it
        data = encoded.tobytes()
        if len(data) * 4 / 3 <= limit:
            break
    text = base64.b64encode(data).decode()
    height, width = picture.shape[:2]
    return (
        f'<img width="{width}" height="{height}" alt="{escape(words)}" '
        f'src="data:image/jpeg;base64,{text}">'
    )
