"""cryoSPARC's exposures: which micrographs a `.cs` or `.csg` names, and figures in its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from micscreen.errors import MicrographFormatError
from micscreen.io import npy
from micscreen.io.cryosparc import NAME, group_members, load, path_text
from micscreen.io.files import write_whole
from micscreen.io.star_list import project_of

PATHS: Final = ("micrograph_blob/path", NAME)
"""Fields that name micrographs, in the order in which they are believed."""


def exposure_paths(path: Path) -> tuple[Path, ...]:
    """Return the micrographs that a `.cs` file or `.csg` group names, in order, each once.

    Names are relative to the cryoSPARC project, which is the first folder upwards of the file, or
    of the working directory, under which some of them exist.

    Raises
    ------
    MicrographFormatError
        When it names none.
    PicksError
        When it cannot be read as such a file.
    """
    _, rows, field = _naming(path)
    return tuple(dict.fromkeys(_placed(path, rows, field)))


def write_exposures(
    source: Path, folder: Path, found: Mapping[str, Mapping[str, float]], fields: Sequence[str]
) -> tuple[Path, ...]:
    """Write a `.cs` file, or a `.csg` group with its files, again with statistics per exposure.

    Every row and field stays the same to the bit; the new ones are float32 behind them, NaN where
    nothing was found.

    Parameters
    ----------
    source
        What `exposure_paths` read.
    folder
        Where to write, under the source's names.
    found
        Path of a micrograph, as `exposure_paths` gives it, to the values of its fields.
    fields
        Names of the fields, in order.
    """
    member, rows, field = _naming(source)
    values = [found.get(str(path), {}) for path in _placed(source, rows, field)]
    old = [name for name in (rows.dtype.names or ()) if name not in fields]
    descr: list[Any] = [d for d in np.lib.format.dtype_to_descr(rows.dtype) if d[0] in old]
    wider = np.zeros(
        len(rows), np.lib.format.descr_to_dtype([*descr, *((f, "<f4") for f in fields)])
    )
    for name in old:
        wider[name] = rows[name]
    for name in fields:
        wider[name] = [value.get(name, np.nan) for value in values]
    written = []
    for one in [member] if member == source else [source, *group_members(source)]:
        target = folder / one.relative_to(source.parent)
        if one == member:
            written.append(npy.write_table(target, wider))
        else:
            write_whole(target, one.read_bytes())
            written.append(target)
    return tuple(written)


def _naming(path: Path) -> tuple[Path, npy.Table, str]:
    """Return the file that names micrographs, its rows, and the field with the names."""
    members = group_members(path) if path.suffix.lower() == ".csg" else [path]
    for field in PATHS:
        for member in members:
            rows = load(member, ())
            if field in (rows.dtype.names or ()) and rows[field].dtype.kind in "SU":
                return member, rows, field
    raise MicrographFormatError(
        f"names no micrographs (no field {' or '.join(PATHS)})",
        where=path,
        hint="Give the exposures of a motion correction, CTF or curation job, or a folder.",
    )


def _placed(path: Path, rows: npy.Table, field: str) -> list[Path]:
    """Return the path of every row's micrograph."""
    column: Any = rows[field]
    names = [path_text(name) for name in column.tolist()]
    project = project_of(path, list(dict.fromkeys(names)))
    here = project.resolve() == Path.cwd()
    return [Path(name) if here else project / name for name in names]
