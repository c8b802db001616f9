"""Structured NumPy arrays in files, read with the header checked against the file first.

`numpy.load` refuses the long headers that cryoSPARC writes, and believes a header that promises
more than the file has.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io.files import whole_file

MAGIC: Final = b"\x93NUMPY"
LONGEST_HEADER: Final = 1 << 20
"""Bytes; cryoSPARC's 3D classifications come near 100 kB."""

_DAMAGED: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)

Table = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the rows: their dtype, how many there are, and where they start."""

    dtype: np.dtype[Any]
    rows: int
    start: int

    @property
    def names(self) -> tuple[str, ...]:
        """Field names, in file order."""
        return self.dtype.names or ()


def read_header(path: Path) -> Header:
    """Return the header of a structured array; PicksError when it is not one, or is truncated."""
    try:
        with path.open("rb") as file:
            header = _header(file, path)
            size = file.seek(0, 2)
    except OSError as error:
        raise PicksError(f"cannot be read: {error.strerror}", where=path) from error
    needed = header.start + header.rows * header.dtype.itemsize
    if size < needed:
        raise PicksError(
            f"is truncated: {header.rows} rows need {needed} bytes, the file has {size}",
            where=path,
            hint="Copy it again, or wait until the program that writes it has finished.",
        )
    return header


def read_table(path: Path) -> Table:
    """Return all rows (n,) of a structured array."""
    header = read_header(path)
    if header.rows == 0:
        return np.zeros(0, header.dtype)
    with path.open("rb") as file:
        file.seek(header.start)
        table = np.fromfile(file, header.dtype, header.rows)
    if len(table) != header.rows:
        raise PicksError("became shorter while it was read", where=path)
    return table


def write_table(path: Path, table: Table) -> Path:
    """Write a structured array, whole or not at all."""
    fields = str(np.lib.format.dtype_to_descr(table.dtype))
    # the first version of the format holds headers of up to 64 KiB in Latin-1
    version = (1, 0) if fields.isascii() and len(fields) < 60_000 else (3, 0)
    with whole_file(path) as aside, aside.open("wb") as file:
        np.lib.format.write_array(file, table, version, allow_pickle=False)
    return path


def _header(file: IO[bytes], path: Path) -> Header:
    start = file.read(8)
    if len(start) < 8 or start[:6] != MAGIC or start[6] not in (1, 2, 3):
        raise PicksError("is not a NumPy file", where=path)
    width, encoding = (2, "latin1") if start[6] == 1 else (4, "utf-8")
    length = int.from_bytes(file.read(width), "little")
    if length > LONGEST_HEADER:
        raise PicksError(f"has a header of {length} bytes, which cannot be right", where=path)
    text = file.read(length)
    try:
        fields = ast.literal_eval(text.decode(encoding))
        dtype = np.lib.format.descr_to_dtype(fields["descr"])
        (rows,) = fields["shape"]
    except _DAMAGED as error:
        raise PicksError("has a damaged header, or is no table with rows", where=path) from error
    if dtype.hasobject:
        raise PicksError(
            "holds pickled Python objects, which are not read because they can run any code",
            where=path,
            hint="Save it with texts of fixed length, as cryoSPARC itself does.",
        )
    if dtype.names is None or not isinstance(rows, int) or rows < 0 or dtype.itemsize == 0:
        raise PicksError("is no table with named columns", where=path)
    return Header(dtype, rows, file.tell())
