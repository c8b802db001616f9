"""Micrographs in, whatever their format: pixel sizes, names, lies, threads, imports."""

from __future__ import annotations

import bz2
import gzip
import struct
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from micrograph_files import (
    FUZZ,
    header,
    lost_page,
    mrc_file,
    pixels,
    tiff_bytes,
    write,
)
from micscreen.errors import MicrographError, MicrographFormatError, UsageError
from micscreen.io.micrographs import (
    MICROGRAPH_SUFFIXES,
    micrograph_shape,
    micrograph_stem,
    read_micrograph,
)

INFINITE, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("cell", "grid", "expected", "note"),
    [
        ((7 * 1.77, 5 * 1.77), (7, 5), 1.77, None),
        ((7 * 0.6665512, 5 * 0.6665512), (7, 5), 0.666551, None),
        ((14 * 1.05, 10 * 1.05), (14, 10), 1.05, None),
        ((7.0 * 1.77, 5.0 * 1.771), (7, 5), 1.77, None),
        ((0.0, 0.0), (7, 5), None, "no pixel size (0 Å/px)"),
        ((7.0, 5.0), (0, 0), None, "no pixel size (0 Å/px)"),
        ((7.0, 5.0), (-7, -5), None, "no pixel size (0 Å/px)"),
        ((7.0, 5.0), (7, 5), None, "exactly 1 Å/px"),
        ((-7.0, -5.0), (7, 5), None, "negative (-1 Å/px)"),
        ((7 * 1.77, 5 * 3.54), (7, 5), None, "differs along x and y (1.77 and 3.54 Å/px)"),
        ((7 * 101.0, 5 * 101.0), (7, 5), None, "implausible (101 Å/px)"),
        ((7 * 0.05, 5 * 0.05), (7, 5), None, "implausible (0.05 Å/px)"),
        ((NAN, NAN), (7, 5), None, "not a number"),
        ((INFINITE, 5.0), (7, 5), None, "not a number"),
    ],
)
def test_mrc_pixel_size(tmp_path, cell, grid, expected, note):
    """A believable pixel size is taken, any other is told and not believed."""
    fields = {"cell": (*cell, 0.0), "mx": grid[0], "my": grid[1]}
    found = read_micrograph(mrc_file(tmp_path / "m.mrc", **fields))
    assert found.pixel_size == expected
    assert len(found.notes) == (note is not None)
    assert note is None or note in found.notes[0]


def test_a_given_pixel_size_overrules_the_header(tmp_path):
    """The user's pixel size is used; a header that says otherwise is told, an unset one is not."""
    path = mrc_file(tmp_path / "m.mrc")
    assert read_micrograph(path, pixel_size=1.77).notes == ()
    found = read_micrograph(path, pixel_size=1.05)
    assert found.pixel_size == 1.05
    assert found.notes == ("the header says 1.77 Å/px, 1.05 Å/px was given and is used",)
    unset = mrc_file(tmp_path / "n.mrc", cell=(7.0, 5.0, 1.0))
    assert read_micrograph(unset, pixel_size=1.0).pixel_size == 1.0
    assert read_micrograph(unset, pixel_size=1.0).notes == ()


@pytest.mark.parametrize("given_size", [0, -1.0, NAN, INFINITE])
def test_an_impossible_pixel_size_is_refused(tmp_path, given_size):
    """A pixel size that is no positive number is the caller's error, before any file is touched."""
    with pytest.raises(UsageError, match="impossible"):
        read_micrograph(tmp_path / "missing.mrc", pixel_size=given_size)


@pytest.mark.parametrize("suffix", MICROGRAPH_SUFFIXES)
@pytest.mark.parametrize("upper", [False, True])
def test_every_suffix_is_read(tmp_path, suffix, upper):
    """Each known ending is read, in lower and upper case, and the shape and stem agree."""
    path = tmp_path / f"mic_01.x{suffix.upper() if upper else suffix}"
    image = pixels("u1", (5, 7))
    if suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, image)
    elif suffix in (".png", ".jpg", ".jpeg"):
        path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    else:
        pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(Path(suffix).suffix, bytes)
        path.write_bytes(pack(header(7, 5) + pixels("f4").tobytes()))
    found = read_micrograph(str(path))
    assert found.shape == micrograph_shape(str(path)) == (5, 7)
    assert found.name == micrograph_stem(path) == "mic_01.x"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.mrc.gz", "a"),
        ("/x/y.z/a_DW.mrc", "a_DW"),
        ("a.b.TIFF", "a.b"),
        ("a.tif.mrc", "a.tif"),
        ("a.star", "a.star"),
        ("a", "a"),
        (".mrc", ".mrc"),
        ("a.gz", "a.gz"),
    ],
)
def test_stem(name, stem):
    """The stem loses the folder and one known ending, nothing else, and is never empty."""
    assert micrograph_stem(name) == stem


