"""TIFF and BigTIFF in: one page, its tags checked against the file before anything is decoded."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicrographFormatError, MissingDependencyError
from micscreen.io.guard import (
    AGAIN,
    MAX_DEFLATE_RATIO,
    PLAUSIBLE_PIXEL_SIZE,
    RawImage,
    check_pixels,
    reading,
    size_of,
    stack,
    truncated,
)
from micscreen.io.pictures import COLOUR_NOTE, grey

LARGEST_RATIOS: Final = {
    1: 1,  # bare
    5: 2600,  # LZW: a 12-bit code stands for at most 3,838 bytes
    8: MAX_DEFLATE_RATIO,
    32946: MAX_DEFLATE_RATIO,  # Deflate under its old number
    32773: 64,  # PackBits: 2 bytes stand for 128
    34926: 2**15,  # ZSTD under its old number
    50000: 2**15,  # ZSTD: a 4 byte block stands for at most 128 KiB
}
"""Compressions that are read, and how many times its own size each can unpack to at most."""

RGB: Final = 2
PALETTE: Final = 3
COLOUR_FILTER_ARRAY: Final = 32803
EER_COMPRESSIONS: Final = (65000, 65001, 65002)
ANGSTROMS_PER_UNIT: Final = {2: 2.54e8, 3: 1e8}
"""ResolutionUnit to Å: inch, cm."""

_BROKEN: Final = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
)
"""What tifffile and its codecs are seen to raise on damaged files."""


def read(path: Path) -> RawImage:
    """Read the one image of a TIFF, rows in file order; colours become grey.

    Parameters
    ----------
    path
        An ordinary, non-empty file.

    Raises
    ------
    MicrographFormatError
        The file is damaged, truncated, a stack, or holds no grey or RGB image.
    """
    with _first_page(path) as page:
        with _decoding(path):
            image = page.asarray(maxworkers=1)
        image = _one_plane(np.asarray(image), page.axes, path)
        spacing, notes = _spacing(page), _notes(page)
    return RawImage(image, spacing, notes)


def read_shape(path: Path) -> tuple[int, int]:
    """Return (h, w) in px from the tags alone."""
    with _first_page(path) as page:
        return int(page.imagelength), int(page.imagewidth)


@contextmanager
def _first_page(path: Path) -> Iterator[Any]:
    """Open the file and give its only page, once its tags have stood up to the file."""
    try:
        import tifffile
    except ImportError as error:
        raise MissingDependencyError(
            "TIFF needs tifffile and imagecodecs", where=path, hint="pip install micscreen"
        ) from error
    logger = logging.getLogger("tifffile")
    if not logger.handlers:  # else its complaints about damaged tags go to standard error
        logger.addHandler(logging.NullHandler())
    with reading(path), path.open("rb") as file:
        with _decoding(path):
            tif = tifffile.TiffFile(file)
        with tif:
            with _decoding(path):
                page = tif.pages.first
                second = tif.pages[1] if len(tif.pages) > 1 else None
                more = second is not None and not second.is_reduced
                count = len(tif.pages)
                follower = _next_offset(tif, page)
            if page.compression in EER_COMPRESSIONS:
                raise MicrographFormatError(
                    "an EER movie, not a micrograph", where=path, hint="Motion-correct it first."
                )
            if more:
                raise stack(path, count)
            if follower >= size_of(file.fileno()):
                raise MicrographFormatError(
                    "the TIFF file is truncated: another image should follow beyond its end",
                    where=path,
                    hint="If it is a movie, motion-correct it first. " + AGAIN,
                )
            with _decoding(path):
                _check(page, path, size_of(file.fileno()))
            yield page


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes the decoder raise into one error for people."""
    try:
        yield
    except _BROKEN as error:
        raise MicrographFormatError(
            f"the TIFF file is damaged ({str(error) or type(error).__name__})",
            where=path,
            hint=AGAIN,
        ) from error


