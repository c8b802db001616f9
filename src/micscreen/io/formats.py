"""The table of coordinate formats, and finding out which of them a file has."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from micscreen.errors import PicksError, UsageError
from micscreen.io import cryosparc, star, star_list, text
from micscreen.io.star import HEAD
from micscreen.io.table import PickFormat

_ROWS: Final = {
    row.name: row for row in (*star.FORMATS, *star_list.FORMATS, *cryosparc.FORMATS, *text.FORMATS)
}
_ORDER: Final = (
    *("relion", "relion_list", "relion_particles", "cryosparc_cs", "cryosparc_csg"),
    *("eman_box", "eman_json", "cryolo_cbox", "xmipp_pos", "topaz", "csv", "tsv", "txt"),
)

FORMATS: Final[dict[str, PickFormat]] = {name: _ROWS[name] for name in _ORDER}
"""Every coordinate format that can be read, by name."""

MAX_BYTES: Final = 8 << 30
"""Larger files are not taken for coordinates."""

_SHOWN: Final = 10


def find_format(path: Path, format: str | None = None) -> PickFormat:
    """Return the format of a file, by its content and its name's ending; see `read_coordinates`."""
    row = None if format is None else format_row(format)
    if path.is_dir():
        raise PicksError("is a folder, not a coordinate file", where=path)
    with path.open("rb") as file:
        head = file.read(HEAD)
        size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise PicksError(f"has {size / 2**30:.1f} GiB, too much for coordinates", where=path)
    ours = [one for one in FORMATS.values() if path.name.lower().endswith(one.extensions)]
    if size == 0:
        singles = [one for one in ([row] if row else ours) if not one.many]
        if not singles:
            raise PicksError("is empty (0 bytes), not even a header is there", where=path)
        return singles[0]
    if row is not None:
        return row
    rest = [one for one in FORMATS.values() if one not in ours]
    for candidates in (ours, rest):
        found = [one for one in candidates if one.sniff(path, head)]
        if len(found) == 1:
            return found[0]
        if found:
            raise _unclear(path, "could be " + " or ".join(one.name for one in found))
    blocks = re.findall(rb"^data_(\S+)", head, re.MULTILINE)
    if blocks:
        names = ", ".join(block.decode("utf-8", "replace") for block in blocks[:_SHOWN])
        raise _unclear(path, f"is a STAR file without columns of coordinates (blocks: {names})")
    raise _unclear(path, "is of no known coordinate format")


def _unclear(path: Path, what: str) -> PicksError:
    likely = [one for one in FORMATS.values() if path.name.lower().endswith(one.extensions)]
    return PicksError(
        what,
        where=path,
        hint="If you know what it is, say so with --coordinate-format: "
        + ", ".join(one.name for one in likely or FORMATS.values())
        + ".",
    )


def format_row(name: str) -> PickFormat:
    """Return a row of the table; UsageError for names that are not in it."""
    if name not in FORMATS:
        raise UsageError(
            f"there is no coordinate format '{name}'",
            where="--coordinate-format",
            hint=f"Take one of {', '.join(FORMATS)}.",
        )
    return FORMATS[name]
