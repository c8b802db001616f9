"""Micrographs in: one table of formats, one way to read them all.

The name says how a file is read, since the direction of y hangs on the format; the content has to
agree with it. Row 0 of an image is the first row of the file, except for TIFF, whose rows RELION,
IMOD, EMAN2, SerialEM and MotionCor2 turn upside down.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from micscreen.errors import MicrographFormatError, UsageError
from micscreen.io import mrc, pictures, tiff
from micscreen.io.guard import RawImage, believe, file_size, first_bytes, reading
from micscreen.micrograph import Micrograph


@dataclass(frozen=True, slots=True)
class MicrographFormat:
    """One row of the table of micrograph formats.

    Attributes
    ----------
    name
        For people.
    suffixes
        File name endings, lower case, with the dot.
    upside_down
        Whether the last row of the file is the image's row 0 (RELION's rule for TIFF).
    read, read_shape
        (path) -> the image; (path) -> (h, w) in px from the header alone.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], RawImage]
    read_shape: Callable[[Path], tuple[int, int]]
    upside_down: bool = False


_MRC: Final = (".mrc", ".mrcs", ".map", ".rec", ".st")

MICROGRAPH_FORMATS: Final = (
    MicrographFormat("MRC", _MRC, mrc.read, mrc.read_shape),
    MicrographFormat("gzip", tuple(s + ".gz" for s in _MRC), mrc.read_gzip, mrc.read_gzip_shape),
    MicrographFormat(
        "bzip2", tuple(s + ".bz2" for s in _MRC), mrc.read_bzip2, mrc.read_bzip2_shape
    ),
    MicrographFormat("TIFF", (".tif", ".tiff"), tiff.read, tiff.read_shape, upside_down=True),
    MicrographFormat("PNG", (".png",), pictures.read_png, pictures.read_png_shape),
    MicrographFormat("JPEG", (".jpg", ".jpeg"), pictures.read_jpeg, pictures.read_jpeg_shape),
)

MICROGRAPH_SUFFIXES: Final[tuple[str, ...]] = tuple(
    suffix for format in MICROGRAPH_FORMATS for suffix in format.suffixes
)
"""What a micrograph's name can end with, lower case."""

_MAGIC: Final = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (pictures.PNG_MAGIC, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x89HDF", "HDF5"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"\0\0\0\x03", "Gatan DM3"),
    (b"\0\0\0\x04", "Gatan DM4"),
    (b"\x93NUMPY", "NumPy"),
    (b"%PDF", "PDF"),
    (b"version https://git-lfs", "Git LFS pointer"),
)
_ADVICE: Final = {
    "HDF5": "Convert it to MRC, for example with EMAN2's e2proc2d.py.",
    "Gatan DM3": "Convert it to MRC, for example with IMOD's dm2mrc.",
    "Gatan DM4": "Convert it to MRC, for example with IMOD's dm2mrc.",
    "zstd": "Unpack it first, with unzstd.",
    "xz": "Unpack it first, with unxz.",
    "zip": "Unpack it first, with unzip.",
    "Git LFS pointer": "The real file was never fetched: run 'git lfs pull'.",
    "web page": "The download failed and saved its error page: download the file again.",
}


def read_micrograph(
    path: str | os.PathLike[str], *, pixel_size: float | None = None, tiff_flip_y: bool = True
) -> Micrograph:
    """Read one micrograph; safe to call from many threads.

    An uncompressed MRC file (but 4-bit ones) at rest comes as a read-only memory map in the file's
    own byte order: nothing is copied. One that was changed in the last ten minutes is read into
    memory, since somebody may be writing it (docs/adr/0014).

    Parameters
    ----------
    path
        A file whose name ends with one of `MICROGRAPH_SUFFIXES`, in upper or lower case.
    pixel_size
        Å/px. It overrules the header.
    tiff_flip_y
        Whether the rows of a TIFF are turned upside down, as RELION, IMOD, EMAN2, SerialEM and
        MotionCor2 do, so that the y of their coordinates counts the rows of the image.

    Returns
    -------
    The micrograph: image of shape (h, w) with any real dtype, NaN and Inf as they are; pixel size
    in Å/px or None when the file says none that can be believed; notes on what was odd.

    Raises
    ------
    MicrographError
        The file is missing, a folder, or may not be read.
    MicrographFormatError
        It is empty, truncated, damaged, a stack, not what its name says, or changed meanwhile.
    UsageError
        The pixel size is not a positive number.
    """
    path = Path(path)
    if pixel_size is not None and not (pixel_size > 0 and math.isfinite(pixel_size)):
        raise UsageError(
            f"a pixel size of {pixel_size} Å/px is impossible", hint="Give it in Å/px, above 0."
        )
    format = _format_of(path)
    with reading(path):
        raw = format.read(path)
    image = raw.image
    if format.upside_down and tiff_flip_y:
        image = image[::-1]  # a view
    known, notes = _pixel_size(pixel_size, raw)
    return Micrograph(
        image=image, pixel_size=known, name=micrograph_stem(path), notes=raw.notes + notes
    )


