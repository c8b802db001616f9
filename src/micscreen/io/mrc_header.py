"""The header of the MRC family, read with distrust.

Sources of the rules: MRC2014 (https://www.ccpem.ac.uk/mrc_format/mrc2014.php) and, for 4-bit and
8-bit data and for the flags, IMOD's https://bio3d.colorado.edu/imod/betaDoc/mrc_format.txt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from micscreen.errors import MicrographFormatError
from micscreen.io.guard import AGAIN, bytes_text, check_pixels, stack

HEADER_BYTES: Final = 1024
IMOD_STAMP: Final = 1146047817

MODES: Final = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}
"""Mode to numpy type; 101 is two 4-bit pixels a byte, unpacked to uint8."""

REFUSED_MODES: Final = {
    3: "complex integers (mode 3): a Fourier transform, not a micrograph",
    4: "complex numbers (mode 4): a Fourier transform, not a micrograph",
    16: "RGB colours (mode 16): a picture, not a micrograph",
}

ByteOrder = Literal["<", ">"]
_STAMPS: Final[dict[int, ByteOrder]] = {0x44: "<", 0x11: ">"}
_ORDER_NAMES: Final = {"<": "little-endian", ">": "big-endian"}

_FIELDS: Final = {
    "size": ("3i4", 0),
    "mode": ("i4", 12),
    "grid": ("3i4", 28),
    "cell": ("3f4", 40),
    "axes": ("3i4", 64),
    "range": ("2f4", 76),
    "nsymbt": ("i4", 92),
    "imod_stamp": ("i4", 152),
    "imod_flags": ("i4", 156),
}
_LAYOUT: Final = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": [kind for kind, _ in _FIELDS.values()],
        "offsets": [offset for _, offset in _FIELDS.values()],
        "itemsize": HEADER_BYTES,
    }
)


@dataclass(frozen=True, slots=True)
class MrcHeader:
    """What the 1024 bytes say, in px and bytes; the length of the file is the reader's to check.

    Attributes
    ----------
    width, height, sections
        nx, ny, nz in px.
    mode
        The data mode as written.
    extended
        Bytes of the extended header (nsymbt).
    dtype
        Of the pixels, in the file's byte order.
    packed
        Whether two 4-bit pixels share a byte.
    spacing
        Å/px along x and y as claimed; 0 where the header leaves it out.
    notes
        What the user should know.
    """

    width: int
    height: int
    sections: int
    mode: int
    extended: int
    dtype: np.dtype[Any]
    packed: bool
    spacing: tuple[float, float]
    notes: tuple[str, ...]

    @property
    def start(self) -> int:
        """Where the first pixel lies, bytes from the start of the file."""
        return HEADER_BYTES + self.extended

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; a packed row takes whole bytes, an odd one leaves half a byte idle."""
        return (self.width + 1) // 2 if self.packed else self.width * self.dtype.itemsize

    @property
    def image_bytes(self) -> int:
        """Bytes of the one image."""
        return self.height * self.row_bytes

    @property
    def end(self) -> int:
        """Bytes up to the end of the one image."""
        return self.start + self.image_bytes

    @property
    def claim(self) -> str:
        """What the header says is in the file, for error messages."""
        extended = f" after an extended header of {bytes_text(self.extended)}"
        return (
            f"{self.width} x {self.height} px of mode {self.mode}"
            f"{extended if self.extended else ''}"
        )


def parse(raw: bytes, path: Path) -> MrcHeader:
    """Make sense of the first 1024 bytes and refuse what is not one real-valued image.

    The sizes and the mode decide the byte order, since machine stamps are often missing or wrong;
    the stamp decides only what both orders allow.

    Parameters
    ----------
    raw
        The first 1024 bytes, fewer when the file is shorter.
    path
        For error messages.

    Raises
    ------
    MicrographFormatError
        No sense in either byte order, a stack, a transform, a colour picture, an unknown mode, or
        an impossible size.
    """
    if len(raw) < HEADER_BYTES:
        raise MicrographFormatError(
            f"too short for an MRC file: its header alone has {HEADER_BYTES} bytes, "
            f"this file has {len(raw)}",
            where=path,
            hint=AGAIN,
        )
    stamp = _STAMPS.get(raw[212])
    orders: tuple[ByteOrder, ...] = ("<", ">")
    fits = [order for order in orders if _plausible(_fields(raw, order))]
    if not fits:
        raise _nonsense(raw, stamp or "<", path)
    order = stamp if stamp in fits else fits[0]
    fields = _fields(raw, order)
    notes = []
    if stamp is not None and stamp != order:
        notes.append(
            f"the header's machine stamp says {_ORDER_NAMES[stamp]}, but its numbers make sense "
            f"only as {_ORDER_NAMES[order]}; read so"
        )
    if raw[208:211] != b"MAP":
        notes.append(
            "the header lacks the 'MAP' mark (an old or unusual writer); read all the same"
        )
    header = _header(fields, order, notes)
    _check(header, path)
    return header


