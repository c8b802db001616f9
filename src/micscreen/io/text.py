"""Coordinates as text tables: csv, tsv, Topaz, and two columns without a header.

A row is a line. Rows that are kept are the very text that they were; the goodness is appended as a
column, or replaces the column of that name. `FORMATS` has EMAN's two formats too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io import eman, text_new
from micscreen.io import lines as text_lines
from micscreen.io.table import PickFormat, PickTable, Selection
from micscreen.io.text_new import GOODNESS

X_NAMES: Final = ("x", "xcoor", "xcoord", "x_coord", "x-coordinate", "x_coordinate")
Y_NAMES: Final = ("y", "ycoor", "ycoord", "y_coord", "y-coordinate", "y_coordinate")
NAME_NAMES: Final = ("micrograph", "image_name", "filename", "micrograph_name")
MERIT_NAMES: Final = ("score", "figure_of_merit", "confidence")
BOX_NAMES: Final = ("box_size",)

_HINT: Final = "Decimal points are dots, and every row has the header's number of values."


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of one file are to be read.

    Attributes
    ----------
    kind
        Key of the format that these lines are: csv, tsv, topaz or txt.
    delimiter
        What stands between values; None means blanks in any number.
    header
        Index of the header's line, None when there is none.
    names
        The header's columns, lower case.
    x, y
        Indices of the coordinate columns.
    micrograph, merit, box, goodness
        Indices of columns that may be there.
    """

    kind: str
    delimiter: str | None
    header: int | None = None
    names: tuple[str, ...] = ()
    x: int = 0
    y: int = 1
    micrograph: int | None = None
    merit: int | None = None
    box: int | None = None
    goodness: int | None = None


def find_layout(lines: Sequence[str], first: int) -> Layout | None:
    """Return the layout of a file whose first line with data is `first`; None when it is none.

    Without a header, tabs are blanks among others; a header with tabs has tabs between values.
    """
    line = lines[first].strip(text_lines.BYTE_ORDER_MARK + "\r\n")
    delimiter = next((mark for mark in ",;" if mark in line), None)
    values = text_lines.split_values([line], delimiter)[0]
    if len(values) >= 2 and text_lines.is_number(values[0]) and text_lines.is_number(values[1]):
        return Layout("txt", delimiter)
    delimiter = next((mark for mark in "\t,;" if mark in line), None)
    values = [value.strip() for value in text_lines.split_values([line], delimiter)[0]]
    names = tuple(value.lower() for value in values)
    x, y = _first(names, X_NAMES), _first(names, Y_NAMES)
    if x is None or y is None:
        return None
    topaz = delimiter == "\t" and {"image_name", "x_coord", "y_coord"} <= set(names)
    blank = delimiter in (None, "\t")
    return Layout(
        kind="topaz" if topaz else "tsv" if blank else "csv",
        delimiter=delimiter,
        header=first,
        names=names,
        x=x,
        y=y,
        micrograph=_first(names, NAME_NAMES),
        merit=_first(names, MERIT_NAMES),
        box=_first(names, BOX_NAMES),
        goodness=_first(names, (GOODNESS,)),
    )


