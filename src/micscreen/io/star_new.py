"""STAR files of picks written from nothing: RELION, crYOLO, Xmipp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io.files import write_whole
from micscreen.io.xmipp import write_config
from micscreen.picks import Picks

Columns = list[tuple[str, NDArray[np.bytes_]]]


def fixed(values: NDArray[np.float64], decimals: int, *, prefix: bytes = b"") -> NDArray[np.bytes_]:
    """Return numbers as text with that many decimals, shape (n,); NaN becomes 'nan'."""
    if not len(values) or not (values.min() >= 0 and values.max() < 9.99):
        if decimals == 0:
            return np.array([b"%s%d" % (prefix, round(v)) for v in values.tolist()], np.bytes_)
        texts = [b"%s%.*f" % (prefix, decimals, v) for v in values.tolist()]
        return np.array(texts, np.bytes_)
    # One digit before the point: a million goodness values in a tenth of a second.
    rest = np.rint(values * 10**decimals).astype(np.int64)
    letters = np.empty((len(values), len(prefix) + decimals + 1 + (decimals > 0)), np.uint8)
    letters[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    for place in range(letters.shape[1] - 1, len(prefix) - 1, -1):
        if decimals and place == len(prefix) + 1:
            letters[:, place] = ord(".")
        else:
            rest, digit = np.divmod(rest, 10)
            letters[:, place] = digit + ord("0")
    return letters.view(f"S{letters.shape[1]}")[:, 0]


def write_relion(path: Path, picks: Sequence[tuple[str, Picks]]) -> tuple[Path, ...]:
    """Write the picks of one micrograph as a RELION STAR file."""
    only = one(path, picks)
    write_whole(path, relion_text(only))
    return (path,)


def relion_text(picks: Picks) -> bytes:
    """Return the picks of one micrograph as RELION writes them."""
    columns: Columns = [
        ("_rlnCoordinateX", fixed(picks.x, 6)),
        ("_rlnCoordinateY", fixed(picks.y, 6)),
    ]
    if picks.figure_of_merit is not None:
        columns.append(("_rlnAutopickFigureOfMerit", fixed(picks.figure_of_merit, 6)))
    if picks.goodness is not None:
        goodness = picks.goodness.astype(np.float64)
        columns.append(("_micscreenGoodness", fixed(goodness, 6)))
    return b"\n# version 30001\n\ndata_\n\n" + table(columns) + b"\n"


def write_cbox(path: Path, picks: Sequence[tuple[str, Picks]]) -> tuple[Path, ...]:
    """Write the picks of one micrograph as a crYOLO .cbox file.

    Raises
    ------
    PicksError
        Without a box size, which the format needs.
    """
    only = one(path, picks)
    size = only.box_size
    if size is None:
        raise PicksError(
            "a .cbox file needs the box size",
            where=path,
            hint="Give --box-size in px, or write another format.",
        )
    nothing = np.full(len(only), b"<NA>")
    box = np.full(len(only), b"%.6f" % size)
    merit = only.figure_of_merit
    columns: Columns = [
        ("_CoordinateX", fixed(only.x - size / 2, 6)),
        ("_CoordinateY", fixed(only.y - size / 2, 6)),
        ("_CoordinateZ", nothing),
        ("_Width", box),
        ("_Height", box),
        ("_Depth", nothing),
        ("_EstWidth", box),
        ("_EstHeight", box),
        ("_Confidence", nothing if merit is None else fixed(merit, 6)),
        ("_NumBoxes", nothing),
        ("_Angle", nothing),
    ]
    if only.goodness is not None:
        columns.append(("_micscreenGoodness", fixed(only.goodness.astype(np.float64), 6)))
    write_whole(
        path,
        b"\ndata_global\n\n_cbox_format_version 1.0\n\ndata_cryolo\n\n"
        + table(columns)
        + b"\n\ndata_cryolo_include\n\nloop_\n_slice_index #1\n\n",
    )
    return (path,)


def write_pos(path: Path, picks: Sequence[tuple[str, Picks]]) -> tuple[Path, ...]:
    """Write the picks of one micrograph as an Xmipp .pos file, and config.xmd with the box."""
    only = one(path, picks)
    count = len(only)
    cost = np.ones(count) if only.figure_of_merit is None else only.figure_of_merit
    columns: Columns = [
        ("_itemId", np.array([b"%06d" % (i + 1) for i in range(count)], np.bytes_)),
        ("_enabled", np.full(count, b"1")),
        ("_xcoor", fixed(only.x, 0)),
        ("_ycoor", fixed(only.y, 0)),
        ("_cost", fixed(cost, 6)),
        ("_micrographId", np.full(count, b"1")),
    ]
    if only.goodness is not None:
        columns.append(("_goodRegionScore", fixed(only.goodness.astype(np.float64), 6)))
    header = b"# XMIPP_STAR_1 * \n# \ndata_header\nloop_\n _pickingMicrographState\nAuto\n"
    write_whole(
        path, header + b"data_particles_auto\n" + table(columns, numbered=False, indent=b" ")
    )
    if only.box_size is None:
        return (path,)
    return (path, write_config(path.parent, only.box_size))


def table(columns: Columns, *, numbered: bool = True, indent: bytes = b"") -> bytes:
    """Return a loop with the given columns of text, aligned; also with no rows."""
    lines = [b"loop_ " if numbered else b"loop_"]
    for i, (tag, _) in enumerate(columns):
        lines.append(indent + tag.encode() + (b" #%d " % (i + 1) if numbered else b""))
    widths = [max(12 if numbered else 1, texts.dtype.itemsize) for _, texts in columns]
    cells = [
        [word.rjust(width) for word in texts.tolist()]
        for width, (_, texts) in zip(widths, columns, strict=True)
    ]
    lines.extend(indent + b" ".join(row) + b" " for row in zip(*cells, strict=True))
    return b"\n".join(lines) + b"\n"


def one(path: Path, picks: Sequence[tuple[str, Picks]]) -> Picks:
    """Return the only picks of a list; PicksError when there are not those of one micrograph."""
    if len(picks) != 1:
        raise PicksError(
            f"holds the picks of one micrograph, not of {len(picks)}",
            where=path,
            hint="Name a folder, or a format for many micrographs (relion_list, csv, topaz).",
        )
    return picks[0][1]
