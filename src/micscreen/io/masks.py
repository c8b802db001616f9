"""Masks and class maps out, and masks in again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import (
    JobError,
    MicrographFormatError,
    MissingDependencyError,
    UsageError,
)
from micscreen.io.files import whole_file
from micscreen.io.guard import AGAIN, file_size, reading
from micscreen.io.micrographs import read_micrograph

Writer = Callable[[Path, NDArray[Any], float | None], None]

MASK_SUFFIXES: Final = (".npy", ".mrc", ".tif", ".tiff", ".png")


def write_mask(
    path: str | os.PathLike[str],
    mask: NDArray[np.float32],
    *,
    pixel_size: float | None = None,
    tiff_flip_y: bool = True,
) -> None:
    """Write a contamination mask, whole or not at all; the same mask gives the same bytes.

    Parameters
    ----------
    path
        Ends with .npy, .mrc or .tif (float32) or .png (8 bit, 255 is 1.0).
    mask
        Shape (h, w), float32 in [0, 1], 1 is bad; row 0 as in the micrograph's image.
    pixel_size
        Å/px of the mask, written to .mrc and .tif.
    tiff_flip_y
        Whether a .tif gets its rows upside down, so that it lies on the micrograph in programs
        that turn TIFF over (RELION, IMOD, EMAN2); the same value as in `read_micrograph`.

    Raises
    ------
    UsageError
        The extension is none of these, or the mask is not one.
    JobError
        The file cannot be written.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0 or mask.dtype.kind != "f":
        raise UsageError(
            f"a mask is one 2D array of floats, this has shape {mask.shape}, dtype {mask.dtype}"
        )
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise UsageError(f"a mask lies in [0, 1], this in [{mask.min():.4g}, {mask.max():.4g}]")
    path = Path(path)
    image = np.ascontiguousarray(mask, np.float32)
    if path.suffix.lower() == ".png":
        image = np.rint(mask * 255).astype(np.uint8)
    _write(path, image, pixel_size, tiff_flip_y)


def write_class_map(
    path: str | os.PathLike[str],
    classes: NDArray[np.uint8],
    *,
    pixel_size: float | None = None,
    tiff_flip_y: bool = True,
) -> None:
    """Write a class map, whole or not at all; every pixel holds the number of its class.

    Parameters
    ----------
    path
        Ends with .npy, .tif, .png (uint8) or .mrc (int8, mode 0).
    classes
        Shape (h, w), uint8; at most 127 for .mrc.
    pixel_size, tiff_flip_y
        As for `write_mask`.

    Raises
    ------
    UsageError
        The extension is none of these, or the array is no class map.
    JobError
        The file cannot be written.
    """
    classes = np.asarray(classes)
    if classes.ndim != 2 or classes.size == 0 or classes.dtype != np.uint8:
        raise UsageError(
            f"a class map is one 2D array of uint8, this has shape {classes.shape}, "
            f"dtype {classes.dtype}"
        )
    path = Path(path)
    image: NDArray[Any] = np.ascontiguousarray(classes)
    if path.suffix.lower() == ".mrc":
        if classes.max() > 127:
            raise UsageError(
                f"class {classes.max()} does not fit an MRC file's signed bytes",
                where=path,
                hint="Write the class map as .npy, .tif or .png.",
            )
        image = classes.astype(np.int8)
    _write(path, image, pixel_size, tiff_flip_y)


