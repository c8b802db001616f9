"""PNG and JPEG in: pictures of micrographs, with their headers checked before they are decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicrographFormatError, MissingDependencyError
from micscreen.io.guard import (
    AGAIN,
    MAX_DEFLATE_RATIO,
    RawImage,
    check_pixels,
    reading,
    size_of,
    truncated,
)

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type to values per pixel in the file."""
GREY_WEIGHTS: Final = np.array([0.299, 0.587, 0.114], np.float32)
COLOUR_NOTE: Final = "a colour picture; turned to grey"
_END_OF_IMAGE: Final = b"\xff\xd9"
_START_OF_SCAN: Final = 0xDA


def read_png(path: Path) -> RawImage:
    """Read a PNG of 1 to 16 bits; colours become grey, transparency is dropped."""
    codecs = _codecs(path)
    with reading(path):
        data = path.read_bytes()
        read_png_shape(path)
        _check_png(data, path)
        try:
            image = codecs.png_decode(data)
        except (RuntimeError, ValueError) as error:
            raise _damaged("PNG", str(error), path) from error
    return _raw(image)


def read_jpeg(path: Path) -> RawImage:
    """Read a JPEG of 8 to 16 bits; colours become grey."""
    codecs = _codecs(path)
    with reading(path):
        with path.open("rb") as file:
            _, scan = _jpeg_header(file, path)
        data = path.read_bytes()
        if data.rfind(_END_OF_IMAGE) < scan:
            raise _cut_off("JPEG", path)
        try:
            image = codecs.jpeg8_decode(data)
        except (RuntimeError, ValueError) as error:
            raise _damaged("JPEG", str(error), path) from error
    return _raw(image)


def read_png_shape(path: Path) -> tuple[int, int]:
    """Return (h, w) in px from the first 33 bytes."""
    with reading(path), path.open("rb") as file:
        head, size = file.read(33), size_of(file.fileno())
    if len(head) < 33 or head[:8] != PNG_MAGIC or head[12:16] != b"IHDR":
        raise _cut_off("PNG", path)
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    check_pixels(width, height, path)
    needed = height * -(-width * bits * PNG_CHANNELS.get(colour, 4) // 8)
    if needed > MAX_DEFLATE_RATIO * size:
        claim = f"{width} x {height} px, however well compressed,"
        raise truncated(path, claim, needed // MAX_DEFLATE_RATIO, size)
    return height, width


def read_jpeg_shape(path: Path) -> tuple[int, int]:
    """Return (h, w) in px from the JPEG's frame header, wherever it lies."""
    with reading(path), path.open("rb") as file:
        return _jpeg_header(file, path)[0]


def _jpeg_header(file: IO[bytes], path: Path) -> tuple[tuple[int, int], int]:
    """Return (h, w) and where the first scan starts; walks over thumbnails and comments."""
    file.seek(2)
    shape: tuple[int, int] | None = None
    while len(marker := file.read(2)) == 2 and marker[0] == 0xFF:
        kind = marker[1]
        if kind == 0xFF:  # a fill byte
            file.seek(-1, 1)
            continue
        if kind == _START_OF_SCAN and shape is not None:
            return shape, file.tell()
        length = file.read(2)
        if len(length) < 2 or (count := int.from_bytes(length, "big") - 2) < 0:
            break
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            body = file.read(6)
            if len(body) < 6:
                break
            _, height, width, colours = struct.unpack(">BHHB", body)
            check_pixels(width, height, path)
            if colours not in (1, 3):
                raise MicrographFormatError(
                    f"the JPEG has {colours} colours (printer's inks?), not grey or RGB",
                    where=path,
                    hint="Save it as grey values.",
                )
            shape = height, width
            count -= len(body)
        file.seek(max(count, 0), 1)
    raise _cut_off("JPEG", path)


def _check_png(data: bytes, path: Path) -> None:
    """Check every chunk's checksum first: libpng lets some damage pass with a warning."""
    start, kind = len(PNG_MAGIC), b""
    while kind != b"IEND":
        length = int.from_bytes(data[start : start + 4], "big")
        end = start + 12 + length
        if end > len(data):
            raise _cut_off("PNG", path)
        kind = data[start + 4 : start + 8]
        if (
            zlib.crc32(memoryview(data)[start + 4 : end - 4]).to_bytes(4, "big")
            != data[end - 4 : end]
        ):
            raise _damaged("PNG", "a checksum does not agree", path)
        start = end


def _codecs(path: Path) -> Any:
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingDependencyError(
            "PNG and JPEG need imagecodecs", where=path, hint="pip install micscreen"
        ) from error
    return imagecodecs


def grey(image: NDArray[Any]) -> NDArray[Any]:
    """Turn colours into grey by the weights of Rec. 601; transparency is dropped.

    Parameters
    ----------
    image
        Shape (h, w), (h, w, 2) grey and alpha, (h, w, 3) RGB or (h, w, 4) RGB and alpha.

    Returns
    -------
    Shape (h, w), the same dtype.
    """
    if image.ndim == 2:
        return image
    if image.shape[2] <= 2:
        return np.ascontiguousarray(image[..., 0])
    result = np.empty(image.shape[:2], image.dtype)  # (h, w)
    for top in range(0, len(image), 256):  # in bands, so that no float copy of the whole is made
        band = image[top : top + 256, :, :3].astype(np.float32) @ GREY_WEIGHTS
        result[top : top + 256] = np.rint(band) if image.dtype.kind in "ui" else band
    return result


def _raw(image: NDArray[Any]) -> RawImage:
    colours = image.ndim == 3 and image.shape[2] > 2
    return RawImage(grey(image), notes=(COLOUR_NOTE,) if colours else ())


def _cut_off(kind: str, path: Path) -> MicrographFormatError:
    return MicrographFormatError(
        f"the {kind} file is truncated or damaged: it ends in the middle", where=path, hint=AGAIN
    )


def _damaged(kind: str, how: str, path: Path) -> MicrographFormatError:
    return MicrographFormatError(f"the {kind} file is damaged ({how})", where=path, hint=AGAIN)
