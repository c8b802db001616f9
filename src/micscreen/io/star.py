"""The STAR family: RELION per-micrograph and particle files, crYOLO .cbox, Xmipp .pos.

All of them are STAR text with a table of picks under different column names (`_Layout`), so they
share one reader and one writer. Filtering copies the rows that are kept byte for byte; only the
goodness, and x and y when the output is on another scale, are written anew.
RELION's list of coordinate files is in `micscreen.io.star_list`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io.star_copy import Cells, Edits, write_parts
from micscreen.io.star_new import fixed, write_cbox, write_pos, write_relion
from micscreen.io.star_rows import skip
from micscreen.io.star_text import Loop, StarText, load, new_column
from micscreen.io.table import PickFormat, PickTable, Selection
from micscreen.io.xmipp import config_box, copy_config

_MISSING: Final = (b"<NA>", b"nan", b"-nan", b"NaN", b"None", b"null", b"?", b".")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Under which column names one format keeps its picks."""

    format: str
    x: str
    y: str
    merit: str
    goodness: str = "_micscreenGoodness"
    micrograph: str | None = None
    box: tuple[str, str] | None = None
    whole_numbers: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that make a table a table of picks."""
        return (self.x, self.y, *filter(None, [self.micrograph]), *(self.box or ()))


_RELION: Final = _Layout(
    "relion", "_rlnCoordinateX", "_rlnCoordinateY", "_rlnAutopickFigureOfMerit"
)
_PARTICLES: Final = _Layout(
    "relion_particles",
    "_rlnCoordinateX",
    "_rlnCoordinateY",
    "_rlnAutopickFigureOfMerit",
    micrograph="_rlnMicrographName",
)
_CBOX: Final = _Layout(
    "cryolo_cbox", "_CoordinateX", "_CoordinateY", "_Confidence", box=("_Width", "_Height")
)
_POS: Final = _Layout(
    "xmipp_pos", "_xcoor", "_ycoor", "_cost", goodness="_goodRegionScore", whole_numbers=True
)
_TOMOGRAPHY: Final = ("_rlnCenteredCoordinateXAngst", "_rlnTomoName", "_rlnTomoParticleName")
HEAD: Final = 1 << 16
"""How many bytes of a file are looked at to find out its format."""


def read(layout: _Layout, path: Path) -> PickTable:
    """Read a STAR file with picks.

    Raises
    ------
    PicksError
        When the text is broken, holds no picks of this kind, or is RELION 5 tomography.
    """
    text = _look(layout, path)
    loops = _pick_loops(layout, text)
    x = _joined([text.numbers(loop, layout.x) for loop in loops])
    y = _joined([text.numbers(loop, layout.y) for loop in loops])
    names: tuple[str, ...] = (path.name,)
    index = np.zeros(len(x), np.int32)
    if layout.micrograph is not None:
        names, index = _micrographs(text, loops, layout.micrograph)
    box_size: float | None = None
    if layout.box is not None:
        width, height = (_joined([text.numbers(loop, tag) for loop in loops]) for tag in layout.box)
        x, y = x + width / 2, y + height / 2
        box_size = float(np.median(np.maximum(width, height))) if len(width) else None
    elif layout is _POS:
        box_size = config_box(path.parent)
    if box_size is not None and not 0 < box_size < float("inf"):
        raise PicksError(f"a box size of {box_size} px is impossible", where=path)
    return PickTable(
        format=layout.format,
        source=path,
        micrographs=names,
        micrograph_index=index,
        x=x,
        y=y,
        box_size=box_size,
        figure_of_merit=_merits(layout, text, loops),
        members=(path,),
    )


def write_subset(
    layout: _Layout, table: PickTable, selection: Selection, folder: Path
) -> tuple[Path, ...]:
    """Write the kept rows under the source's own name in `folder`; see `Selection`.

    Raises
    ------
    PicksError
        When the source changed since it was read.
    """
    source, target = table.source, folder / table.source.name
    text = _look(layout, source)
    loops = _pick_loops(layout, text)
    if sum(map(len, loops)) != len(table):
        raise PicksError(
            f"held {len(table)} picks when it was read and {sum(map(len, loops))} now",
            where=source,
            hint="Another program is writing it; start again when it is complete.",
        )
    parts, first = [], 0
    for loop in loops:
        part = slice(first, first + len(loop))
        edits = _edits(layout, text, loop, selection, part)
        parts.append((loop, selection.keep[part], edits))
        first += len(loop)
    write_parts(target, text, parts)
    if layout is _POS:
        return (target, *copy_config(source.parent, folder, selection.scale))
    return (target,)


def _edits(layout: _Layout, text: StarText, loop: Loop, selection: Selection, part: slice) -> Edits:
    """Return the cells of one loop that get another text, in the order of the columns."""
    cells: Cells = []
    for tag, values in _new_coordinates(layout, text, loop, selection, part).items():
        cells.append((loop.columns[tag], fixed(values, 0 if layout.whole_numbers else 6)))
    new_label = None
    if selection.goodness is not None:
        goodness = selection.goodness[part].astype(np.float64)
        if layout.goodness in loop.columns:
            cells.append((loop.columns[layout.goodness], fixed(goodness, 6)))
        else:
            new_label = new_column(text, loop, layout.goodness)
            ends = np.stack((loop.row_ends, loop.row_ends), axis=1)
            cells.append((ends, fixed(goodness, 6, prefix=b" ")))
    cells.sort(key=lambda cell: int(cell[0][0, 0]) if len(cell[0]) else 0)
    return Edits(cells, new_label)


def _new_coordinates(
    layout: _Layout, text: StarText, loop: Loop, selection: Selection, part: slice
) -> dict[str, NDArray[np.float64]]:
    """Return the columns that an output on another scale needs, as the file counts them."""
    if selection.x is None or selection.y is None:
        return {}
    x, y = selection.x[part], selection.y[part]
    if layout.box is None:
        return {layout.x: x, layout.y: y}
    width, height = (text.numbers(loop, tag) * selection.scale for tag in layout.box)
    return {
        layout.x: x - width / 2,
        layout.y: y - height / 2,
        layout.box[0]: width,
        layout.box[1]: height,
    }


def _look(layout: _Layout, path: Path) -> StarText:
    """Look through a file once for reading it and for writing both its subsets."""
    state = path.stat()
    return _look_once(layout, path, (state.st_ino, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=1)
def _look_once(layout: _Layout, path: Path, state: tuple[int, ...]) -> StarText:
    return load(path, {*layout.needed, layout.merit, layout.goodness})


def _pick_loops(layout: _Layout, text: StarText) -> list[Loop]:
    """Return the tables of picks; PicksError says what is there instead of them."""
    if not text.blocks and layout.micrograph is None:
        return []  # RELION leaves a file without any block for a micrograph without picks.
    tags = {tag for loop in text.loops for tag in loop.tags}
    if foreign := [tag for tag in _TOMOGRAPHY if tag in tags]:
        raise PicksError(
            f"is a tomography file (column {foreign[0]}): its picks lie in 3D, not on micrographs",
            where=text.path,
            hint="micscreen screens picks of single-particle micrographs.",
        )
    loops = text.loops_with(layout.needed)
    if loops or (layout is _POS and "header" in text.blocks):
        return loops
    raise PicksError(
        f"no table with the columns {', '.join(tag[1:] for tag in layout.needed)}",
        where=text.path,
        hint=f"Its blocks: {', '.join(f'data_{name}' for name in text.blocks) or 'none'}; "
        f"its columns: {', '.join(sorted(tag[1:] for tag in tags)) or 'none'}.",
    )


def _joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0), *parts])


def _micrographs(
    text: StarText, loops: list[Loop], tag: str
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the names in order of first use, and each row's index, over all tables of picks."""
    if len(loops) == 1:
        return text.names(loops[0], tag)
    found: dict[str, int] = {}
    parts: list[NDArray[np.int32]] = []
    for loop in loops:
        names, index = text.names(loop, tag)
        parts.append(
            np.array([found.setdefault(name, len(found)) for name in names], np.int32)[index]
        )
    return tuple(found), np.concatenate(parts)


