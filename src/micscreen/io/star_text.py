"""The text of STAR files: where every loop, row and value stands, so that rows can go untouched.

A STAR file is not turned into a tree of values. Its bytes stay as they are, and this module says
where things are in them; a filtered copy is then made of slices of the original, which keeps the
very text of every value, comment, blank line and column number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io.star_rows import (
    BLOCK,
    LOOP,
    REST_OF_LABEL,
    TAG,
    VALUE,
    Spans,
    Text,
    cut_rows,
    line,
    skip,
)

MOST_COLUMNS: Final = 10_000
"""In a table that is believed; RELION writes some dozens."""

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """One table of a STAR file, as places in the file's bytes.

    Attributes
    ----------
    block
        Name of the data block, without ``data_``.
    tags
        Column names as written, with the underscore.
    label
        From and to byte of the last column name.
    rows
        Shape (n, 2): every row with its blanks and line end; what lies between rows is neither.
    row_ends
        Shape (n,): end of each row's last value.
    columns
        The wanted columns: tag to spans, shape (n, 2), of its values.
    """

    block: str
    tags: tuple[str, ...]
    label: tuple[int, int]
    rows: Spans
    row_ends: NDArray[np.int64]
    columns: dict[str, Spans]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class StarText:
    """A STAR file that was looked through.

    Attributes
    ----------
    path
        The file, for messages.
    data
        Its bytes.
    blocks
        Names of all data blocks, in file order.
    loops
        All tables, in file order.
    pairs
        Values outside tables: (block, tag) to value.
    """

    path: Path
    data: Text
    blocks: tuple[str, ...]
    loops: tuple[Loop, ...]
    pairs: dict[tuple[str, str], str]

    def loops_with(self, tags: Collection[str]) -> list[Loop]:
        """Return the loops that have all these columns."""
        return [loop for loop in self.loops if set(tags) <= set(loop.tags)]

    def words(self, loop: Loop, tag: str) -> list[str]:
        """Return the text of every value of a wanted column, without quotes."""
        spans = loop.columns[tag].tolist()
        return [_unquoted(self.data[a:b]).decode("utf-8", "surrogateescape") for a, b in spans]

    def numbers(
        self, loop: Loop, tag: str, *, missing: Collection[bytes] = ()
    ) -> NDArray[np.float64]:
        """Return a wanted column as finite numbers, shape (n,).

        Words in `missing` become NaN; for any other word a PicksError names the line.
        """
        numbers = np.empty(len(loop), np.float64)
        for at, words in self._cells(loop.columns[tag]):
            some = numbers[at : at + len(words)]
            try:
                some[:] = words.astype(np.float64)
            except ValueError:
                some[:] = [_number(word) for word in words.tolist()]
            for row in np.flatnonzero(~np.isfinite(some)).tolist():
                if words[row] not in missing:
                    raise self._no_number(loop, tag, at + row)
        return numbers

    def names(self, loop: Loop, tag: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Return the different values of a wanted column in order, and each row's index (n,)."""
        found: dict[bytes, int] = {}
        index = np.empty(len(loop), np.int32)
        for at, words in self._cells(loop.columns[tag]):
            # Rows of one micrograph stand together: look up each run once.
            heads = np.concatenate(([0], np.flatnonzero(words[1:] != words[:-1]) + 1))
            codes = [found.setdefault(word, len(found)) for word in words[heads].tolist()]
            index[at : at + len(words)] = np.repeat(codes, np.diff(heads, append=len(words)))
        return tuple(word.decode("utf-8", "surrogateescape") for word in found), index

    def _cells(self, spans: Spans) -> Iterator[tuple[int, NDArray[np.bytes_]]]:
        """Give values without quotes as byte strings, some thousand rows at a time."""
        chars = np.frombuffer(self.data, np.uint8)
        for at in range(0, len(spans), 1 << 15):
            some = spans[at : at + (1 << 15)]
            lengths = some[:, 1] - some[:, 0]
            width = int(lengths.max())
            first = chars[some[:, 0]]
            if (
                width > 1024
                or int(some[-1, 0]) + width > len(chars)
                or np.any((first == ord('"')) | (first == ord("'")) | (first == ord(";")))
            ):
                yield at, np.array([_unquoted(self.data[a:b]) for a, b in some.tolist()])
                continue
            cells = np.lib.stride_tricks.sliding_window_view(chars, width)[some[:, 0]]
            cells[np.arange(width) >= lengths[:, None]] = 0
            yield at, cells.view(f"S{width}")[:, 0]

    def _no_number(self, loop: Loop, tag: str, row: int) -> PicksError:
        start, end = loop.columns[tag][row].tolist()
        word = self.data[start:end].decode("utf-8", "replace")
        return PicksError(
            f"column {tag} says '{word[:80]}', which is no number",
            where=f"{self.path}, line {line(self.data, start)}",
        )