LIES = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 20),
    st.sampled_from([0, 1, 2, 2**14, 2**15, 2**24, 2**31 - 1, -1, 101, 12, 6, 1024]),
)


@given(
    words=st.dictionaries(st.sampled_from([*range(0, 30), 38, 39, 52, 53]), LIES, max_size=8),
    order=st.sampled_from("<>"),
    suffix=st.sampled_from([".mrc", ".mrc.gz", ".mrc.bz2"]),
    tail=st.integers(0, 300),
)
@FUZZ
def test_header_lies(tmp_path, words, order, suffix, tail):
    """No header makes the reader fail otherwise, or take more than twice the file and 3 MB."""
    raw = bytearray(header(7, 5, order=order))
    for word, value in words.items():
        struct.pack_into(order + "i", raw, 4 * word, value)
    data = bytes(raw) + bytes(tail)
    path = write(tmp_path / f"m{suffix}", data)
    tracemalloc.start()
    try:
        found = read_micrograph(path)
        assert found.shape == micrograph_shape(path)
        assert found.image.size <= 2 * len(data)
        assert found.pixel_size is None or 0.1 <= found.pixel_size <= 100
        found.image.sum(dtype=np.float64)
    except MicrographError as error:
        assert error.where == str(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= 2 * len(data) + 3_000_000


@given(
    kind=st.sampled_from(["tif", "lzw.tif", "deflate.tif", "zstd.tif", "tiled.tif", "png", "jpg"]),
    changes=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=4),
    keep=st.integers(0, 1200),
)
@FUZZ
def test_damaged_tiff_png_and_jpeg(tmp_path, kind, changes, keep):
    """No damage makes the readers fail otherwise, or take memory without bounds."""
    image = np.arange(600, dtype=np.uint8).reshape(20, 30)
    compression = kind.partition(".")[0] if kind.startswith(("lzw", "defl", "zst")) else None
    if kind.endswith("tif"):
        tile = (16, 16) if kind == "tiled.tif" else None
        data = bytearray(tiff_bytes(tmp_path, image, compression=compression, tile=tile))
    else:
        data = bytearray(cv2.imencode(f".{kind}", image)[1].tobytes())
    for where, value in changes:
        data[where % len(data)] = value
    path = tmp_path / f"m.{kind}"
    path.write_bytes(bytes(data[: keep or None]))
    tracemalloc.start()
    try:
        read_micrograph(path).image.sum(dtype=np.float64)
    except MicrographError as error:
        assert error.where == str(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64_000_000


@given(keep=st.integers(1, 10_000))
@FUZZ
def test_a_cut_png_is_never_half_an_image(tmp_path, keep):
    """A PNG cut anywhere is refused."""
    image = np.random.default_rng(1).integers(0, 255, (60, 50), dtype=np.uint8)
    data = cv2.imencode(".png", image)[1].tobytes()
    path = tmp_path / "m.png"
    path.write_bytes(data[: min(keep, len(data) - 1)])
    with pytest.raises(MicrographFormatError):
        read_micrograph(path)


def test_many_threads_read_at_once(tmp_path):
    """Eight threads that read every format over and over see the same pixels as one."""
    image = pixels("u2", (200, 300))
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(image)
    write(tmp_path / "b.mrc.gz", (tmp_path / "a.mrc").read_bytes())
    tifffile.imwrite(tmp_path / "c.tif", image[::-1], compression="lzw")
    cv2.imwrite(str(tmp_path / "d.png"), image)
    paths = sorted(tmp_path.iterdir()) * 20
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(read_micrograph, paths):
            np.testing.assert_array_equal(found.image, image)


def test_damaged_tiff_prints_nothing(tmp_path):
    """tifffile's complaints about damage do not reach standard error; ours is the exception."""
    (tmp_path / "m.tif").write_bytes(lost_page(tmp_path))
    code = (
        "from micscreen.io.micrographs import read_micrograph\n"
        "try:\n"
        f"    read_micrograph({str(tmp_path / 'm.tif')!r})\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("MicrographFormatError\n", "")


def test_reading_mrc_imports_nothing_heavy(tmp_path):
    """Importing the readers, and reading MRC with them, loads no image library."""
    path = mrc_file(tmp_path / "m.mrc")
    code = (
        "import sys, micscreen.io.micrographs as m, micscreen.io.masks\n"
        f"m.read_micrograph({str(path)!r})\n"
        "print(sorted({'mrcfile', 'tifffile', 'imagecodecs', 'cv2'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_the_documentation_names_every_format():
    """Each ending and MRC mode that is read stands in the documentation."""
    page = Path(__file__).resolve().parents[1] / "docs" / "formats-micrographs.md"
    text = page.read_text(encoding="utf-8")
    assert [suffix for suffix in MICROGRAPH_SUFFIXES if f"`{suffix}`" not in text] == []
    assert "modes 0, 1, 2, 6, 12, 101" in text
