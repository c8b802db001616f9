"""What all line-based coordinate files share: lines as they are, and problems by line.

Text is read as UTF-8 in a way that gives every byte back unchanged when it is written, whatever the
encoding was; line ends, a byte order mark and comments stay with their lines.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from io import StringIO
from itertools import compress, repeat, zip_longest
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io.files import write_whole

BYTE_ORDER_MARK: Final = "\ufeff"
_NO_LINE_ENDS: Final = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines` takes for line ends and no table means."""

CHUNK: Final = 16384
"""Rows that are split into values at a time, so that memory and the collector's work stay small."""

SHOWN: Final = 10
"""How many problems of one file an error lists."""


def read_bytes(path: Path) -> bytes:
    """Return the content of `path`; PicksError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PicksError(f"cannot be read: {error.strerror}", where=path) from error


def decode(data: bytes, path: Path) -> str:
    """Return `data` as text from which `encode` gives back the very same bytes."""
    if b"\0" in data:
        raise PicksError(
            "is not a text file in UTF-8 or ASCII: it has zero bytes",
            where=path,
            hint="Save it as plain text (UTF-8), or name its format with --coordinate-format.",
        )
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes of `text`, those that were no UTF-8 included."""
    return text.encode("utf-8", "surrogateescape")


def split_lines(text: str) -> list[str]:
    """Return the lines of `text`, each with its own line end (LF, CRLF or CR)."""
    if any(mark in text for mark in _NO_LINE_ENDS):
        return list(StringIO(text, newline=""))
    return text.splitlines(keepends=True)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, each with its own line end."""
    return split_lines(decode(read_bytes(path), path))


def data_lines(lines: Sequence[str]) -> list[int]:
    """Return the indices of the lines that are neither blank nor comments."""
    blank = BYTE_ORDER_MARK + " \t\r\n"
    special = blank + "#"
    return [
        n
        for n, line in enumerate(lines)
        if line[:1] not in special or line.lstrip(blank)[:1] not in ("", "#")
    ]


def split_values(lines: Sequence[str], delimiter: str | None) -> list[list[str]]:
    """Return the values of each line; fewer rows than lines when a quote stays open.

    Raises
    ------
    ValueError
        When a value is huge.
    """
    if delimiter is None:
        return [line.split() for line in lines]
    try:
        return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise ValueError(f"cannot be split into values: {error}") from error


def columns(
    lines: Sequence[str], delimiter: str | None, least: int
) -> tuple[list[Sequence[str]], NDArray[np.int64]]:
    """Return lines as columns, and how many values each line has.

    Parameters
    ----------
    lines
        Lines with data.
    delimiter
        What stands between values; None means blanks in any number.
    least
        How many columns there are at least; values that a line lacks are ''.

    Raises
    ------
    ValueError
        When the lines are no rows, because a quote is not closed or a value is huge.
    """
    quick = _regular_columns(lines, delimiter)
    if quick is not None:
        found, lengths = quick, np.full(len(lines), len(quick))
    else:
        rows = split_values(lines, delimiter)
        if len(rows) != len(lines):
            raise ValueError("a quote is opened and not closed")
        found = list(zip_longest(*rows, fillvalue=""))
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    missing: list[Sequence[str]] = [("",) * len(lines)] * (least - len(found))
    return found + missing, lengths


def _regular_columns(lines: Sequence[str], delimiter: str | None) -> list[Sequence[str]] | None:
    """Return the columns when all lines are plainly alike (4 times as fast), else None."""
    text = "".join(lines).replace("\r\n", "\n").removesuffix("\n")
    glue = delimiter or ("\t" if "\t" in text else " ")
    if '"' in text or "\r" in text or (glue != " " and " " in text):
        return None
    counts = set(map(str.count, lines, repeat(glue)))
    values = text.replace("\n", glue).split(glue)
    if len(counts) != 1 or (delimiter is None and "" in values):
        return None
    width = counts.pop() + 1
    return [values[column::width] for column in range(width)]


def numbers(column: Sequence[str]) -> NDArray[np.float64]:
    """Return a column as float64 (n,), with NaN where there is no number."""
    try:
        return np.fromiter(map(float, column), np.float64, len(column))
    except ValueError:
        return np.fromiter(map(number, column), np.float64, len(column))


def number(value: str) -> float:
    """Return a value as a number, NaN when it is none."""
    try:
        return float(value)
    except ValueError:
        return float("nan")


def is_number(value: str) -> bool:
    """Return whether a value is a finite number."""
    return math.isfinite(number(value))


def raise_problems(path: Path, problems: Sequence[str], *, hint: str | None = None) -> None:
    """Raise one PicksError that lists the first problems of a file; nothing when there are none."""
    if not problems:
        return
    shown = "; ".join(problems[:SHOWN])
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    rows = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
    raise PicksError(f"{rows} cannot be used: {shown}{more}", where=path, hint=hint)


def check_unchanged(path: Path, rows: int, expected: int) -> None:
    """Raise PicksError when a file no longer has the number of rows with which it was read."""
    if rows != expected:
        raise PicksError(
            f"has changed since it was read: {rows} picks now, {expected} then",
            where=path,
            hint="Run it again when the program that writes this file has finished.",
        )


def coordinate_text(value: float) -> str:
    """Return a coordinate in px with up to three decimals."""
    return repr(round(float(value), 3))


def whole_text(value: float) -> str:
    """Return a coordinate in px for formats that hold whole numbers."""
    return str(round(float(value)))


def change_fields(line: str, delimiter: str | None, changes: Sequence[tuple[int, str]]) -> str:
    """Return `line` with the values in some columns replaced and everything else as it was.

    Parameters
    ----------
    line
        One line with its line end.
    delimiter
        What stands between the values; None means blanks and tabs in any number.
    changes
        (column, new text) for each value to replace.
    """
    body = line.rstrip("\r\n")
    fields = re.findall(r"\s*\S+", body) if delimiter is None else raw_fields(body, delimiter)
    glue = "" if delimiter is None else delimiter
    rest = body[len(glue.join(fields)) :]
    for column, text in changes:
        old = fields[column]
        fields[column] = old[: len(old) - len(old.lstrip())] + text
    return glue.join(fields) + rest + line[len(body) :]


def raw_fields(body: str, delimiter: str) -> list[str]:
    """Split a line at its delimiters, but not inside quotes; the quotes stay."""
    if '"' not in body:
        return body.split(delimiter)
    fields: list[str] = []
    open_quote = False
    for part in body.split(delimiter):
        if open_quote:
            fields[-1] += delimiter + part
        else:
            fields.append(part)
        open_quote ^= part.count('"') % 2 == 1
    return fields


def write_kept(
    path: Path, lines: Sequence[str], rows: Sequence[int], keep: NDArray[np.bool_]
) -> Path:
    """Write all lines but those of the rows that are not kept.

    Parameters
    ----------
    path
        The file to write, whole or not at all.
    lines
        All lines of the file, comments and header among them.
    rows
        Row number to line index.
    keep
        Shape (n,): which rows stay.
    """
    stays = np.ones(len(lines), np.bool_)
    stays[np.asarray(rows, np.int64)[~keep]] = False
    write_whole(path, encode("".join(compress(lines, stays.tolist()))))
    return path
