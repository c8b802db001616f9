"""Text tables of picks written from nothing: csv, tsv, Topaz, and two columns without a header."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from micscreen.errors import PicksError
from micscreen.io.files import write_whole
from micscreen.io.lines import coordinate_text, encode, whole_text
from micscreen.picks import CLASS_NAMES, REASONS, Picks

GOODNESS: Final = "goodness"
Columns = dict[str, list[str]]

_EXTENSIONS: Final = re.compile(r"(\.(mrcs?|map|rec|st|tiff?|png|jpe?g|gz|bz2))+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Style:
    """One kind of text table.

    Attributes
    ----------
    delimiter
        What stands between values.
    name_column
        Header of the micrograph's name; None when the file holds one micrograph and no header.
    columns
        From picks to text by column.
    name
        From a micrograph's name to what stands in the file.
    """

    delimiter: str
    name_column: str | None
    columns: Callable[[Picks], Columns]
    name: Callable[[str], str] = str


def write(path: Path, picks: Sequence[tuple[str, Picks]], style: Style) -> tuple[Path, ...]:
    """Write (micrograph's name, picks) pairs as one table; a column is there when any pair has it.

    A single pair without a name ('') gets no column for it.

    Raises
    ------
    PicksError
        When several micrographs go to a format of one, or have no names.
    """
    named = style.name_column is not None and not (len(picks) == 1 and not picks[0][0])
    if len(picks) > 1 and (not named or not all(name for name, _ in picks)):
        raise PicksError(
            f"picks of {len(picks)} micrographs, but no names to tell them apart", where=path
        )
    tables = [style.columns(one) for _, one in picks] or [style.columns(_NO_PICKS)]
    columns = list(dict.fromkeys(column for table in tables for column in table))
    header = [style.name_column, *columns] if named and style.name_column else columns
    out = [] if style.name_column is None else [style.delimiter.join(header)]
    for (name, one), table in zip(picks, tables, strict=False):
        empty = [""] * len(one)
        values = [table.get(column, empty) for column in columns]
        if named:
            values.insert(0, [_value(style.name(name), style.delimiter, path)] * len(one))
        out += [style.delimiter.join(row) for row in zip(*values, strict=True)]
    write_whole(path, encode("".join(line + "\n" for line in out)))
    return (path,)


def _value(name: str, delimiter: str, path: Path) -> str:
    """Return a micrograph's name as one value of a row, in quotes when it needs them."""
    if "\n" in name or "\r" in name:
        raise PicksError(f"a micrograph's name has a line end in it: {name!r}", where=path)
    if delimiter in name or '"' in name or name[:1] in ("#", " "):
        return '"' + name.replace('"', '""') + '"'
    return name


def _everything(picks: Picks) -> Columns:
    """Return all that is known of the picks."""
    columns = _centres(picks)
    if picks.box_size is not None:
        columns["box_size"] = [coordinate_text(picks.box_size)] * len(picks)
    if picks.figure_of_merit is not None:
        columns["figure_of_merit"] = [f"{value:.9g}" for value in picks.figure_of_merit]
    if picks.goodness is not None:
        columns[GOODNESS] = [f"{value:.6f}" for value in picks.goodness]
    if picks.class_index is not None:
        columns["class"] = [CLASS_NAMES[value] for value in picks.class_index]
    if picks.distance is not None:
        columns["distance_px"] = [f"{value:.1f}" for value in picks.distance]
    if picks.reason is not None:
        columns["reason"] = [REASONS[value] for value in picks.reason]
    return columns


def _centres(picks: Picks) -> Columns:
    return {
        "x": [coordinate_text(value) for value in picks.x],
        "y": [coordinate_text(value) for value in picks.y],
    }


def _topaz(picks: Picks) -> Columns:
    """Return Topaz's columns: whole numbers, its score, and the goodness behind them."""
    columns = {
        "x_coord": [whole_text(value) for value in picks.x],
        "y_coord": [whole_text(value) for value in picks.y],
    }
    if picks.figure_of_merit is not None:
        columns["score"] = [f"{value:.9g}" for value in picks.figure_of_merit]
    if picks.goodness is not None:
        columns[GOODNESS] = [f"{value:.6f}" for value in picks.goodness]
    return columns


def _stem(name: str) -> str:
    """Return a micrograph's name as Topaz writes it: without folder and extensions."""
    return _EXTENSIONS.sub("", PurePosixPath(name).name)


_NO_PICKS: Final = Picks(x=np.zeros(0), y=np.zeros(0))

CSV: Final = Style(",", "micrograph", _everything)
TSV: Final = Style("\t", "micrograph", _everything)
TOPAZ: Final = Style("\t", "image_name", _topaz, _stem)
TXT: Final = Style("\t", None, _centres)
