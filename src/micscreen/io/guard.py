"""What every micrograph reader leans on: distrust of files, of sizes and of pixel sizes."""

from __future__ import annotations

import errno
import math
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from numpy.typing import NDArray

from micscreen.errors import MicrographError, MicrographFormatError

MAX_PIXELS: Final = 2**28
"""The largest image that is believed, px: nearly three times a K3 in super-resolution."""

MAX_DEFLATE_RATIO: Final = 1032
"""No deflate stream (gzip, PNG, TIFF) unpacks to more than this many times its own size."""

PLAUSIBLE_PIXEL_SIZE: Final = (0.1, 100.0)
"""Å/px: what a cryo-EM micrograph can have."""

AGAIN: Final = "Copy or transfer it again; if it is still being written, wait until it is complete."

CHANGED: Final = "the file changed while it was read"


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """What a file says, before anything of it is believed.

    Attributes
    ----------
    image
        Shape (h, w), rows in file order.
    spacing
        Å/px along x and y as the file claims; None when the format or the file says nothing.
    notes
        What the user should know, one sentence each.
    """

    image: NDArray[Any]
    spacing: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def bytes_text(count: int) -> str:
    """Return a number of bytes for people: '12 bytes', '3.4 kB', '67.1 MB'."""
    if count == 1:
        return "1 byte"
    if count < 1000:
        return f"{count} bytes"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 999.95 * size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e12:,.1f} TB"


def file_size(path: Path) -> int:
    """Return the size in bytes of an ordinary, non-empty file.

    Raises
    ------
    MicrographError
        It is a folder, a device or a pipe, or cannot be reached.
    MicrographFormatError
        It is empty.
    """
    with reading(path):
        status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise MicrographError(
            "this is a folder, not a micrograph",
            where=path,
            hint="Name the files in it, for example with a pattern: 'folder/*.mrc'.",
        )
    if not stat.S_ISREG(status.st_mode):
        raise MicrographError("this is a device or a pipe, not an ordinary file", where=path)
    if status.st_size == 0:
        raise MicrographFormatError("the file is empty (0 bytes)", where=path, hint=AGAIN)
    return status.st_size


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into an error for people."""
    try:
        yield
    except OSError as error:
        raise _unreachable(path, error) from error
    except MemoryError as error:
        raise MicrographError(
            "there is not enough memory to read it",
            where=path,
            hint="Use fewer threads, or a machine with more memory.",
        ) from error


def _unreachable(path: Path, error: OSError) -> MicrographError:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return MicrographError("there is no such file", where=path, hint=_missing_hint(path))
    if error.errno in (errno.EACCES, errno.EPERM):
        return MicrographError(
            "reading is not permitted",
            where=path,
            hint="Ask its owner for read permission on the file and its folders.",
        )
    if error.errno == errno.ELOOP:
        return MicrographError("it is a link that leads to itself", where=path)
    return MicrographError(
        f"the file cannot be read ({reason})",
        where=path,
        hint="Check the disk or network drive that it lies on, then try again.",
    )


def _missing_hint(path: Path) -> str:
    if path.is_symlink():
        return f"It is a link to {path.readlink()}, which is gone or not mounted here."
    folder = path.parent
    if not folder.is_dir():
        return f"The folder {folder} is not there either; paths count from {Path.cwd()}."
    return "Check the spelling; upper and lower case differ."


def check_pixels(width: int, height: int, path: Path) -> None:
    """Refuse an image that no camera makes, before anything is allocated for it."""
    if width < 1 or height < 1:
        raise MicrographFormatError(
            f"the header claims an image of {width} x {height} px", where=path, hint=AGAIN
        )
    if width * height > MAX_PIXELS:
        raise MicrographFormatError(
            f"the header claims {width:,} x {height:,} px; no micrograph is that large",
            where=path,
            hint="The header is damaged, or this is not a micrograph. " + AGAIN,
        )


def truncated(path: Path, what: str, needed: int, found: int) -> MicrographFormatError:
    """Return the error for a file that ends too early; `what` names what its header claims."""
    return MicrographFormatError(
        f"the file is truncated: {what} need {bytes_text(needed)}, the file has "
        f"{bytes_text(found)} ({bytes_text(needed - found)} missing)",
        where=path,
        hint=AGAIN,
    )


def stack(path: Path, images: int) -> MicrographFormatError:
    """Return the error for a file with more than one image."""
    return MicrographFormatError(
        f"a stack of {images} images, not one micrograph",
        where=path,
        hint="Motion-correct a movie first; split a stack of micrographs into single files.",
    )


def believe(spacing: tuple[float, float] | None) -> tuple[float | None, str | None]:
    """Return the pixel size in Å/px when what the file claims can be believed, else why not.

    Parameters
    ----------
    spacing
        Å/px along x and y as the file claims; None when it claims nothing.

    Returns
    -------
    The pixel size or None, and a sentence for the notes or None.
    """
    if spacing is None:
        return None, None
    x, y = spacing
    smallest, largest = PLAUSIBLE_PIXEL_SIZE
    if not (math.isfinite(x) and math.isfinite(y)):
        return None, "the pixel size in the header is not a number; not believed"
    if x == 0 or y == 0:
        return None, "the header gives no pixel size (0 Å/px)"
    if x < 0 or y < 0:
        return None, f"the pixel size in the header is negative ({min(x, y):.4g} Å/px); ignored"
    if abs(x - y) > 0.005 * max(x, y):
        return None, (
            f"the pixel size in the header differs along x and y ({x:.4g} and {y:.4g} Å/px); "
            "not believed"
        )
    if abs(x - 1.0) < 1e-4:
        return None, (
            "the pixel size in the header is exactly 1 Å/px, which programs write when they do "
            "not know it; not believed"
        )
    if not smallest <= x <= largest:
        return None, f"the pixel size in the header is implausible ({x:.4g} Å/px); not believed"
    return float(f"{x:.6g}"), None


def first_bytes(path: Path, count: int) -> bytes:
    """Return the first `count` bytes of a file, fewer when it is shorter."""
    with reading(path), path.open("rb") as file:
        return file.read(count)


def size_of(file_descriptor: int) -> int:
    """Return the size in bytes of an open file, which may have grown since it was named."""
    return os.fstat(file_descriptor).st_size


def read_block(file: IO[bytes], start: int, count: int, path: Path) -> memoryview:
    """Read `count` bytes from `start` on into memory of their own, which cannot be written to.

    Large pages are asked for, since with small ones the system spends longer on making room than
    on copying.

    Parameters
    ----------
    file
        Open for reading, known to hold that many bytes.
    start, count
        Where and how many; at least one.
    path
        For the error.

    Raises
    ------
    MicrographFormatError
        When the file became shorter or was written to meanwhile.
    """
    before = os.fstat(file.fileno())
    block = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError, AttributeError):  # without large pages it is only slower
        block.madvise(mmap.MADV_HUGEPAGE)
    data, found = memoryview(block), 0
    while found < count and (got := os.preadv(file.fileno(), [data[found:]], start + found)):
        found += got
    after = os.fstat(file.fileno())
    if found < count or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise MicrographFormatError(CHANGED, where=path, hint=AGAIN)
    return data.toreadonly()