def _merits(layout: _Layout, text: StarText, loops: list[Loop]) -> NDArray[np.float64] | None:
    """Return the picker's own scores, NaN where it gave none, None when it gave none at all."""
    merits = _joined(
        [
            text.numbers(loop, layout.merit, missing=_MISSING)
            if layout.merit in loop.columns
            else np.full(len(loop), np.nan)
            for loop in loops
        ]
    )
    has_column = any(layout.merit in loop.columns for loop in loops)
    return merits if has_column and not (len(merits) and np.isnan(merits).all()) else None


def has(head: bytes, *tags: str) -> bool:
    """Whether all these column names stand at the start of a line of the text."""
    return all(
        tag in head and re.search(rb"^[ \t]*" + tag + rb"(?=\s)", head, re.MULTILINE)
        for tag in (name.encode() for name in tags)
    )


def _sniff_relion(path: Path, head: bytes) -> bool:
    if path.suffix.lower() == ".star" and len(head) < HEAD and skip(head, 0) == len(head):
        return True  # nothing but comments
    foreign = (_PARTICLES.micrograph or "", *_TOMOGRAPHY)
    return has(head, _RELION.x, _RELION.y) and not any(has(head, tag) for tag in foreign)


def _sniff_pos(path: Path, head: bytes) -> bool:
    nothing = path.suffix.lower() == ".pos" and head.startswith(b"# XMIPP_STAR_1")
    return nothing or has(head, *_POS.needed)


