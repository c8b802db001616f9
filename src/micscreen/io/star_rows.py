"""Where the rows of a STAR table stand in the file's bytes.

Nearly every program writes one row per line without blanks inside quotes. Such tables are cut with
a few array operations per MiB; each row's number of values is checked. All others (rows over
several lines, text with blanks in quotes, text fields) are cut value by value with a regular
expression, with the same result.
"""

from __future__ import annotations

import mmap
import re
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError

Text = bytes | mmap.mmap
Spans = NDArray[np.int64]
"""Shape (n, 2): from byte, to byte."""

_TRIVIA: Final = re.compile(rb"(?:\s+|#[^\n]*)*")
# A block's name stands alone on its line: 'data_set1/mic.mrc 12' is a row of values.
BLOCK: Final = re.compile(rb"data_([^\s#]*)[ \t\r]*(?=#|\n|\Z)", re.IGNORECASE)
LOOP: Final = re.compile(rb"loop_(?=\s|\Z)", re.IGNORECASE)
TAG: Final = re.compile(rb"_\S+")
VALUE: Final = re.compile(
    rb"""(?m:^);.*?\n;(?=\s|\Z)      # text field over several lines
    |'[^\n]*?'(?=\s|\Z)
    |"[^\n]*?"(?=\s|\Z)
    |[^\s'"]\S*""",
    re.VERBOSE | re.DOTALL,
)
_REST_OF_ROW: Final = re.compile(rb"[ \t\r]*(?:#[^\n]*)?\n")
REST_OF_LABEL: Final = re.compile(rb"([ \t]*(?:#[^\r\n]*)?)(\r?\n|\Z)")
_STOPS: Final = b"_#dDlL"


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """The rows of a loop: spans (n, 2), last value's end (n,), values (n, wanted, 2), end."""

    rows: Spans
    row_ends: NDArray[np.int64]
    columns: NDArray[np.int64]
    end: int


def cut_rows(data: Text, at: int, n_tags: int, numbers: list[int], path: Path) -> Cut:
    """Cut the rows of a table.

    Parameters
    ----------
    data
        The whole file.
    at
        End of the last column name.
    n_tags
        How many columns there are.
    numbers
        The columns whose values are wanted.
    path
        The file, for messages.

    Raises
    ------
    PicksError
        When a row has a value too many or too few.
    """
    cut = _rows_by_line(data, at, n_tags, numbers, path)
    if cut is None or not _stops(data, skip(data, cut.end)):
        return _rows_by_token(data, at, n_tags, numbers, path)
    return cut


def _rows_by_line(data: Text, at: int, n_tags: int, numbers: list[int], path: Path) -> Cut | None:
    """Cut rows that stand on one line each; None when these rows do not."""
    rest = REST_OF_LABEL.match(data, at)
    if rest is None:
        return None
    at = rest.end()
    parts: list[Cut] = []
    size, more = 1 << 16, True
    while more and at < len(data):
        end = data.find(b"\n", min(at + size, len(data))) + 1 or len(data)
        part = _cut_lines(data, (at, end), n_tags, numbers, path)
        if part is None:
            return None
        parts.append(part)
        more, at, size = part.end == end, part.end, min(size * 2, 1 << 20)
    if not parts:
        return Cut(*_empty(len(numbers)), end=at)
    return Cut(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.row_ends for part in parts]),
        np.concatenate([part.columns for part in parts]),
        at,
    )


