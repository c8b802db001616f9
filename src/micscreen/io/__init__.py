"""Files in and out: micrographs, masks and coordinates.

The names below are loaded when they are first used, so that importing this package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from micscreen.io.coordinates import (
        CoordinateSet,
        is_coordinate_name,
        read_coordinate_folder,
        read_coordinates,
        read_picks,
        write_picks,
        write_subset,
    )
    from micscreen.io.formats import FORMATS
    from micscreen.io.masks import read_mask, write_class_map, write_mask
    from micscreen.io.matching import Matching, match, pick_stem
    from micscreen.io.micrographs import (
        MICROGRAPH_SUFFIXES,
        micrograph_shape,
        micrograph_stem,
        read_micrograph,
    )
    from micscreen.io.table import PickFormat, PickTable, Selection

_HOMES: Final = {
    "formats": ("FORMATS",),
    "coordinates": (
        "CoordinateSet",
        "is_coordinate_name",
        "read_coordinate_folder",
        "read_coordinates",
        "read_picks",
        "write_picks",
        "write_subset",
    ),
    "masks": ("read_mask", "write_class_map", "write_mask"),
    "matching": ("Matching", "match", "pick_stem"),
    "micrographs": (
        "MICROGRAPH_SUFFIXES",
        "micrograph_shape",
        "micrograph_stem",
        "read_micrograph",
    ),
    "table": ("PickFormat", "PickTable", "Selection"),
}

__all__ = [
    "FORMATS",
    "MICROGRAPH_SUFFIXES",
    "CoordinateSet",
    "Matching",
    "PickFormat",
    "PickTable",
    "Selection",
    "is_coordinate_name",
    "match",
    "micrograph_shape",
    "micrograph_stem",
    "pick_stem",
    "read_coordinate_folder",
    "read_coordinates",
    "read_mask",
    "read_micrograph",
    "read_picks",
    "write_class_map",
    "write_mask",
    "write_picks",
    "write_subset",
]


def __getattr__(name: str) -> Any:
    """Load a name from its module when it is first used (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