def _first(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


@dataclass(frozen=True, slots=True)
class _Content:
    """The lines of a file, where its rows are, and how they are to be read."""

    lines: list[str]
    rows: list[int]
    layout: Layout


def _open(path: Path, kind: str) -> _Content:
    """Read the lines of `path`; PicksError when they are not of the format `kind`."""
    lines = text_lines.read_lines(path)
    data = text_lines.data_lines(lines)
    if not data:
        return _Content(lines, [], Layout(kind, None))
    try:
        layout = find_layout(lines, data[0])
    except ValueError as error:
        raise PicksError(f"line {data[0] + 1}: {error}", where=path) from error
    if layout is None:
        raise PicksError(
            f"the first line has neither two numbers nor columns x and y: "
            f"{lines[data[0]].strip()[:80]!r}",
            where=path,
            hint=f"Known names are {', '.join(X_NAMES)}; upper or lower case.",
        )
    if layout.kind != kind:
        raise PicksError(
            f"this is `{layout.kind}`, not `{kind}`",
            where=path,
            hint=f"--coordinate-format {layout.kind}",
        )
    if layout.header is None:
        lines[data[0]] = lines[data[0]].removeprefix(text_lines.BYTE_ORDER_MARK)
        return _Content(lines, data, layout)
    return _Content(lines, data[1:], layout)


class _Columns:
    """The values of the rows, gathered piece by piece, and what was wrong with them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.numbers: dict[str, list[NDArray[np.float64]]] = {"x": [], "y": []}
        self.numbers |= {n: [] for n in ("merit", "box") if getattr(layout, n) is not None}
        self.names: dict[str, int] = {}
        self.index: list[int] = []
        self.problems: list[str] = []

    def add(self, lines: Sequence[str], where: Sequence[int]) -> None:
        """Take the values of some rows, whose lines have the indices `where`."""
        layout = self.layout
        columns, lengths = text_lines.columns(lines, layout.delimiter, max(2, len(layout.names)))
        for name, pieces in self.numbers.items():
            pieces.append(text_lines.numbers(columns[getattr(layout, name)]))
        bad = ~(np.isfinite(self.numbers["x"][-1]) & np.isfinite(self.numbers["y"][-1]))
        if layout.header is not None:
            bad |= lengths != len(layout.names)
        if layout.micrograph is not None:
            found = columns[layout.micrograph]
            for name in dict.fromkeys(found):
                self.names.setdefault(name, len(self.names))
            self.index.extend(map(self.names.__getitem__, found))
            if "" in self.names:
                bad |= np.array([not name for name in found])
        for i in np.flatnonzero(bad).tolist():
            problem = self._problem(int(lengths[i]), columns[layout.x][i], columns[layout.y][i])
            self.problems.append(f"line {where[i] + 1}: {problem}")

    def _problem(self, length: int, x: str, y: str) -> str:
        if self.layout.header is not None and length != len(self.layout.names):
            return f"has {length} values, the header {len(self.layout.names)}"
        if not text_lines.is_number(x):
            return f"x is {x!r}"
        return "has no micrograph name" if text_lines.is_number(y) else f"y is {y!r}"

    def column(self, name: str) -> NDArray[np.float64] | None:
        """Return all values of one column, None when the file has no such column."""
        pieces = self.numbers.get(name)
        if pieces is None:
            return None
        return np.concatenate(pieces) if pieces else np.zeros(0)


def read(path: Path, kind: str) -> PickTable:
    """Read a text table of the format `kind`.

    Scores that are no numbers become NaN in the figure of merit; their text stays in the file.

    Raises
    ------
    PicksError
        When the file is of another format, or has rows without two finite coordinates, with
        another number of values than the header, or without a micrograph's name.
    """
    content = _open(path, kind)
    columns = _Columns(content.layout)
    for start in range(0, len(content.rows), text_lines.CHUNK):
        here = content.rows[start : start + text_lines.CHUNK]
        try:
            columns.add([content.lines[n] for n in here], here)
        except ValueError as error:
            odd = next((n for n in here if content.lines[n].count('"') % 2), here[0])
            raise PicksError(f"line {odd + 1}: {error}", where=path) from error
    text_lines.raise_problems(path, columns.problems, hint=_HINT)
    return _table(path, content, columns)


def _table(path: Path, content: _Content, columns: _Columns) -> PickTable:
    many = content.layout.micrograph is not None or content.layout.kind == "topaz"
    x, y, box = columns.column("x"), columns.column("y"), columns.column("box")
    assert x is not None and y is not None  # every layout has them
    sizes = np.unique(box) if box is not None else np.zeros(0)
    same_box = len(sizes) == 1 and 0 < sizes[0] < np.inf
    return PickTable(
        format=content.layout.kind,
        source=path,
        micrographs=tuple(columns.names) if many else (path.name,),
        micrograph_index=np.array(columns.index, np.int32) if many else np.zeros(len(x), np.int32),
        x=x,
        y=y,
        box_size=float(sizes[0]) if same_box else None,
        figure_of_merit=columns.column("merit"),
        members=(path,),
    )


def _write_subset(table: PickTable, selection: Selection, folder: Path) -> tuple[Path, ...]:
    """Write the kept lines below `folder`, with goodness and coordinates where they are given."""
    content = _open(table.source, table.format)
    text_lines.check_unchanged(table.source, len(content.rows), len(table))
    lines, layout = content.lines, content.layout
    kept = np.flatnonzero(selection.keep).tolist()
    if selection.x is not None or (selection.goodness is not None and layout.goodness is not None):
        for row in kept:
            line = lines[content.rows[row]]
            changes = _changes(line, row, layout, selection)
            lines[content.rows[row]] = text_lines.change_fields(line, layout.delimiter, changes)
    if selection.goodness is not None and layout.header is not None and layout.goodness is None:
        glue = layout.delimiter or " "
        where = [layout.header, *(content.rows[row] for row in kept)]
        values = [f"{value:.6f}" for value in selection.goodness[selection.keep].tolist()]
        for n, value in zip(where, [GOODNESS, *values], strict=True):
            body = lines[n].rstrip("\r\n")
            lines[n] = f"{body}{glue}{value}{lines[n][len(body) :]}"
    path = folder / table.source.name
    return (text_lines.write_kept(path, lines, content.rows, selection.keep),)


def _changes(line: str, row: int, layout: Layout, selection: Selection) -> list[tuple[int, str]]:
    """Return (column, new text) for the values of a kept row that change."""
    changes: list[tuple[int, str]] = []
    if selection.x is not None and selection.y is not None:
        text = text_lines.whole_text if layout.kind == "topaz" else text_lines.coordinate_text
        changes += [
            (layout.x, text(float(selection.x[row]))),
            (layout.y, text(float(selection.y[row]))),
        ]
        if layout.box is not None:
            box = text_lines.number(
                text_lines.split_values([line], layout.delimiter)[0][layout.box]
            )
            if np.isfinite(box):
                changes.append((layout.box, text_lines.coordinate_text(box * selection.scale)))
    if selection.goodness is not None and layout.goodness is not None:
        changes.append((layout.goodness, f"{selection.goodness[row]:.6f}"))
    return changes


def _sniff(path: Path, head: bytes, kind: str) -> bool:
    if b"\0" in head:
        return False
    lines = text_lines.split_lines(head.decode("utf-8", "replace"))
    data = text_lines.data_lines(lines)
    if not data:
        return kind == "txt" and path.suffix.lower() in _HEADERLESS
    if path.suffix.lower() == ".box":
        return False
    try:
        layout = find_layout(lines, data[0])
    except ValueError:
        return False
    return layout is not None and layout.kind == kind


def _format(
    kind: str, description: str, extensions: tuple[str, ...], y_rule: str, writer: text_new.Style
) -> PickFormat:
    return PickFormat(
        name=kind,
        description=description,
        extensions=extensions,
        anchor="centre",
        y_rule=y_rule,
        many=kind != "txt",
        goodness_column=None if kind == "txt" else GOODNESS,
        sniff=partial(_sniff, kind=kind),
        read=partial(read, kind=kind),
        write_subset=_write_subset,
        write_new=partial(text_new.write, style=writer),
    )


_HEADERLESS: Final = (".txt", ".coord", ".coords", ".csv", ".tsv")
_ROWS: Final = "file rows, as the program that picked counted them"
_CRYOPPP: Final = f"{_ROWS}; CryoPPP's Y-Coordinate counts from the bottom (--flip-y yes)"

FORMATS: Final[tuple[PickFormat, ...]] = (
    *eman.FORMATS,
    _format(
        "csv",
        "columns x and y (or xcoor, x_coord, X-Coordinate ...), separated by commas or semicolons;"
        " a column micrograph, image_name or filename makes it one file for many micrographs",
        (".csv", ".txt"),
        _CRYOPPP,
        text_new.CSV,
    ),
    _format(
        "tsv",
        "the same as csv, separated by tabs or blanks",
        (".tsv", ".txt", ".coord"),
        _CRYOPPP,
        text_new.TSV,
    ),
    _format(
        "topaz",
        "Topaz: columns image_name (without extension), x_coord, y_coord and perhaps score",
        (".txt", ".tsv"),
        _ROWS,
        text_new.TOPAZ,
    ),
    _format(
        "txt",
        "no header, x and y are the first two columns, separated by blanks, tabs or commas",
        _HEADERLESS,
        _ROWS,
        text_new.TXT,
    ),
)
