"""EMAN's coordinate files: `.box` (corner and size, one line per box) and EMAN2's `.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io import lines as text_lines
from micscreen.io.files import write_whole
from micscreen.io.table import PickFormat, PickTable, Selection
from micscreen.picks import Picks

_DECODER: Final = json.JSONDecoder()
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_WHOLE: Final = re.compile(r"[+-]?\d+")


# --- .box -----------------------------------------------------------------------------------------


def _sniff_box(path: Path, head: bytes) -> bool:
    lines = text_lines.split_lines(head.decode("utf-8", "replace"))
    data = text_lines.data_lines(lines)
    if path.suffix.lower() != ".box" or b"\0" in head:
        return False
    if not data:
        return True
    first = lines[data[0]].strip(text_lines.BYTE_ORDER_MARK).split()
    return len(first) >= 4 and all(map(text_lines.is_number, first[:4]))


def _box_rows(path: Path) -> tuple[list[str], list[int]]:
    """Return all lines of a .box file, and the indices of those that hold a box."""
    lines = text_lines.read_lines(path)
    if lines:
        lines[0] = lines[0].removeprefix(text_lines.BYTE_ORDER_MARK)
    return lines, text_lines.data_lines(lines)


def read_box(path: Path) -> PickTable:
    """Read an EMAN .box file; centres are corner + size / 2.

    Raises
    ------
    PicksError
        For lines with fewer than four numbers, and for sizes that are not positive.
    """
    lines, data = _box_rows(path)
    pieces = [np.zeros((4, 0))]
    for start in range(0, len(data), text_lines.CHUNK):
        here = [lines[n] for n in data[start : start + text_lines.CHUNK]]
        columns, _ = text_lines.columns(here, None, 4)
        pieces.append(np.stack([text_lines.numbers(column) for column in columns[:4]]))
    boxes = np.concatenate(pieces, axis=1)  # (4, n)
    usable = np.isfinite(boxes).all(axis=0) & (boxes[2:] > 0).all(axis=0)
    problems = [
        f"line {data[row] + 1}: needs x, y, width, height, has {lines[data[row]].strip()[:40]!r}"
        for row in np.flatnonzero(~usable).tolist()
    ]
    text_lines.raise_problems(path, problems, hint="An EMAN .box line is: x y width height.")
    left, top, width, height = boxes
    sizes = np.unique(boxes[2:])
    return PickTable(
        format="eman_box",
        source=path,
        micrographs=(path.name,),
        micrograph_index=np.zeros(len(left), np.int32),
        x=left + width / 2,
        y=top + height / 2,
        box_size=float(sizes[0]) if len(sizes) == 1 else None,
        members=(path,),
    )


def _write_box_subset(table: PickTable, selection: Selection, folder: Path) -> tuple[Path, ...]:
    lines, data = _box_rows(table.source)
    text_lines.check_unchanged(table.source, len(data), len(table))
    if selection.x is not None and selection.y is not None:
        for row in np.flatnonzero(selection.keep):
            x, y = float(selection.x[row]), float(selection.y[row])
            lines[data[row]] = _moved_box(lines[data[row]], x, y, selection.scale)
    path = folder / table.source.name
    return (text_lines.write_kept(path, lines, data, selection.keep),)


def _moved_box(line: str, x: float, y: float, scale: float) -> str:
    """Return a box line with another centre and size; whole numbers stay whole."""
    old = line.split()[:4]
    whole = all(_WHOLE.fullmatch(value) for value in old)
    size = [float(value) * scale for value in old[2:]]
    if whole:
        size = [max(1.0, float(round(value))) for value in size]
    text = text_lines.whole_text if whole else text_lines.coordinate_text
    values = (x - size[0] / 2, y - size[1] / 2, *size)
    return text_lines.change_fields(line, None, [(c, text(v)) for c, v in enumerate(values)])


def _write_new_box(path: Path, picks: Sequence[tuple[str, Picks]]) -> tuple[Path, ...]:
    (_, only) = _only_one(path, picks)
    if only.box_size is None:
        raise PicksError(
            "an EMAN .box file needs the size of the box",
            where=path,
            hint="Give it with --box-size or --particle-diameter.",
        )
    size = max(1, round(only.box_size))
    corners = zip(only.x - size / 2, only.y - size / 2, strict=True)
    rows = [
        f"{text_lines.whole_text(left)}\t{text_lines.whole_text(top)}\t{size}\t{size}\n"
        for left, top in corners
    ]
    write_whole(path, "".join(rows).encode())
    return (path,)


def _only_one(path: Path, picks: Sequence[tuple[str, Picks]]) -> tuple[str, Picks]:
    if len(picks) != 1:
        raise PicksError(
            f"this format holds the picks of one micrograph, not of {len(picks)}", where=path
        )
    return picks[0]


# --- .json ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The boxes of a JSON document, with the place of each in its text.

    Attributes
    ----------
    text
        The document.
    start, end
        Just after the `[` and just at the `]` of the list of boxes.
    spans
        (start, end) of each box in `text`.
    values
        Each box as Python sees it.
    """

    text: str
    start: int
    end: int
    spans: tuple[tuple[int, int], ...]
    values: tuple[Any, ...]


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return at if found is None else found.end()


def _items(text: str, at: int) -> tuple[list[tuple[int, int]], list[Any], int]:
    """Return spans, values and the end of the valid JSON list whose `[` is at `at`."""
    spans, values = [], []
    at = _skip(text, at + 1)
    while text[at] != "]":
        value, end = _DECODER.raw_decode(text, at)
        spans.append((at, end))
        values.append(value)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return spans, values, at


