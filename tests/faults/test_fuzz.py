"""Every reader on damaged files: a result or our own error, in bounded memory and time."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micscreen.errors import MicscreenError
from micscreen.io import (
    FORMATS,
    micrograph_shape,
    read_coordinates,
    read_mask,
    read_micrograph,
    write_picks,
)
from micscreen.picks import Picks

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MEMORY_MULTIPLE = 64
"""Reading takes at most so many times the size of the file, and a constant."""

MEMORY_CONSTANT = 32 << 20
SECONDS = 20.0
"""Far more than any of these small files needs, so that only what hangs is found."""

HOSTILE = (
    b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"nan", b"inf",
    b"-1e400", b"9" * 400, b"'", b'"', b";\n", b"\nloop_\n", b"\ndata_\n", b"[" * 3000,
    b"{" * 50, b",", b"\r", b"\t", b"#", b"../../../../etc/passwd", b"\xe9", b"_x " * 2000,
    b"'shape': (1000000000000,)", b"|O", b"__import__",
)  # fmt: skip
STEP = st.tuples(
    st.sampled_from(["hostile", "cut", "drop", "repeat", "byte"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 4000),
    st.binary(min_size=1, max_size=4),
)


def damaged(data: bytes, steps: list[tuple[str, float, int, bytes]]) -> bytes:
    """Return a file after some accidents; half of them hit its first kilobyte."""
    for kind, share, number, some in steps:
        span = min(len(data), 1024) if number % 2 else len(data)
        at = int(share * span)
        if kind == "hostile":
            word = HOSTILE[number % len(HOSTILE)]
            over = len(word) if number % 3 else 0
            data = data[:at] + word + data[at + over :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[at + number :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + number] * 2 + data[at + number :]
        else:
            data = data[:at] + some + data[at + len(some) :]
    return data


def bounded(path: Path, read: object) -> None:
    """Read; only our own errors may come, and neither memory nor time without bound."""
    assert callable(read)
    tracemalloc.start()
    begun = time.monotonic()
    try:
        read(path)
    except MicscreenError as error:
        assert str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= MEMORY_MULTIPLE * path.stat().st_size + MEMORY_CONSTANT, (peak, path.stat())
    assert time.monotonic() - begun < SECONDS


def whole_table(format: str, folder: Path) -> tuple[str, bytes]:
    """Return name and content of a good coordinate file, as micscreen itself writes it."""
    rng = np.random.default_rng(7)
    picks = Picks(rng.uniform(0, 4000, 40), rng.uniform(0, 4000, 40), box_size=200.0)
    many = FORMATS[format].many
    ending = FORMATS[format].extensions[0]
    path = folder / f"good{ending}"
    written = write_picks(
        path, [("mic_1", picks), ("mic_2", picks)] if many else picks, format=format
    )
    return written[0].name, written[0].read_bytes()


def hand_written(format: str) -> tuple[str, bytes]:
    """Return files that micscreen reads and does not write anew."""
    if format == "relion_list":
        rows = "mics/a.mrc picks/a_autopick.star\nmics/b.mrc picks/b_autopick.star\n"
        head = "data_coordinate_files\n\nloop_\n_rlnMicrographName #1\n"
        return "autopick.star", f"{head}_rlnMicrographCoordinates #2\n{rows}".encode()
    if format == "relion_particles":
        tags = ("CoordinateX", "CoordinateY", "MicrographName", "ImageName")
        head = "data_particles\n\nloop_\n" + "".join(f"_rln{tag}\n" for tag in tags)
        body = "".join(f"{i}.5 {2 * i} m/{i % 3}.mrc {i}@p.mrcs\n" for i in range(40))
        return "particles.star", (head + body).encode()
    if format == "cryosparc_csg":
        text = (
            "created: 2024-01-01\ngroup: {name: particles, title: p, type: particle}\n"
            "results:\n  location:\n    metafile: '>p.cs'\n    num_items: 3\n"
            "    type: particle.location\ntype: group\nversion: v4.4.0\n"
        )
        return "p.csg", text.encode()
    fields = [("location/micrograph_path", "S20"), ("location/center_x_frac", "<f4"),
              ("location/center_y_frac", "<f4"), ("location/micrograph_shape", "<u4", (2,)),
              ("uid", "<u8")]  # fmt: skip
    table = np.zeros(40, fields)
    table["location/micrograph_path"] = b"m/a.mrc"
    table["location/micrograph_shape"] = 4096
    stream = io.BytesIO()
    np.save(stream, table)
    return "p.cs", stream.getvalue()


@pytest.mark.parametrize("format", FORMATS)
@EXAMPLES
@given(steps=st.lists(STEP, min_size=1, max_size=4), named=st.booleans())
def test_damaged_coordinates(
    tmp_path: Path, format: str, steps: list[tuple[str, float, int, bytes]], named: bool
) -> None:
    """No reader of coordinates crashes, hangs, or takes memory that the file does not justify."""
    if format in ("relion_list", "relion_particles", "cryosparc_csg", "cryosparc_cs"):
        name, data = hand_written(format)
    else:
        name, data = whole_table(format, tmp_path)
    path = tmp_path / name
    path.write_bytes(damaged(data, steps))
    bounded(path, lambda p: read_coordinates(p, format=format if named else None))


def whole_micrograph(ending: str, folder: Path) -> bytes:
    """Return a good micrograph of 96 x 80 px, as independent writers make it."""
    image = np.random.default_rng(1).normal(100, 20, (96, 80)).astype(np.float32)
    path = folder / f"good{ending}"
    if ending.startswith(".mrc"):
        mrcfile.write(folder / "plain.mrc", image, overwrite=True)
        data = (folder / "plain.mrc").read_bytes()
        return {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)(data)
    if ending == ".tif":
        tifffile.imwrite(path, image, compression="zlib", rowsperstrip=16)
    else:
        cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8))
    return path.read_bytes()


@pytest.mark.parametrize("ending", [".mrc", ".mrc.gz", ".mrc.bz2", ".tif", ".png", ".jpg"])
@EXAMPLES
@given(steps=st.lists(STEP, min_size=1, max_size=4))
def test_damaged_micrographs(
    tmp_path: Path, ending: str, steps: list[tuple[str, float, int, bytes]]
) -> None:
    """No reader of micrographs crashes, hangs, or allocates what a lying header asks for."""
    path = tmp_path / f"m{ending}"
    path.write_bytes(damaged(whole_micrograph(ending, tmp_path), steps))
    bounded(path, read_micrograph)
    bounded(path, micrograph_shape)


def test_a_table_with_a_million_columns(tmp_path: Path) -> None:
    """STAR with 10^6 columns is refused, in bounded memory and time."""
    names = "".join(f"_c{i}\n" for i in range(1_000_000))
    path = tmp_path / "wide.star"
    path.write_text(
        f"data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n{names}1 2 {'0 ' * 1_000_000}\n"
    )
    bounded(path, read_coordinates)
    with pytest.raises(MicscreenError, match="columns"):
        read_coordinates(path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    """A .cs file with Python objects is not unpickled: reading it could run any code."""
    path = tmp_path / "p.cs"
    np.save(path.with_suffix(".npy"), np.array([(1, {})], [("uid", "<u8"), ("x", "O")]))
    path.with_suffix(".npy").rename(path)
    with pytest.raises(MicscreenError, match="pickled"):
        read_coordinates(path, format="cryosparc_cs")


@pytest.mark.parametrize("ending", [".mrc", ".mrc.gz", ".tif", ".png", ".npy"])
def test_headers_that_claim_a_million_million_pixels(tmp_path: Path, ending: str) -> None:
    """10^12 pixels that the file does not have are one of our errors and are never allocated."""
    side = 1_000_000
    path = tmp_path / f"huge{ending}"
    if ending == ".tif":
        tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1),
                (278, side), (279, 4_000_000_000)]  # fmt: skip
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4096)
    elif ending == ".png":
        head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        block = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + block + b"\0" * 4096)
    elif ending == ".npy":
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({side}, {side}), }}"
        header = header.ljust(117) + "\n"
        path.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode())
    else:
        data = bytearray(whole_micrograph(".mrc", tmp_path))
        data[:8] = struct.pack("<ii", side, side)
        data[28:36] = struct.pack("<ii", side, side)
        path.write_bytes(gzip.compress(data) if ending == ".mrc.gz" else data)
    reads = [read_mask] if ending == ".npy" else [read_micrograph, micrograph_shape]
    for read in reads:
        bounded(path, read)
    with pytest.raises(MicscreenError):
        reads[0](path)