def _next_offset(tif: Any, page: Any) -> int:
    """Return where the page says that the next one is, 0 for the last; tifffile hides lost ones."""
    file, layout = tif.filehandle, tif.tiff
    file.seek(page.offset)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(page.offset + layout.tagnosize + tags * layout.tagsize)
    (offset,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    return int(offset)


def _check(page: Any, path: Path, size: int) -> None:
    """Hold the page's tags against the file's size in bytes, before anything is allocated."""
    width, height = int(page.imagewidth), int(page.imagelength)
    check_pixels(width, height, path)
    if page.imagedepth != 1 or math.prod(page.chunks) > 2 * max(width * height, 2**20):
        raise MicrographFormatError(
            "the tags claim impossible tiles or strips", where=path, hint=AGAIN
        )
    if page.compression not in LARGEST_RATIOS:
        raise MicrographFormatError(
            f"the TIFF's compression ({getattr(page.compression, 'name', page.compression)}) is "
            "not handled",
            where=path,
            hint="Save it again uncompressed or with LZW, Deflate or ZSTD.",
        )
    if page.dtype is None or page.dtype.kind not in "uif" or page.bitspersample == 1:
        raise MicrographFormatError(
            f"the TIFF's pixels are of the type {page.dtype or 'unknown'}, not grey values",
            where=path,
            hint="Save it as 8 or 16 bit integers or 32 bit floats.",
        )
    colours, meaning = page.samplesperpixel, page.photometric
    grey_values = colours == 1 and meaning not in (PALETTE, COLOUR_FILTER_ARRAY)
    if not grey_values and not (colours in (3, 4) and meaning == RGB):
        raise MicrographFormatError(
            f"the TIFF's colours ({getattr(meaning, 'name', meaning)}, {colours} in each pixel) "
            "are neither grey nor RGB",
            where=path,
            hint="Save it as grey values.",
        )
    _check_segments(page, path, size)


def _check_segments(page: Any, path: Path, size: int) -> None:
    """Check that the strips or tiles lie inside the file and can hold the image."""
    claim = f"{page.imagewidth} x {page.imagelength} px"
    ends = [
        offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    if not ends:
        raise MicrographFormatError("the TIFF has no image data", where=path, hint=AGAIN)
    if max(ends) > size:
        raise truncated(path, claim, max(ends), size)
    stored = sum(page.databytecounts)
    needed = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample // 8
    ratio = LARGEST_RATIOS[page.compression]
    if needed > ratio * stored:
        compressed = ", however well compressed," if ratio > 1 else ""
        raise truncated(path, claim + compressed, -(-needed // ratio), stored)


def _one_plane(image: NDArray[Any], axes: str, path: Path) -> NDArray[Any]:
    """Return shape (h, w); colours stand last or, when stored plane by plane, first."""
    if image.ndim == 3 and axes == "SYX":
        image = np.moveaxis(image, 0, -1)  # (h, w, colours)
    if image.ndim not in (2, 3):
        raise MicrographFormatError(
            f"the TIFF's image has the shape {image.shape}, not one plane", where=path
        )
    return grey(image)


def _spacing(page: Any) -> tuple[float, float] | None:
    """Return Å/px along x and y when the resolution tags have a unit and a cryo-EM value.

    Most TIFFs carry a screen's or printer's resolution (72 dpi is 3.5 million Å/px), which says
    nothing.
    """
    unit = page.tags.valueof(296)
    resolutions = page.tags.valueof(282), page.tags.valueof(283)
    if unit not in ANGSTROMS_PER_UNIT or None in resolutions:
        return None
    spacing = []
    for resolution in resolutions:
        parts = resolution if isinstance(resolution, tuple) else (resolution, 1)
        if len(parts) != 2 or not parts[0] or not parts[1]:
            return None
        spacing.append(ANGSTROMS_PER_UNIT[unit] * float(parts[1]) / float(parts[0]))
    smallest, largest = PLAUSIBLE_PIXEL_SIZE
    if not all(smallest <= value <= largest for value in spacing):
        return None
    return spacing[0], spacing[1]


def _notes(page: Any) -> tuple[str, ...]:
    notes = []
    if page.samplesperpixel > 1:
        notes.append(COLOUR_NOTE)
    if page.photometric == 0:
        notes.append("the TIFF says that 0 is white; its values are taken as they are")
    return tuple(notes)