def _place_of(text: str, name: str) -> int:
    """Return where the value of the top-level key `name` starts in a valid JSON object."""
    at = _skip(text, text.index("{") + 1)
    while True:
        key, end = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, end) + 1)
        if key == name:
            return at
        _, end = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, end) + 1)


def _read_boxes(path: Path) -> _Boxes:
    text = text_lines.decode(text_lines.read_bytes(path), path)
    text = text.removeprefix(text_lines.BYTE_ORDER_MARK)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise PicksError(f"is not valid JSON: {error}", where=path) from error
    except RecursionError as error:
        raise PicksError("is nested too deeply for a file of boxes", where=path) from error
    if not isinstance(document, dict) or not isinstance(document.get("boxes"), list):
        raise PicksError(
            'has no list "boxes"',
            where=path,
            hint='EMAN2 writes {"boxes": [[x, y, "manual"], ...]} to info/NAME_info.json.',
        )
    at = _place_of(text, "boxes")
    if text[at] != "[":
        raise PicksError('says "boxes" more than once', where=path)
    spans, values, end = _items(text, at)
    return _Boxes(text, at + 1, end, tuple(spans), tuple(values))


def _value(box: Any, index: int) -> float:
    """Return one number of a box, NaN when there is none."""
    if not isinstance(box, list) or len(box) <= index:
        return float("nan")
    value = box[index]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else float("nan")


def _column(boxes: _Boxes, index: int) -> NDArray[np.float64]:
    return np.array([_value(box, index) for box in boxes.values], np.float64)


def read_json(path: Path) -> PickTable:
    """Read the boxes (centres) of an EMAN2 .json file; a number behind the method is the score.

    Raises
    ------
    PicksError
        When it is no JSON, has no list `boxes`, or boxes without two finite numbers.
    """
    boxes = _read_boxes(path)
    x, y, merit = (_column(boxes, index) for index in (0, 1, 3))
    problems = [
        f"line {boxes.text.count(chr(10), 0, boxes.spans[row][0]) + 1}: "
        f"box {row + 1} has no x, y: {json.dumps(boxes.values[row])[:60]}"
        for row in np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))
    ]
    text_lines.raise_problems(path, problems)
    return PickTable(
        format="eman_json",
        source=path,
        micrographs=(path.name,),
        micrograph_index=np.zeros(len(x), np.int32),
        x=x,
        y=y,
        figure_of_merit=merit if np.isfinite(merit).any() else None,
        members=(path,),
    )


def _write_json_subset(table: PickTable, selection: Selection, folder: Path) -> tuple[Path, ...]:
    boxes = _read_boxes(table.source)
    text_lines.check_unchanged(table.source, len(boxes.spans), len(table))
    pieces: list[str] = []
    for row in np.flatnonzero(selection.keep):
        start, end = boxes.spans[row]
        box = boxes.text[start:end]
        if selection.x is not None and selection.y is not None:
            box = _moved_json(box, float(selection.x[row]), float(selection.y[row]))
        if pieces:  # what stood between this box and the one before it
            pieces.append(boxes.text[boxes.spans[row - 1][1] : start])
        pieces.append(box)
    if pieces:
        pieces.insert(0, boxes.text[boxes.start : boxes.spans[0][0]])
        pieces.append(boxes.text[boxes.spans[-1][1] : boxes.end])
    path = folder / table.source.name
    text = boxes.text[: boxes.start] + "".join(pieces) + boxes.text[boxes.end :]
    write_whole(path, text_lines.encode(text))
    return (path,)


def _moved_json(box: str, x: float, y: float) -> str:
    (first, second, *_), _, _ = _items(box, 0)
    new_x, new_y = text_lines.coordinate_text(x), text_lines.coordinate_text(y)
    return box[: first[0]] + new_x + box[first[1] : second[0]] + new_y + box[second[1] :]


def _write_new_json(path: Path, picks: Sequence[tuple[str, Picks]]) -> tuple[Path, ...]:
    (_, only) = _only_one(path, picks)
    rows = [
        f'[{text_lines.coordinate_text(x)}, {text_lines.coordinate_text(y)}, "manual"]'
        for x, y in zip(only.x, only.y, strict=True)
    ]
    write_whole(path, ('{"boxes": [' + ",\n".join(rows) + "]}\n").encode())
    return (path,)


def _sniff_json(path: Path, head: bytes) -> bool:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return start == b"{" and (path.suffix.lower() == ".json" or b'"boxes"' in head)


FORMATS: Final[tuple[PickFormat, ...]] = (
    PickFormat(
        name="eman_box",
        description="EMAN .box: x, y of the corner, width, height; one line per box",
        extensions=(".box",),
        anchor="corner",
        y_rule="file rows (EMAN2 turns only TIFF upside down)",
        many=False,
        goodness_column=None,
        sniff=_sniff_box,
        read=read_box,
        write_subset=_write_box_subset,
        write_new=_write_new_box,
    ),
    PickFormat(
        name="eman_json",
        description='EMAN2 info/NAME_info.json: {"boxes": [[x, y, "manual"], ...]}',
        extensions=(".json",),
        anchor="centre",
        y_rule="file rows (EMAN2 turns only TIFF upside down)",
        many=False,
        goodness_column=None,
        sniff=_sniff_json,
        read=read_json,
        write_subset=_write_json_subset,
        write_new=_write_new_json,
    ),
)
