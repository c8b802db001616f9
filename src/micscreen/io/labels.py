"""Labels of micrographs, painted by hand or by another program: class maps and masks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicrographFormatError
from micscreen.io.masks import read_array

IGNORE: Final = 255
"""Label of pixels that are left out: unsure, or outside the frame."""

BAD_OF_ANY_KIND: Final = 254
"""Label of what is bad without a word about its class, as in a mask."""

LabelKind = Literal["classes", "mask"]


def read_label(path: str | os.PathLike[str], *, tiff_flip_y: bool = True) -> NDArray[Any]:
    """Read a class map or a mask as its values are; whole numbers above 1 come as integers.

    Parameters
    ----------
    path
        Ends with .npy, .mrc, .tif or .png.
    tiff_flip_y
        As in `read_micrograph`.

    Returns
    -------
    Shape (h, w), any real dtype.

    Raises
    ------
    MicrographError
        The file cannot be read.
    MicrographFormatError
        It is damaged, or not one 2D array.
    """
    label = read_array(Path(path), tiff_flip_y=tiff_flip_y)
    if label.dtype.kind == "f" and label.max() > 1 and bool((label == np.rint(label)).all()):
        return label.astype(np.int64)  # a class map in an MRC file of floats
    return label


def label_kind(labels: Iterable[NDArray[Any]]) -> LabelKind:
    """Tell what the labels of a data set are: class maps when any holds a number of 2 to 5.

    A file alone may not tell: 0 and 1 may be good and film, or good and bad. Of a whole set, whole
    numbers of 2 to 5 only class maps hold; all else is taken as masks.
    """
    for label in labels:
        if label.dtype.kind in "iu" and bool(((label >= 2) & (label <= 5)).any()):
            return "classes"
    return "mask"


def as_classes(label: NDArray[Any], kind: LabelKind, where: Path) -> NDArray[np.uint8]:
    """Return a label as classes.

    Parameters
    ----------
    label
        Shape (h, w). Class map: whole numbers, 0 good, 1 to 5 bad, 255 left out. Mask: fractions in
        [0, 1], bad from 0.5; or whole numbers, where all but 0 is bad.
    kind
        Which of the two it is.
    where
        The file, for errors.

    Returns
    -------
    Shape (h, w), uint8: 0 good, 1 to 5 the class, `BAD_OF_ANY_KIND` or `IGNORE`.

    Raises
    ------
    MicrographFormatError
        When its values are those of neither.
    """
    if kind == "mask":
        bad = label >= 0.5 if label.dtype.kind == "f" else label != 0
        if label.dtype.kind == "f" and not (label.min() >= 0 and label.max() <= 1):
            raise MicrographFormatError(
                f"no mask: its values reach from {label.min():.4g} to {label.max():.4g}",
                where=where,
                hint="A mask lies in [0, 1]; a class map has whole numbers, 0 to 5 and 255.",
            )
        return np.where(bad, np.uint8(BAD_OF_ANY_KIND), np.uint8(0))
    known = (label >= 0) & (label <= 5) | (label == IGNORE)
    if label.dtype.kind == "f" or not bool(known.all()):
        strange = np.unique(label[~known])[:5].tolist() or f"fractions ({label.dtype.name})"
        raise MicrographFormatError(
            f"no class map: it holds {strange}",
            where=where,
            hint="Class maps have 0 good, 1 support film, 2 ice contamination, 3 crystalline ice, "
            "4 aggregate, 5 damaged, 255 left out.",
        )
    return np.asarray(label, np.uint8)