def _sniff_particles(path: Path, head: bytes) -> bool:
    if has(head, *_PARTICLES.needed) or any(has(head, tag) for tag in _TOMOGRAPHY):
        return True
    # A long optics table hides the particles' column names from the head.
    if len(head) < HEAD or not has(head, "_rlnOpticsGroup"):
        return False
    return bool(load(path, ()).loops_with(_PARTICLES.needed))


FORMATS: Final = (
    PickFormat(
        name="relion",
        description="RELION STAR file of one micrograph (_autopick.star, _manualpick.star)",
        extensions=(".star",),
        anchor="centre",
        y_rule="file rows",
        many=False,
        goodness_column=_RELION.goodness,
        sniff=_sniff_relion,
        read=partial(read, _RELION),
        write_subset=partial(write_subset, _RELION),
        write_new=write_relion,
    ),
    PickFormat(
        name="relion_particles",
        description="RELION particles.star of many micrographs, with or without optics table",
        extensions=(".star",),
        anchor="centre",
        y_rule="file rows",
        many=True,
        goodness_column=_PARTICLES.goodness,
        sniff=_sniff_particles,
        read=partial(read, _PARTICLES),
        write_subset=partial(write_subset, _PARTICLES),
    ),
    PickFormat(
        name="cryolo_cbox",
        description="crYOLO .cbox of one micrograph",
        extensions=(".cbox",),
        anchor="corner",
        y_rule="file rows",
        many=False,
        goodness_column=_CBOX.goodness,
        sniff=lambda path, head: has(head, *_CBOX.needed),
        read=partial(read, _CBOX),
        write_subset=partial(write_subset, _CBOX),
        write_new=write_cbox,
    ),
    PickFormat(
        name="xmipp_pos",
        description="Xmipp .pos of one micrograph, with config.xmd beside it",
        extensions=(".pos",),
        anchor="centre",
        y_rule="file rows",
        many=False,
        goodness_column=_POS.goodness,
        sniff=_sniff_pos,
        read=partial(read, _POS),
        write_subset=partial(write_subset, _POS),
        write_new=write_pos,
    ),
)