def micrograph_shape(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (h, w) of a micrograph in px, from its header alone.

    Raises
    ------
    MicrographError, MicrographFormatError
        As `read_micrograph`, as far as the header and the file's size show it.
    """
    path = Path(path)
    format = _format_of(path)
    with reading(path):
        return format.read_shape(path)


def micrograph_stem(path: str | os.PathLike[str]) -> str:
    """Return a micrograph's name without folder and extension: 'a/b.mrc.gz' gives 'b'."""
    name = Path(path).name
    suffix = _suffix(name)
    return name[: len(name) - len(suffix)] or name


def _suffix(name: str) -> str:
    """Return the known ending of a file name, as it is written; empty when it has none."""
    known = (suffix for suffix in MICROGRAPH_SUFFIXES if name.lower().endswith(suffix))
    return name[len(name) - len(next(known, "")) :]


def _pixel_size(given: float | None, raw: RawImage) -> tuple[float | None, tuple[str, ...]]:
    """Return the pixel size in Å/px to go by, and what is to be said about it."""
    believed, doubt = believe(raw.spacing)
    if given is None:
        return believed, (doubt,) if doubt else ()
    if believed is not None and abs(believed - given) > 0.01 * given:
        return given, (
            f"the header says {believed:.4g} Å/px, {given:.4g} Å/px was given and is used",
        )
    return given, ()


def _format_of(path: Path) -> MicrographFormat:
    """Return the format by the file's name, once its content agrees."""
    file_size(path)
    head = first_bytes(path, 1024)
    content = _content(head)
    suffix = _suffix(path.name).lower()
    if not suffix:
        raise _unknown_name(path, content)
    format = next(row for row in MICROGRAPH_FORMATS if suffix in row.suffixes)
    agrees = content == format.name or (content is None and format.name == "MRC")
    if not agrees:
        raise _other_content(path, format, content)
    return format


def _content(head: bytes) -> str | None:
    """Return what the first 1024 bytes show the file to be; None when nothing marks it."""
    for magic, name in _MAGIC:
        if head.startswith(magic) and not (name.startswith("Gatan") and head[208:212] == b"MAP "):
            return name
    if head[208:212] == b"MAP ":
        return "MRC"
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "web page"
    words = np.frombuffer(head, np.uint8)
    if np.all((words >= 32) & (words < 127) | np.isin(words, (9, 10, 13))):
        return "text file"
    return None


def _unknown_name(path: Path, content: str | None) -> MicrographFormatError:
    bare = [s for s in MICROGRAPH_SUFFIXES if not s.endswith((".gz", ".bz2"))]
    advice = f"Known endings are {', '.join(bare)}, and those of MRC with .gz or .bz2."
    if content is not None:
        advice = f"Its content is {_called(content)}. {_advice(path.stem, content) or advice}"
    what = f"no micrograph format has the ending {path.suffix}"
    return MicrographFormatError(
        what if path.suffix else "the name has no ending that tells the format",
        where=path,
        hint=advice,
    )


def _other_content(
    path: Path, format: MicrographFormat, content: str | None
) -> MicrographFormatError:
    found = _called(content) if content else "nothing that can be recognised"
    advice = _advice(micrograph_stem(path), content)
    return MicrographFormatError(
        f"its name says {_called(format.name)}, its content is {found}",
        where=path,
        hint=advice or "If it should be a micrograph, copy or transfer it again.",
    )


def _advice(stem: str, content: str | None) -> str | None:
    """Return what to do with such a content; None when there is nothing to advise."""
    for row in MICROGRAPH_FORMATS:
        if row.name == content:
            return f"Rename it to {stem}{row.suffixes[0]}, or convert it."
    return _ADVICE.get(content or "")


def _called(name: str) -> str:
    """Return the name of a format as it stands in a sentence."""
    if name in ("gzip", "bzip2", "zstd", "xz", "zip"):
        return f"{name}-compressed"
    articles = {"text file": "text", "web page": "a web page"}
    return articles.get(name, f"a {name}" if name == "Git LFS pointer" else name)