def _header(fields: np.void, order: ByteOrder, notes: list[str]) -> MrcHeader:
    width, height, sections = (int(n) for n in fields["size"])
    mode = int(fields["mode"])
    flags = int(fields["imod_flags"]) if fields["imod_stamp"] == IMOD_STAMP else None
    code = MODES.get(mode, "u1")
    packed = mode == 101 or (mode == 0 and flags is not None and bool(flags & 16))
    if packed and mode == 0:
        width, code = 2 * width, "u1"
        notes.append("the header's IMOD flags say 4-bit data, two pixels a byte; unpacked")
    elif mode == 0 and not _signed(fields, flags):
        code = "u1"
        notes.append("8-bit pixels read as 0 to 255, since the header says so, not as -128 to 127")
    axes = tuple(int(axis) for axis in fields["axes"])
    if axes not in ((1, 2, 3), (0, 0, 0)):
        notes.append(f"the header's axis order is {axes}; rows are taken as they lie in the file")
    return MrcHeader(
        width=width,
        height=height,
        sections=sections,
        mode=mode,
        extended=int(fields["nsymbt"]),
        dtype=np.dtype(order + code),
        packed=packed,
        spacing=_spacing(fields),
        notes=tuple(notes),
    )


def _check(header: MrcHeader, path: Path) -> None:
    if header.sections > 1:
        raise stack(path, header.sections)
    if header.mode in REFUSED_MODES:
        raise MicrographFormatError(
            f"the pixels are {REFUSED_MODES[header.mode]}",
            where=path,
            hint="Name the motion-corrected micrographs themselves.",
        )
    if header.mode not in MODES:
        known = ", ".join(str(mode) for mode in MODES)
        raise MicrographFormatError(
            f"the header's data mode {header.mode} is not known",
            where=path,
            hint=f"Known are {known}. If other programs read it, convert it to mode 2, for "
            "example with IMOD's 'newstack -mode 2'; else it is damaged.",
        )
    check_pixels(header.width, header.height, path)
    if header.extended < 0:
        raise MicrographFormatError(
            f"the header claims an extended header of {header.extended} bytes",
            where=path,
            hint="The header is damaged. " + AGAIN,
        )


def _fields(raw: bytes, order: ByteOrder) -> np.void:
    record: np.void = np.frombuffer(raw, _LAYOUT.newbyteorder(order), count=1)[0]
    return record


def _plausible(fields: np.void) -> bool:
    """Whether the numbers could be meant: swapped bytes turn every small one into 2^24 or more."""
    size = fields["size"]
    return bool(np.all(size > 0) and np.all(size < 2**24)) and 0 <= int(fields["mode"]) < 2**16


def _signed(fields: np.void, flags: int | None) -> bool:
    """Whether 8-bit data are signed: as IMOD's flag says, else unless the header's range denies it.

    Without the flag, MRC2014 and RELION say signed. Only a maximum that a signed byte cannot hold
    says otherwise.
    """
    if flags is not None:
        return bool(flags & 1)
    lowest, highest = (float(value) for value in fields["range"])
    return not 0 <= lowest <= 127 < highest <= 255


def _spacing(fields: np.void) -> tuple[float, float]:
    grid, cell = fields["grid"], fields["cell"]
    x, y = (float(cell[i]) / int(grid[i]) if grid[i] > 0 else 0.0 for i in range(2))
    return x, y


def _nonsense(raw: bytes, order: ByteOrder, path: Path) -> MicrographFormatError:
    if not any(raw):
        return MicrographFormatError(
            "the header is all zeros: the file was made but never filled",
            where=path,
            hint="The disk was full or the transfer broke. " + AGAIN,
        )
    fields = _fields(raw, order)
    size = " x ".join(str(int(n)) for n in fields["size"])
    return MicrographFormatError(
        f"not an MRC file, or its header is damaged (it claims {size} px of mode "
        f"{int(fields['mode'])})",
        where=path,
        hint=AGAIN,
    )
