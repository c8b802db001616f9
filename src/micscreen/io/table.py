"""The nouns of coordinate files: what was read from one, and what a format can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from micscreen.picks import Picks


@dataclass(frozen=True, slots=True, eq=False)
class PickTable:
    """All picks of one coordinate source, of one micrograph or of many, in file order.

    Attributes
    ----------
    format
        Key into `micscreen.io.FORMATS`.
    source
        The file that was named: the coordinate file itself, or the list or group file.
    micrographs
        Micrograph names exactly as the file writes them; for a file that belongs to one micrograph
        and does not name it, the coordinate file's own name.
    micrograph_index
        Shape (n,), int32: row to index into `micrographs`.
    x, y
        Shape (n,), float64: centres in px of the picking micrograph; fractions of its width and
        height when `needs_shape`.
    box_size
        Side of the box in px when the file says it, else None.
    figure_of_merit
        Shape (n,) or None: the picker's own score.
    needs_shape
        Whether x, y are fractions that wait for the micrograph's shape.
    members
        Every file that the table rests on, `source` among them.
    """

    format: str
    source: Path
    micrographs: tuple[str, ...]
    micrograph_index: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    box_size: float | None = None
    figure_of_merit: NDArray[np.float64] | None = None
    needs_shape: bool = False
    members: tuple[Path, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.x)

    def rows_by_micrograph(self) -> list[NDArray[np.int64]]:
        """Return, per micrograph, its row numbers in file order; one sort for all of them."""
        order = np.argsort(self.micrograph_index, kind="stable")
        counts = np.bincount(self.micrograph_index, minlength=len(self.micrographs))
        return np.split(order, np.cumsum(counts)[:-1]) if len(self.micrographs) else []

    def part(self, rows: NDArray[np.int64]) -> PickTable:
        """Return a table of the same source with only these rows, which are one micrograph's."""
        name = self.micrographs[int(self.micrograph_index[rows[0]])] if len(rows) else ""
        merit = None if self.figure_of_merit is None else self.figure_of_merit[rows]
        return replace(
            self,
            micrographs=(name,),
            micrograph_index=np.zeros(len(rows), np.int32),
            x=self.x[rows],
            y=self.y[rows],
            figure_of_merit=merit,
        )

    def picks(self, rows: NDArray[np.int64], shape: tuple[int, int] | None = None) -> Picks:
        """Return the picks in `rows`; `shape` (h, w) in px is needed when `needs_shape`."""
        x, y = self.x[rows], self.y[rows]
        if self.needs_shape:
            if shape is None:
                raise ValueError("fractions need the shape of the micrograph")
            x, y = x * shape[1], y * shape[0]
        merit = None if self.figure_of_merit is None else self.figure_of_merit[rows]
        return Picks(x=x, y=y, box_size=self.box_size, figure_of_merit=merit)


class PickTables(Sequence[PickTable]):
    """Tables in order, which take little memory while nobody looks at them.

    A job may have tens of thousands of coordinate files with the picks of one micrograph each. Of
    these only the names and the bytes of the numbers are held, a quarter of what the table needs,
    which is made anew whenever it is asked for. All others are held as they are.

    Parameters
    ----------
    tables
        What is in it at first.
    """

    def __init__(self, tables: Iterable[PickTable] = ()) -> None:
        self._held = [_packed(table) for table in tables]

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, number: int) -> PickTable: ...

    @overload
    def __getitem__(self, number: slice) -> PickTables: ...

    def __getitem__(self, number: int | slice) -> PickTable | PickTables:
        if isinstance(number, slice):
            some = PickTables()
            some._held = self._held[number]
            return some
        held = self._held[number]
        return held if isinstance(held, PickTable) else held.table()

    def __setitem__(self, number: int, table: PickTable) -> None:
        self._held[number] = _packed(table)

    def append(self, table: PickTable) -> None:
        """Add a table at the end."""
        self._held.append(_packed(table))


@dataclass(frozen=True, slots=True)
class _Packed:
    """A table that rests on one file and holds one micrograph; `numbers` are x, y and merit."""

    format: str
    source: str
    micrograph: str | None
    numbers: bytes
    box_size: float | None
    has_merit: bool
    needs_shape: bool

    def table(self) -> PickTable:
        """Return the table; its arrays cannot be written to."""
        source = Path(self.source)
        columns = np.frombuffer(self.numbers, np.float64).reshape(2 + self.has_merit, -1)  # (c, n)
        return PickTable(
            format=self.format,
            source=source,
            micrographs=(source.name if self.micrograph is None else self.micrograph,),
            micrograph_index=np.zeros(columns.shape[1], np.int32),
            x=columns[0],
            y=columns[1],
            box_size=self.box_size,
            figure_of_merit=columns[2] if self.has_merit else None,
            needs_shape=self.needs_shape,
            members=(source,),
        )


def _packed(table: PickTable) -> PickTable | _Packed:
    """Return a table as `PickTables` holds it."""
    if len(table.micrographs) != 1 or table.members != (table.source,):
        return table
    merit = table.figure_of_merit
    columns = [table.x, table.y] if merit is None else [table.x, table.y, merit]
    (name,) = table.micrographs
    return _Packed(
        format=table.format,
        source=str(table.source),
        micrograph=None if name == table.source.name else name,
        numbers=np.stack(columns).astype(np.float64).tobytes(),
        box_size=table.box_size,
        has_merit=merit is not None,
        needs_shape=table.needs_shape,
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a table go into an output set, and what is written beside them.

    Attributes
    ----------
    keep
        Shape (n,), bool.
    goodness
        Shape (n,), float32, written where the format can hold it; None writes none.
    x, y
        Shape (n,): new centres in px, when the output is on another scale; None leaves the very
        text of the coordinates.
    scale
        What to multiply box sizes in the file with, when x and y are given.
    """

    keep: NDArray[np.bool_]
    goodness: NDArray[np.float32] | None = None
    x: NDArray[np.float64] | None = None
    y: NDArray[np.float64] | None = None
    scale: float = 1.0


Reader = Callable[[Path], PickTable]
SubsetWriter = Callable[[PickTable, Selection, Path], tuple[Path, ...]]
"""(table, selection, folder) -> files written below the folder, under the source's own names."""
NewWriter = Callable[[Path, Sequence[tuple[str, Picks]]], tuple[Path, ...]]
"""(file, [(micrograph name, picks), ...]) -> files written."""


@dataclass(frozen=True, slots=True)
class PickFormat:
    """One row of the table of coordinate formats.

    Attributes
    ----------
    name, description
        The key, and a line for people.
    extensions
        File name endings, lower case, with the dot.
    anchor
        What the file's x, y mean: the particle's centre, the box's corner with the smallest x and
        y, or a fraction of the micrograph.
    y_rule
        How y counts, a line for the documentation.
    many
        Whether one file holds the picks of many micrographs.
    goodness_column
        Where the goodness goes; None when the format has no room for it.
    sniff
        Whether the file's content (path, first 64 KiB) looks like this format.
    read, write_subset, write_new
        The three things that can be done; `write_new` is None when only filtering is possible.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    anchor: Literal["centre", "corner", "fraction"]
    y_rule: str
    many: bool
    goodness_column: str | None
    sniff: Callable[[Path, bytes], bool]
    read: Reader
    write_subset: SubsetWriter
    write_new: NewWriter | None = None
