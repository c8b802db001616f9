"""Micrographs, masks and picks as bytes for the page; micrographs are read by our own readers."""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import JobError, MicscreenError
from micscreen.io import read_micrograph
from micscreen.io.cuts import unchanged
from micscreen.io.labels import IGNORE
from micscreen.report import sharp_preview
from micscreen.score import BAD
from micscreen.view.index import JobIndex

SIDES: Final = (256, 2048)
"""Long sides of pictures: for the gallery, and to look at one micrograph."""

CACHE_BYTES: Final = 128_000_000
LARGE: Final = 30_000_000
"""px; larger micrographs are read one at a time."""

MASK_SIDE: Final = 1024
UNTYPED: Final = 6
"""Bad, of no known class."""


class Pictures:
    """Small pictures of micrographs, the last ones kept in memory.

    Parameters
    ----------
    index
        The job's.
    """

    def __init__(self, index: JobIndex) -> None:
        self._index = index
        self._cache: OrderedDict[tuple[int, str, int], bytes] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()
        self._large = threading.Lock()

    def jpeg(self, key: int, side: int) -> bytes:
        """Return a micrograph as JPEG with a long side of `side` px.

        Raises
        ------
        KeyError
            When there is no such micrograph.
        MicscreenError
            When it cannot be read any more.
        """
        entry = self._index.entry(key)
        name = (key, str(entry.get("fingerprint")), side)
        with self._lock:
            if name in self._cache:
                self._cache.move_to_end(name)
                return self._cache[name]
        data = self._read(key, side)
        with self._lock:
            self._held += len(data) - len(self._cache.pop(name, b""))
            self._cache[name] = data
            while self._held > CACHE_BYTES:
                self._held -= len(self._cache.popitem(last=False)[1])
        return data

    def _read(self, key: int, side: int) -> bytes:
        """Read a micrograph and make its picture."""
        import cv2

        entry, info = self._index.entry(key), self._index.info
        path = Path(str(info.get("folder", ".")), _text(entry.get("path")))
        pixels = (entry.get("height") or 0) * (entry.get("width") or 0)
        flip = info["identity"]["inputs"]["tiff_flip_y"]
        with self._large if pixels > LARGE else nullcontext():
            picture = self._preview(path, flip, side)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
        return bytes(cv2.imencode(".jpg", picture, quality)[1].tobytes())

    @staticmethod
    def _preview(path: Path, flip: bool, side: int) -> NDArray[np.uint8]:
        """Return a micrograph as 8 bit, its long side at most `side` px."""
        try:
            with unchanged(path):
                image = read_micrograph(path, tiff_flip_y=flip).image
                return sharp_preview(image, side)
        except OSError as error:
            raise JobError("the micrograph is not there any more", where=path) from error

    def mask(self, key: int) -> bytes:
        """Return a micrograph's mask: width and height (uint32), then a class per px (uint8).

        0 is good, 1 to 5 the class, 6 bad of no known class, 255 no image. Empty where the job
        saved none.
        """
        entry = self._index.entry(key)
        try:
            regions = self._index.reviser.regions(entry.name)
        except (MicscreenError, OSError):
            regions = None
        if regions is None or entry.get("height") is None:
            return struct.pack("<II", 0, 0)
        shape = entry.get("height"), entry.get("width")
        regions = regions.painted(entry.override.strokes, shape)
        bad = np.where(regions.classes > 0, regions.classes, UNTYPED)
        shown = np.where(regions.contamination >= BAD, bad, 0)
        shown = np.where(regions.valid, shown, IGNORE).astype(np.uint8)
        stride = -(-max(shown.shape) // MASK_SIDE)
        shown = np.ascontiguousarray(shown[::stride, ::stride])
        return struct.pack("<II", shown.shape[1], shown.shape[0]) + shown.tobytes()

    def picks(self, key: int) -> bytes:
        """Return a micrograph's picks.

        n (uint32); x, y, goodness, distance (float32); class, reason (uint8). x and y are in px of
        the screened micrograph, the distance in Å where the pixel size is known.
        """
        row, scores = self._index.scored(key)
        if scores is None:
            return struct.pack("<I", 0)
        placed = self._index.reviser.placed(row, scores)
        distance = scores.distance * (row.pixel_size or 1.0)
        columns = (placed.x, placed.y, scores.goodness, distance)
        body = b"".join(np.ascontiguousarray(column, "<f4").tobytes() for column in columns)
        tail = scores.class_index.tobytes() + scores.reason.tobytes()
        return struct.pack("<I", len(scores.rows)) + body + tail


def _text(value: object) -> str:
    """Return a path of the store."""
    import os

    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