def read_mask(path: str | os.PathLike[str], *, tiff_flip_y: bool = True) -> NDArray[np.float32]:
    """Read a mask that `write_mask` or another program wrote.

    Parameters
    ----------
    path
        Ends with .npy, .mrc, .tif (floats) or .png (8 or 16 bit, the highest value is 1.0).
    tiff_flip_y
        The same value as in `write_mask`.

    Returns
    -------
    Shape (h, w), float32 in [0, 1], 1 is bad.

    Raises
    ------
    MicrographError
        The file cannot be read.
    MicrographFormatError
        It is no mask: not 2D, not floats, or not in [0, 1].
    """
    path = Path(path)
    image = read_array(path, tiff_flip_y=tiff_flip_y)
    if path.suffix.lower() == ".png":
        return np.asarray(image / np.float32(np.iinfo(image.dtype).max), np.float32)
    if image.dtype.kind != "f":
        raise MicrographFormatError(
            f"not a mask: its pixels are {image.dtype.name}, a mask's are floats",
            where=path,
            hint="Perhaps this is the class map, or a micrograph.",
        )
    mask = np.array(image, np.float32)
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise MicrographFormatError(
            f"not a mask: its values are in [{mask.min():.4g}, {mask.max():.4g}], not in [0, 1]",
            where=path,
        )
    return mask


def read_array(path: Path, *, tiff_flip_y: bool = True) -> NDArray[Any]:
    """Read the values of a mask or class map as they are: shape (h, w), any real dtype.

    Raises
    ------
    MicrographError
        The file cannot be read.
    MicrographFormatError
        It is damaged, or not one 2D array.
    UsageError
        Its extension is not one of `MASK_SUFFIXES`.
    """
    _check_suffix(path)
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    return read_micrograph(path, tiff_flip_y=tiff_flip_y).image


def _read_npy(path: Path) -> NDArray[Any]:
    file_size(path)
    try:
        with reading(path):
            image = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise MicrographFormatError(
            f"the file is truncated or not a NumPy array ({error})", where=path, hint=AGAIN
        ) from error
    if image.ndim != 2:
        raise MicrographFormatError(
            f"not a mask: its shape is {image.shape}, not (h, w)", where=path
        )
    return image


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in MASK_SUFFIXES:
        raise UsageError(
            f"masks have no format for {path.suffix or 'a name without extension'}",
            where=path,
            hint=f"Use one of {', '.join(MASK_SUFFIXES)}.",
        )


def _write(path: Path, image: NDArray[Any], pixel_size: float | None, tiff_flip_y: bool) -> None:
    _check_suffix(path)
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff") and tiff_flip_y:
        image = image[::-1]
    with _writing(path), whole_file(path) as aside:
        _WRITERS[suffix](aside, image, pixel_size)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says into an error for people."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "The disk is full: free some space, or write elsewhere.",
            errno.EDQUOT: "The quota is used up: free some space, or write elsewhere.",
            errno.EACCES: "Writing there is not permitted: choose another folder.",
            errno.EROFS: "The disk is read-only: choose another folder.",
        }
        raise JobError(
            f"the mask cannot be written ({error.strerror or error})",
            where=path,
            hint=hints.get(error.errno or 0),
        ) from error
    except ImportError as error:
        raise MissingDependencyError(
            f"writing this needs {error.name}", where=path, hint="pip install micscreen"
        ) from error


def _write_npy(path: Path, image: NDArray[Any], pixel_size: float | None) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(image))
        file.write(image.data)  # np.save would hide why a disk refuses


def _write_mrc(path: Path, image: NDArray[Any], pixel_size: float | None) -> None:
    import mrcfile

    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(image)
        file.header.label[0] = "micscreen"  # instead of the time, so that bytes do not vary
        file.header.nlabl = 1
        if pixel_size is not None:
            file.voxel_size = pixel_size


def _write_tiff(path: Path, image: NDArray[Any], pixel_size: float | None) -> None:
    import tifffile

    resolution: dict[str, Any] = {}
    if pixel_size is not None:
        resolution = {"resolution": (1e8 / pixel_size,) * 2, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(
        path,
        image,
        compression="zlib",
        photometric="minisblack",
        metadata=None,
        software="micscreen",
        **resolution,
    )


def _write_png(path: Path, image: NDArray[Any], pixel_size: float | None) -> None:
    import imagecodecs

    path.write_bytes(imagecodecs.png_encode(image))


_WRITERS: Final[dict[str, Writer]] = {
    ".npy": _write_npy,
    ".mrc": _write_mrc,
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
    ".png": _write_png,
}
