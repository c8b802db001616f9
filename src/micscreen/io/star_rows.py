"""Where the rows of a STAR table stand in the file's bytes.

Nearly every program writes one row per line without blanks inside quotes. Such tables are cut with
a few array operations per MiB; each row's number of values is checked. All others (rows over
several lines, text with blanks in quotes, text fields) are cut value by value with a regular
expression, with the same result.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError

Text = bytes
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
_REST_OF_ROW: Final = re.compile(rb"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
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
    counts = counts[lines]
    values = values[: int(counts.sum())]
    letters = chars[values[:, 0]]
    quoted = values[(letters == ord('"')) | (letters == ord("'"))]
    if (
        np.any(letters == ord("#"))
        or np.any((chars[heads] == ord(";")) & (heads == starts[lines]))
        or np.any(chars[quoted[:, 0]] != chars[quoted[:, 1] - 1])
        or np.any(np.ptp(quoted, axis=1) < 2)
    ):
        return None
    odd = np.flatnonzero(counts != n_tags)
    if odd.size:
        here, after = int(counts[odd[0]]), counts[odd[0] + 1 : odd[0] + 2].tolist()
        last = not after and (end < len(chars) or piece[1] == len(data))
        if here > n_tags or after == [n_tags] or last:
            raise _uneven(path, data, int(heads[odd[0]]) + offset, here, n_tags)
        return None
    rows = np.stack((starts[lines], stops[lines]), axis=1)
    table = values.reshape(len(lines), n_tags, 2)
    return Cut(rows + offset, table[:, -1, 1] + offset, table[:, numbers] + offset, end + offset)


def _rows_by_token(data: Text, at: int, n_tags: int, numbers: list[int], path: Path) -> Cut:
    """Cut rows value by value, over any number of lines; each row starts on a new one."""
    spans = array("q")
    while not _stops(data, value := skip(data, at)) and (found := VALUE.match(data, value)):
        spans.extend(found.span())
        at = found.end()
    values = np.array(spans, np.int64).reshape(-1, 2)
    if not len(values):
        return Cut(*_empty(len(numbers)), end=at)
    whole = len(values) // n_tags * n_tags
    table = values[:whole].reshape(-1, n_tags, 2)
    rows = np.empty((len(table), 2), np.int64)
    for i, (first, last) in enumerate(table[:, [0, -1], [0, 1]].tolist()):
        begin = data.rfind(b"\n", 0, first) + 1
        rest = _REST_OF_ROW.match(data, last)
        if rest is None:
            raise _uneven_line(path, data, values, begin, n_tags)
        # Only the first row may share its line, with the last column name.
        rows[i] = first if data[begin:first].strip() else begin, rest.end()
    if whole < len(values):
        begin = data.rfind(b"\n", 0, int(values[whole, 0])) + 1
        raise _uneven_line(path, data, values, begin, n_tags)
    return Cut(rows, table[:, -1, 1], table[:, numbers], max(at, int(rows[-1, 1])))


def _uneven_line(path: Path, data: Text, values: Spans, begin: int, n_tags: int) -> PicksError:
    """Return the error for the line at byte `begin`, which no row starts and ends with."""
    end = data.find(b"\n", begin) % (len(data) + 1)
    on_line = int(np.sum((values[:, 0] >= begin) & (values[:, 0] < end)))
    return _uneven(path, data, begin, on_line, n_tags)


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