def _cut_lines(
    data: Text, piece: tuple[int, int], n_tags: int, numbers: list[int], path: Path
) -> Cut | None:
    """Cut whole lines, bytes `piece` of the file, up to the line that ends the loop."""
    offset = piece[0]
    chars = np.frombuffer(data, np.uint8)[slice(*piece)]
    solid = np.zeros(len(chars) + 2, bool)
    np.greater(chars, ord(" "), out=solid[1:-1])
    values = np.flatnonzero(solid[1:] != solid[:-1]).reshape(-1, 2)
    breaks = np.flatnonzero(chars == ord("\n")) + 1
    starts = np.concatenate(([0], breaks))
    stops = np.concatenate((breaks, [len(chars)]))
    first = np.searchsorted(values[:, 0], starts)
    counts = np.diff(first, append=len(values))
    lines = np.flatnonzero(counts)
    heads = values[first[lines], 0]
    end = len(chars)
    for i in np.flatnonzero(np.isin(chars[heads], np.frombuffer(_STOPS, np.uint8))):
        if _stops(data, offset + int(heads[i])):
            lines, heads, end = lines[:i], heads[:i], int(starts[lines[i]])
            break
    odd = np.flatnonzero(counts[lines] != n_tags)
    if odd.size:
        start, stop = (int(at[lines[odd[0]]]) + offset for at in (starts, stops))
        if odd[0] > 0 and not re.search(rb"""['"#]|^;""", data[start:stop]):
            raise _uneven(path, data, start, int(counts[lines[odd[0]]]), n_tags)
        return None
    values = values[: n_tags * len(lines)]
    letters = chars[values[:, 0]]
    if np.any(letters == ord("#")) or np.any((chars[heads] == ord(";")) & (heads == starts[lines])):
        return None
    quoted = values[(letters == ord('"')) | (letters == ord("'"))]
    if np.any(chars[quoted[:, 0]] != chars[quoted[:, 1] - 1]) or np.any(np.ptp(quoted, 1) < 2):
        return None
    rows = np.stack((starts[lines], stops[lines]), axis=1)
    table = values.reshape(len(lines), n_tags, 2)
    return Cut(rows + offset, table[:, -1, 1] + offset, table[:, numbers] + offset, end + offset)


def _rows_by_token(data: Text, at: int, n_tags: int, numbers: list[int], path: Path) -> Cut:
    """Cut rows value by value, however they are laid out."""
    spans = array("q")
    while not _stops(data, value := skip(data, at)) and (found := VALUE.match(data, value)):
        spans.extend(found.span())
        at = found.end()
    values = np.array(spans, np.int64).reshape(-1, 2)
    if not len(values):
        return Cut(*_empty(len(numbers)), end=at)
    if left := len(values) % n_tags:
        raise _uneven(path, data, int(values[-left, 0]), left, n_tags)
    table = values.reshape(-1, n_tags, 2)
    rows = np.empty((len(table), 2), np.int64)
    last = 0
    ends = table[:, -1, 1]
    for i, (start, end) in enumerate(zip(table[:, 0, 0].tolist(), ends.tolist(), strict=True)):
        begin = max(data.rfind(b"\n", 0, start) + 1, last)
        rest = _REST_OF_ROW.match(data, end)
        last = rest.end() if rest else end
        rows[i] = start if data[begin:start].strip() else begin, last
    return Cut(rows, ends, table[:, numbers], max(at, last))


def _uneven(path: Path, data: Text, at: int, found: int, expected: int) -> PicksError:
    return PicksError(
        f"a row has {found} values in a table of {expected} columns",
        where=f"{path}, line {line(data, at)}",
        hint="The file is cut short, still being written, or was edited by hand.",
    )


def _empty(columns: int) -> tuple[Spans, NDArray[np.int64], NDArray[np.int64]]:
    return np.empty((0, 2), np.int64), np.empty(0, np.int64), np.empty((0, columns, 2), np.int64)


def skip(data: Text, at: int) -> int:
    """Return the place after blanks, blank lines and comments."""
    found = _TRIVIA.match(data, at)
    return found.end() if found else at


def _stops(data: Text, at: int) -> bool:
    """Whether no value can stand here: a comment, name, block or loop begins, or the file ends."""
    if data[at : at + 1] in (b"_", b"#", b"") or LOOP.match(data, at):
        return True
    first = not data[data.rfind(b"\n", 0, at) + 1 : at].strip()
    return first and BLOCK.match(data, at) is not None


def line(data: Text, at: int) -> int:
    """Return the number of the line in which byte `at` stands, counted from 1."""
    return data[:at].count(b"\n") + 1
