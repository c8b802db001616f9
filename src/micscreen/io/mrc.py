"""The pixels of the MRC family: memory-mapped where they lie bare and at rest (docs/adr/0014)."""

from __future__ import annotations

import bz2
import gzip
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicrographFormatError
from micscreen.io.cuts import map_block
from micscreen.io.guard import (
    AGAIN,
    MAX_DEFLATE_RATIO,
    RawImage,
    bytes_text,
    read_block,
    reading,
    size_of,
    truncated,
)
from micscreen.io.mrc_header import HEADER_BYTES, MrcHeader, parse

CHUNK_BYTES: Final = 1 << 20
AT_REST: Final = 600.0
"""Seconds after its last change from which on nobody is taken to be writing a file."""

Opener = type[gzip.GzipFile] | type[bz2.BZ2File]


def read(path: Path) -> RawImage:
    """Read an uncompressed MRC file in the file's own byte order; 4-bit data are unpacked.

    A file at rest comes as a read-only memory map: nothing is copied, and it holds one file
    descriptor. Reading from a map after somebody has cut the file short kills the process
    (SIGBUS), but for uses within `cuts.unchanged`; therefore a file that was changed within
    `AT_REST` is read into memory.

    Parameters
    ----------
    path
        An ordinary, non-empty file.

    Raises
    ------
    MicrographFormatError
        The file is not MRC, truncated, a stack, holds no real-valued image, or changed while it
        was read.
    """
    with reading(path), path.open("rb") as file:
        header, size = _bare_header(file, path)
        dtype = np.dtype(np.uint8) if header.packed else header.dtype
        shape = (header.height, header.row_bytes // dtype.itemsize)
        image: NDArray[Any]
        if time.time() - os.fstat(file.fileno()).st_mtime > AT_REST:
            image = map_block(file, header.start, dtype, shape, path)
        else:
            block = read_block(file, header.start, header.image_bytes, path)
            image = np.frombuffer(block, dtype).reshape(shape)
    notes = header.notes
    if size > header.end:
        notes += (f"the file has {bytes_text(size - header.end)} after its image; not read",)
    pixels = unpack(image, header.width) if header.packed else image
    return RawImage(pixels, header.spacing, notes)


def read_shape(path: Path) -> tuple[int, int]:
    """Return (h, w) in px from the header; that the file is long enough is checked as well."""
    with reading(path), path.open("rb") as file:
        header, _ = _bare_header(file, path)
    return header.height, header.width


def read_gzip(path: Path) -> RawImage:
    """Read a gzip-compressed MRC file into memory, verified by its checksum."""
    return _read_compressed(path, gzip.GzipFile, MAX_DEFLATE_RATIO)


def read_bzip2(path: Path) -> RawImage:
    """Read a bzip2-compressed MRC file into memory, verified by its checksum."""
    return _read_compressed(path, bz2.BZ2File, None)


def read_gzip_shape(path: Path) -> tuple[int, int]:
    """Return (h, w) in px; only the first kilobytes are unpacked."""
    return _read_compressed_shape(path, gzip.GzipFile)


def read_bzip2_shape(path: Path) -> tuple[int, int]:
    """Return (h, w) in px; only the first block (up to 900 kB) is unpacked."""
    return _read_compressed_shape(path, bz2.BZ2File)


def unpack(rows: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Unpack 4-bit pixels: the low half of a byte first, each row starting on a whole byte.

    So IMOD describes mode 101 (https://bio3d.colorado.edu/imod/betaDoc/mrc_format.txt): the first
    pixel of a pair is in the lower 4 bits, in either byte order, and each line has (nx + 1) // 2
    bytes.

    Parameters
    ----------
    rows
        Shape (h, (w + 1) // 2).
    width
        w in px.

    Returns
    -------
    Shape (h, w), uint8, values 0 to 15.
    """
    pixels = np.empty((rows.shape[0], 2 * rows.shape[1]), np.uint8)  # (h, w or w + 1)
    np.bitwise_and(rows, 15, out=pixels[:, 0::2])
    np.right_shift(rows, 4, out=pixels[:, 1::2])
    return pixels[:, :width]  # (h, w)


def _bare_header(file: IO[bytes], path: Path) -> tuple[MrcHeader, int]:
    """Return the header of an uncompressed file, checked against its size in bytes."""
    size = size_of(file.fileno())
    header = parse(file.read(HEADER_BYTES), path)
    if header.end > size:
        raise truncated(path, header.claim, header.end, size)
    return header, size


def _read_compressed_shape(path: Path, opener: Opener) -> tuple[int, int]:
    with _unpacking(path), opener(path, "rb") as stream:
        header = parse(stream.read(HEADER_BYTES), path)
    return header.height, header.width


def _read_compressed(path: Path, opener: Opener, largest_ratio: int | None) -> RawImage:
    """Unpack exactly what the header asks for, so that no bomb can fill the memory.

    The buffer grows with what really comes out of the file, never ahead of it.
    """
    with _unpacking(path), opener(path, "rb") as stream:
        header = parse(stream.read(HEADER_BYTES), path)
        size = path.stat().st_size
        if largest_ratio is not None and header.end > largest_ratio * (size + 1):
            fewest = header.end // largest_ratio
            raise truncated(path, f"{header.claim}, however well compressed,", fewest, size)
        found = HEADER_BYTES
        for piece in _pieces(stream, header.extended):
            found += len(piece)
        data = bytearray()
        for piece in _pieces(stream, header.image_bytes if found == header.start else 0):
            data += piece
        if found + len(data) < header.end:
            raise truncated(path, f"unpacked, {header.claim}", header.end, found + len(data))
        goes_on = bool(stream.read(1))  # at the end of the stream this verifies the checksum
    notes = header.notes
    if goes_on:
        notes += ("the file goes on after its image; the rest is not read",)
    dtype = np.dtype(np.uint8) if header.packed else header.dtype
    image = np.frombuffer(data, dtype).reshape(header.height, -1)  # (h, w), packed: (h, row_bytes)
    pixels = unpack(image, header.width) if header.packed else image
    return RawImage(pixels, header.spacing, notes)


def _pieces(stream: BufferedIOBase, count: int) -> Iterator[bytes]:
    """Yield `count` bytes in pieces, fewer when the stream ends."""
    while count > 0 and (piece := stream.read(min(CHUNK_BYTES, count))):
        count -= len(piece)
        yield piece


@contextmanager
def _unpacking(path: Path) -> Iterator[None]:
    """Turn what the decompressors say into an error for people."""
    with reading(path):
        try:
            yield
        except EOFError as error:
            raise MicrographFormatError(
                "the compressed file is truncated: it ends in the middle", where=path, hint=AGAIN
            ) from error
        except (zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise MicrographFormatError(
                f"the compressed file is damaged ({error})", where=path, hint=AGAIN
            ) from error