def load(path: Path, wanted: Collection[str]) -> StarText:
    """Look through a STAR file.

    Parameters
    ----------
    path
        The file.
    wanted
        Column names, with the underscore, whose values will be asked for.

    Raises
    ------
    PicksError
        When a table is cut short or text stands where none can.
    """
    with path.open("rb") as file:
        return parse(file.read(), wanted, path)


def parse(data: Text, wanted: Collection[str], path: Path) -> StarText:
    """Look through the bytes of a STAR file; see `load`."""
    blocks: list[str] = []
    loops: list[Loop] = []
    pairs: dict[tuple[str, str], str] = {}
    text = StarText(path, data, (), (), pairs)
    at = len(_BOM) if data[:3] == _BOM else 0
    while (at := skip(data, at)) < len(data):
        if found := BLOCK.match(data, at):
            blocks.append(found[1].decode("utf-8", "surrogateescape"))
            at = found.end()
        elif not blocks:
            raise _strange(text, at, "a STAR file begins with a line 'data_'")
        elif found := LOOP.match(data, at):
            loop, at = _loop(text, found.end(), blocks[-1], wanted)
            loops.append(loop)
        elif (found := TAG.match(data, at)) and (
            value := VALUE.match(data, skip(data, found.end()))
        ):
            pairs[blocks[-1], found[0].decode("utf-8", "surrogateescape")] = _unquoted(
                value[0]
            ).decode("utf-8", "surrogateescape")
            at = value.end()
        else:
            raise _strange(text, at, "expected a block, a loop_ or a _tag with its value")
    return StarText(path, data, tuple(blocks), tuple(loops), pairs)


def new_column(text: StarText, loop: Loop, tag: str) -> tuple[int, bytes]:
    """Return where to put a further column name, and its line in the style of the last one."""
    start, end = loop.label
    data = text.data
    line_start = data.rfind(b"\n", 0, start) + 1
    indent = data[line_start:start] if not data[line_start:start].strip() else b""
    rest = REST_OF_LABEL.match(data, end)
    name = indent + tag.encode()
    if rest is None:
        return end, b"\n" + name + b"\n"
    number = re.sub(rb"\d+", str(len(loop.tags) + 1).encode(), rest[1], count=1)
    number = number if re.match(rb"[ \t]*#[ \t]*\d", rest[1]) else b""
    if rest[2]:
        return rest.end(), name + number + rest[2]
    return rest.end(), b"\n" + name + number + b"\n"


def _loop(text: StarText, at: int, block: str, wanted: Collection[str]) -> tuple[Loop, int]:
    """Read column names from `at` on, then the rows; return the loop and where it ends."""
    tags: list[str] = []
    label = (at, at)
    while found := TAG.match(text.data, skip(text.data, at)):
        if len(tags) == MOST_COLUMNS:
            raise _strange(text, at, f"no program writes a loop_ of over {MOST_COLUMNS:,} columns")
        tags.append(found[0].decode("utf-8", "surrogateescape"))
        label = found.span()
        at = found.end()
    if not tags:
        raise _strange(text, at, "a loop_ without column names")
    numbers = [i for i, tag in enumerate(tags) if tag in wanted and tag not in tags[:i]]
    cut = cut_rows(text.data, at, len(tags), numbers, text.path)
    columns = {tags[number]: cut.columns[:, k] for k, number in enumerate(numbers)}
    return Loop(block, tuple(tags), label, cut.rows, cut.row_ends, columns), cut.end


def _unquoted(word: bytes) -> bytes:
    if word[:1] == b";" and word[-2:] == b"\n;":
        return word[1:-2].rstrip(b"\r")
    if len(word) >= 2 and word[:1] == word[-1:] and word[:1] in (b"'", b'"'):
        return word[1:-1]
    return word


def _number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _strange(text: StarText, at: int, what: str) -> PicksError:
    found = text.data[at : at + 60].split(b"\n", 1)[0].decode("utf-8", "replace")
    return PicksError(
        f"this is no STAR file: {what}, found '{found}'",
        where=f"{text.path}, line {line(text.data, at)}",
    )
