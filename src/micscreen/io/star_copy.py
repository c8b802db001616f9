"""Filtered copies of STAR files: slices of the original, with a few cells written anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.io.files import whole_file
from micscreen.io.star_rows import Spans
from micscreen.io.star_text import Loop, StarText

_ROWS_AT_ONCE: Final = 4096

Cells = list[tuple[Spans, NDArray[np.bytes_]]]
"""Where values of one column stand, shape (n, 2), and their new text, shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Edits:
    """What changes in a table, apart from rows that go.

    Attributes
    ----------
    cells
        New texts, column by column in file order.
    new_label
        A column name to add: where, and its line; None adds none.
    """

    cells: Cells = field(default_factory=list)
    new_label: tuple[int, bytes] | None = None


def write_parts(
    path: Path, text: StarText, parts: Sequence[tuple[Loop, NDArray[np.bool_], Edits]]
) -> None:
    """Write a STAR file again with fewer rows in some of its tables, whole or not at all.

    Parameters
    ----------
    path
        The file to write.
    text
        The original.
    parts
        For tables in file order: which rows stay, shape (n,), and what changes in them.
    """
    with whole_file(path) as aside, aside.open("wb", buffering=1 << 20) as file:
        at = 0
        for loop, keep, edits in parts:
            if edits.new_label is not None:
                file.write(text.data[at : edits.new_label[0]])
                file.write(edits.new_label[1])
                at = edits.new_label[0]
            if len(loop):
                file.write(text.data[at : int(loop.rows[0, 0])])
                file.writelines(_kept_rows(text, loop, keep, edits.cells))
                at = int(loop.rows[-1, 1])
        file.write(text.data[at:])


def _kept_rows(
    text: StarText,
    loop: Loop,
    keep: NDArray[np.bool_],
    cells: Cells,
) -> Iterator[bytes]:
    """Give the text of the kept rows, and of everything that stands between rows."""
    for at in range(0, len(loop), _ROWS_AT_ONCE):
        some = slice(at, at + _ROWS_AT_ONCE)
        rows, kept = loop.rows[some], np.flatnonzero(keep[some])
        offset = int(rows[0, 0])
        after = int(loop.rows[at + len(rows), 0]) if at + len(rows) < len(loop) else rows[-1, 1]
        data = text.data[offset : int(after)]
        pieces: list[list[bytes]] = []
        start = (rows[kept, 0] - offset).tolist()
        for spans, texts in cells:
            stop = (spans[some][kept, 0] - offset).tolist()
            pieces.append([data[a:b] for a, b in zip(start, stop, strict=True)])
            pieces.append(texts[some][kept].tolist())
            start = (spans[some][kept, 1] - offset).tolist()
        stop = (rows[kept, 1] - offset).tolist()
        pieces.append([data[a:b] for a, b in zip(start, stop, strict=True)])
        lines = list(map(b"".join, zip(*pieces, strict=True)))
        if np.any(rows[:, 1] < np.append(rows[1:, 0], after)):
            lines = _with_gaps(data, rows - offset, dict(zip(kept.tolist(), lines, strict=True)))
        yield b"".join(lines)


def _with_gaps(data: bytes, rows: NDArray[np.int64], kept: dict[int, bytes]) -> list[bytes]:
    """Put back the comments and blank lines that stand between rows."""
    starts = [*rows[1:, 0].tolist(), len(data)]
    whole: list[bytes] = []
    for i, (end, following) in enumerate(zip(rows[:, 1].tolist(), starts, strict=True)):
        whole.extend((kept.get(i, b""), data[end:following]))
    return whole
