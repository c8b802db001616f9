"""Micrographs in: every format against independent writers, every lie against an error."""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micscreen.errors import MicrographError, MicrographFormatError, UsageError
from micscreen.io.micrographs import (
    MICROGRAPH_FORMATS,
    MICROGRAPH_SUFFIXES,
    micrograph_shape,
    micrograph_stem,
    read_micrograph,
)

MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
RNG = np.random.default_rng(20)
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def header(nx, ny, nz=1, mode=2, order="<", cell=None, mx=None, my=None, **more):
    """Make 1024 header bytes by hand, field by field as MRC2014 numbers them."""
    raw = bytearray(1024)
    cell = (nx * 1.77, ny * 1.77, 1.77) if cell is None else cell
    struct.pack_into(order + "4i", raw, 0, nx, ny, nz, mode)
    struct.pack_into(order + "3i", raw, 28, nx if mx is None else mx, ny if my is None else my, 1)
    struct.pack_into(order + "3f", raw, 40, *cell)
    struct.pack_into(order + "3i", raw, 64, *more.get("axes", (1, 2, 3)))
    struct.pack_into(order + "2f", raw, 76, *more.get("range", (0.0, -1.0)))
    struct.pack_into(order + "i", raw, 92, more.get("nsymbt", 0))
    raw[104:108] = more.get("exttype", b"\0\0\0\0")
    struct.pack_into(order + "i", raw, 108, 20141)
    struct.pack_into(order + "2i", raw, 152, *more.get("imod", (0, 0)))
    raw[208:212] = more.get("map", b"MAP ")
    stamp = {"<": b"\x44\x44\0\0", ">": b"\x11\x11\0\0"}[order]
    raw[212:216] = more.get("stamp", stamp)
    return bytes(raw)


def pixels(dtype, shape=(5, 7)):
    """Return random pixels, over the whole range of integers."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return RNG.normal(100, 30, shape).astype(kind)
    limits = np.iinfo(kind)
    return RNG.integers(limits.min, limits.max, shape, endpoint=True).astype(kind)


def write(path, data):
    """Write bytes, compressed as the name says."""
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))
    return path


def mrc_file(path, nx=7, ny=5, **fields):
    """Write a whole float32 MRC file with a header by hand."""
    return write(path, header(nx, ny, **fields) + pixels("f4", (ny, nx)).tobytes())


# --- MRC ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mrc", ".mrc.gz", ".mrc.bz2"])
@pytest.mark.parametrize(
    ("exttype", "nsymbt"), [(b"\0\0\0\0", 0), (b"FEI1", 768), (b"FEI2", 888), (b"SERI", 4096)]
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
def test_mrc_mode_order_extension_and_compression(tmp_path, mode, order, exttype, nsymbt, suffix):
    """Every mode, byte order, extended header and compression gives the pixels mrcfile sees."""
    image = pixels(order + MODES[mode])
    extended = bytes(RNG.integers(0, 256, nsymbt, dtype=np.uint8))
    data = header(7, 5, mode=mode, order=order, nsymbt=nsymbt, exttype=exttype) + extended
    path = write(tmp_path / f"m{suffix}", data + image.tobytes())
    found = read_micrograph(path)
    assert found.image.dtype == np.dtype(order + MODES[mode])
    np.testing.assert_array_equal(found.image, image)
    with mrcfile.open(path, permissive=True) as reference:
        np.testing.assert_array_equal(found.image, reference.data)
    assert found.pixel_size == pytest.approx(1.77)
    assert found.notes == ()
    assert found.name == "m"
    assert micrograph_shape(path) == (5, 7)


@pytest.mark.parametrize("compression", [None, "gzip", "bzip2"])
@pytest.mark.parametrize("mode", MODES)
def test_mrc_from_mrcfile(tmp_path, mode, compression):
    """What mrcfile writes is read back as it was, with its voxel size."""
    ending = {None: "", "gzip": ".gz", "bzip2": ".bz2"}[compression]
    path = tmp_path / f"m.mrc{ending}"
    image = pixels(MODES[mode], (33, 20))
    with mrcfile.new(path, compression=compression) as file:
        file.set_data(image)
        file.voxel_size = 0.832
    found = read_micrograph(path)
    np.testing.assert_array_equal(found.image, image)
    assert found.pixel_size == pytest.approx(0.832)


@pytest.mark.parametrize("suffix", [".mrc", ".mrc.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_4_bit_pixels_come_low_half_first(tmp_path, order, suffix):
    """Mode 101 unpacks the low half of a byte first, and an odd row ends in an idle half byte."""
    rows = bytes([0x21, 0x43, 0xF5, 0xBA, 0xDC, 0x0E])
    path = write(tmp_path / f"m{suffix}", header(5, 2, mode=101, order=order) + rows)
    found = read_micrograph(path)
    assert found.image.tolist() == [[1, 2, 3, 4, 5], [10, 11, 12, 13, 14]]
    assert found.image.dtype == np.uint8
    assert micrograph_shape(path) == (2, 5)


@given(width=st.integers(1, 9), height=st.integers(1, 5), seed=st.integers(0, 99))
@FUZZ
def test_4_bit_pixels_of_any_size(tmp_path, width, height, seed):
    """Packing any image by IMOD's rule and reading it gives the image."""
    image = np.random.default_rng(seed).integers(0, 16, (height, width), dtype=np.uint8)
    padded = np.pad(image, ((0, 0), (0, width % 2)))
    packed = padded[:, 0::2] | padded[:, 1::2] << 4
    path = write(tmp_path / "m.mrc", header(width, height, mode=101) + packed.tobytes())
    np.testing.assert_array_equal(read_micrograph(path).image, image)


def test_4_bit_pixels_under_half_the_width(tmp_path):
    """IMOD's flag 16 on mode 0 doubles the width and unpacks."""
    imod = (1146047817, 16)
    path = write(tmp_path / "m.mrc", header(2, 1, mode=0, imod=imod) + bytes([0x21, 0x43]))
    found = read_micrograph(path)
    assert found.image.tolist() == [[1, 2, 3, 4]]
    assert "4-bit" in found.notes[0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, -56),
        ({"imod": (1146047817, 1)}, -56),
        ({"imod": (1146047817, 0)}, 200),
        ({"imod": (7, 0)}, -56),
        ({"range": (0.0, 255.0)}, 200),
        ({"range": (0.0, 127.0)}, -56),
        ({"range": (-128.0, 127.0)}, -56),
        ({"range": (float("nan"), float("nan"))}, -56),
    ],
)
def test_8_bit_pixels_are_signed_unless_the_header_says_otherwise(tmp_path, fields, expected):
    """Mode 0 is signed, but for IMOD's flag or a header range that no signed byte can have."""
    path = write(tmp_path / "m.mrc", header(2, 1, mode=0, **fields) + bytes([200, 1]))
    found = read_micrograph(path)
    assert found.image[0, 0] == expected
    assert bool(found.notes) == (expected == 200)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
def test_bare_mrc_is_a_read_only_memory_map(tmp_path, mode, order):
    """An uncompressed file of any mode is mapped in its own byte order, and nothing is copied."""
    path = tmp_path / "m.mrc"
    itemsize = np.dtype(MODES[mode]).itemsize
    with path.open("wb") as file:
        file.write(header(4096, 4096, mode=mode, order=order))
        file.truncate(1024 + 4096 * 4096 * itemsize)
    read_micrograph(path)
    tracemalloc.start()
    image = read_micrograph(path).image
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(image, np.memmap)
    assert not image.flags.writeable
    assert image.dtype == np.dtype(order + MODES[mode])
    assert peak < 200_000


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"stamp": b"\0\0\0\0"}, None),
        ({"stamp": b"\x44\x41\0\0"}, "machine stamp"),
        ({"stamp": b"\x11\x11\0\0"}, "machine stamp"),
        ({"stamp": b"junk"}, None),
        ({"map": b"\0\0\0\0", "stamp": b"\0\0\0\0"}, "'MAP' mark"),
        ({"map": b"MAP\0"}, None),
        ({"axes": (0, 0, 0)}, None),
        ({"axes": (1, -2, 3)}, "axis order"),
    ],
)
def test_odd_headers_are_read_where_it_can_be_told(tmp_path, order, fields, note):
    """Wrong or missing stamps, marks and axes change no pixel, and are noted when they matter."""
    image = pixels(order + "f4")
    path = write(tmp_path / "m.mrc", header(7, 5, order=order, **fields) + image.tobytes())
    found = read_micrograph(path)
    np.testing.assert_array_equal(found.image, image)
    right = note == "machine stamp" and (fields["stamp"][0] == 0x44) == (order == "<")
    assert len(found.notes) == (0 if note is None or right else 1)
    assert all(note in said for said in found.notes)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
def test_byte_order_without_a_stamp(tmp_path, mode, order):
    """Without a machine stamp the sizes tell the byte order, also for mode 0, the same in both."""
    image = pixels(order + MODES[mode])
    data = header(7, 5, mode=mode, order=order, stamp=b"\0\0\0\0") + image.tobytes()
    np.testing.assert_array_equal(read_micrograph(write(tmp_path / "m.mrc", data)).image, image)


def test_bytes_after_the_image_are_noted(tmp_path):
    """Bytes beyond the image are left alone and told, bare and compressed."""
    data = header(7, 5) + pixels("f4").tobytes() + bytes(10)
    assert read_micrograph(write(tmp_path / "m.mrc", data)).notes == (
        "the file has 10 bytes after its image; not read",
    )
    assert "goes on after its image" in read_micrograph(write(tmp_path / "m.mrc.gz", data)).notes[0]


def test_gzip_of_several_members(tmp_path):
    """A file compressed in pieces (pigz, cat) is read whole."""
    image = pixels("f4")
    path = tmp_path / "m.mrc.gz"
    path.write_bytes(gzip.compress(header(7, 5)) + gzip.compress(image.tobytes()))
    np.testing.assert_array_equal(read_micrograph(path).image, image)


def test_a_gzip_bomb_stays_small(tmp_path):
    """A stream of 256 MB behind a header of 64 x 64 px is unpacked only as far as the image."""
    path = tmp_path / "m.mrc.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header(64, 64))
        for _ in range(64):
            file.write(bytes(1 << 22))
    tracemalloc.start()
    found = read_micrograph(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (64, 64)
    assert peak < 3_000_000


def test_nan_and_constant_images_pass_through(tmp_path):
    """The reader judges no pixel: NaN, Inf and constant images come as they are."""
    image = np.full((3, 4), np.nan, "<f4")
    image[0, 0] = np.inf
    path = write(tmp_path / "m.mrc", header(4, 3) + image.tobytes())
    np.testing.assert_array_equal(read_micrograph(path).image, image)


# --- TIFF -----------------------------------------------------------------------------------------

TIFF_KINDS = ["u1", "i1", "u2", "i2", "u4", "f2", "f4"]


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd", "packbits"])
@pytest.mark.parametrize("dtype", TIFF_KINDS)
def test_tiff_kinds(tmp_path, dtype, compression, tile):
    """Every pixel type, compression, predictor, layout, byte order and size of TIFF is read."""
    image = pixels(dtype, (37, 50))
    path = tmp_path / "m.tif"
    for order in "<>":
        for big in (False, True):
            for predictor in (False, compression in ("lzw", "deflate", "zstd")):
                tifffile.imwrite(
                    path,
                    image,
                    byteorder=order,
                    bigtiff=big,
                    compression=compression,
                    predictor=predictor,
                    tile=tile,
                    rowsperstrip=None if tile else 10,
                )
                found = read_micrograph(path, tiff_flip_y=False)
                np.testing.assert_array_equal(found.image, image)
                assert found.image.dtype.kind == image.dtype.kind
                assert micrograph_shape(path) == (37, 50)
                assert found.notes == ()


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_tiff_from_libtiff(tmp_path, dtype):
    """What libtiff writes (OpenCV's, LZW with predictor) is read."""
    image = pixels(dtype, (37, 50))
    cv2.imwrite(str(tmp_path / "m.tiff"), image)
    found = read_micrograph(tmp_path / "m.tiff", tiff_flip_y=False)
    np.testing.assert_array_equal(found.image, image)


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_tiff_rows_are_turned_over_unless_told_not_to(tmp_path, compression):
    """RELION's rule: the last row of a TIFF file is row 0 of the image; no other format turns."""
    image = pixels("u2", (4, 3))
    tifffile.imwrite(tmp_path / "m.tif", image, compression=compression)
    cv2.imwrite(str(tmp_path / "m.png"), image)
    np.testing.assert_array_equal(read_micrograph(tmp_path / "m.tif").image, image[::-1])
    kept = read_micrograph(tmp_path / "m.tif", tiff_flip_y=False)
    np.testing.assert_array_equal(kept.image, image)
    np.testing.assert_array_equal(read_micrograph(tmp_path / "m.png").image, image)
    assert [row.name for row in MICROGRAPH_FORMATS if row.upside_down] == ["TIFF"]


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff_becomes_grey(tmp_path, planar):
    """RGB becomes grey by the usual weights, however the colours are stored, and it is told."""
    image = pixels("u1", (20, 30, 3))
    stored = np.moveaxis(image, -1, 0) if planar == "separate" else image
    tifffile.imwrite(tmp_path / "m.tif", stored, photometric="rgb", planarconfig=planar)
    found = read_micrograph(tmp_path / "m.tif", tiff_flip_y=False)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert np.abs(found.image.astype(int) - grey).max() <= 1
    assert found.notes == ("a colour picture; turned to grey",)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        (1e8 / 1.77, "CENTIMETER", 1.77),
        (2.54e8 / 0.832, "INCH", 0.832),
        (1e8 / 1.77, "NONE", None),
        (72, "INCH", None),
        (0, "CENTIMETER", None),
        (1e8, "CENTIMETER", None),
    ],
)
def test_tiff_pixel_size(tmp_path, resolution, unit, expected):
    """Resolution tags count only with a unit and a value that a micrograph can have."""
    tifffile.imwrite(
        tmp_path / "m.tif",
        pixels("u1"),
        resolution=(resolution, resolution),
        resolutionunit=unit,
    )
    found = read_micrograph(tmp_path / "m.tif")
    assert found.pixel_size == (None if expected is None else pytest.approx(expected, rel=1e-5))
    assert len(found.notes) == (1 if resolution == 1e8 else 0)


def test_tiff_with_a_thumbnail_is_one_micrograph(tmp_path):
    """A reduced image behind the first is a thumbnail, not a stack."""
    image = pixels("u1", (20, 30))
    with tifffile.TiffWriter(tmp_path / "m.tif") as file:
        file.write(image)
        file.write(image[::4, ::4], subfiletype=1)
    assert read_micrograph(tmp_path / "m.tif").shape == (20, 30)


# --- PNG and JPEG ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png(tmp_path, dtype, channels):
    """PNG of 8 and 16 bit is exact, colours become grey, and its pixel size is unknown."""
    image = pixels(dtype, (20, 30, channels))
    cv2.imwrite(str(tmp_path / "m.png"), image)
    found = read_micrograph(tmp_path / "m.png")
    convert = {3: cv2.COLOR_BGR2GRAY, 4: cv2.COLOR_BGRA2GRAY}
    grey = image[..., 0] if channels == 1 else cv2.cvtColor(image, convert[channels])
    assert np.abs(found.image.astype(int) - grey).max() <= (0 if channels == 1 else 1)
    assert found.image.dtype == np.dtype(dtype)
    assert found.pixel_size is None
    assert len(found.notes) == (channels > 1)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg(tmp_path, suffix, colour):
    """A JPEG is read within what its compression loses, colours become grey."""
    smooth = cv2.GaussianBlur(pixels("u1", (64, 48)), (0, 0), 4)
    image = np.stack([smooth] * 3, axis=-1) if colour else smooth
    cv2.imwrite(str(tmp_path / f"m{suffix}"), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    found = read_micrograph(tmp_path / f"m{suffix}")
    assert found.shape == (64, 48)
    assert np.abs(found.image.astype(int) - smooth).max() <= 4
    assert len(found.notes) == colour


@pytest.mark.parametrize(("bits", "lossless", "error"), [(12, False, 20), (16, True, 0)])
def test_jpeg_of_more_than_8_bits(tmp_path, bits, lossless, error):
    """12 and 16 bit JPEG are read as 16 bit integers."""
    image = cv2.GaussianBlur(pixels("u2", (64, 48)) >> (16 - bits), (0, 0), 4)
    data = imagecodecs.jpeg8_encode(image, bitspersample=bits, lossless=lossless, level=98)
    (tmp_path / "m.jpg").write_bytes(data)
    found = read_micrograph(tmp_path / "m.jpg")
    assert found.image.dtype == np.uint16
    assert np.abs(found.image.astype(int) - image).max() <= error


def test_the_shape_of_a_jpeg_is_not_its_thumbnails(tmp_path):
    """A thumbnail and comments before the picture are stepped over."""
    _, data = cv2.imencode(".jpg", pixels("u1", (40, 50)))
    _, small = cv2.imencode(".jpg", pixels("u1", (4, 5)))
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(small)) + small.tobytes()
    whole = data.tobytes()
    (tmp_path / "m.jpg").write_bytes(whole[:2] + segment + b"\xff" + whole[2:])
    assert micrograph_shape(tmp_path / "m.jpg") == (40, 50)
    assert read_micrograph(tmp_path / "m.jpg").shape == (40, 50)


# --- pixel sizes and names ------------------------------------------------------------------------

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


# --- errors ---------------------------------------------------------------------------------------


def bare(nx=7, ny=5, **fields):
    """Return a whole MRC file's bytes."""
    return header(nx, ny, **fields) + bytes(4 * nx * ny)


def tiff_bytes(folder, image, **options):
    """Return a TIFF file's bytes."""
    tifffile.imwrite(folder / "scratch.tiff", image, **options)
    return (folder / "scratch.tiff").read_bytes()


def lying_tiff(folder, tag, value, **options):
    """Return a TIFF of 64 x 64 px with one tag that lies."""
    path = folder / "scratch.tiff"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[tag].overwrite(value)
    return path.read_bytes()


def lost_page(folder, **options):
    """Return a TIFF whose next page lies beyond its end, as in a cut movie."""
    data = bytearray(tiff_bytes(folder, np.zeros((64, 64), np.uint8), **options))
    big = options.get("bigtiff", False)
    (start,) = struct.unpack_from("<Q" if big else "<I", data, 8 if big else 4)
    (tags,) = struct.unpack_from("<Q" if big else "<H", data, start)
    end = start + (8 + 20 * tags if big else 2 + 12 * tags)
    struct.pack_into("<I", data, end, 2**30)
    return bytes(data)


def png_bytes():
    """Return a PNG file's bytes."""
    return cv2.imencode(".png", np.arange(600, dtype=np.uint16).reshape(20, 30))[1].tobytes()


def jpeg_bytes():
    """Return a JPEG file's bytes."""
    return cv2.imencode(".jpg", np.arange(600, dtype=np.uint8).reshape(20, 30))[1].tobytes()


def huge_png(side):
    """Return a small PNG whose header claims side x side px."""
    data = bytearray(png_bytes())
    struct.pack_into(">II", data, 16, side, side)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


FORMAT_ERRORS = {
    "empty": ("m.mrc", lambda d: b"", "the file is empty (0 bytes)", "Copy or transfer"),
    "short": ("m.mrc", lambda d: bare()[:500], "too short for an MRC file", "Copy or transfer"),
    "zeros": ("m.mrc", lambda d: bytes(9999), "header is all zeros", "disk was full"),
    "cut": (
        "m.mrc",
        lambda d: bare(4096, 4096)[:12345],
        "truncated: 4096 x 4096 px of mode 2 need 67.1 MB, the file has 12.3 kB (67.1 MB missing)",
        "still being written",
    ),
    "cut by one byte": ("m.mrc", lambda d: bare()[:-1], "1.2 kB (1 byte missing)", "Copy"),
    "extended header too long": (
        "m.mrc",
        lambda d: bare(nsymbt=10**6),
        "7 x 5 px of mode 2 after an extended header of 1.0 MB need 1.0 MB",
        "Copy",
    ),
    "extended header negative": (
        "m.mrc",
        lambda d: bare(nsymbt=-80),
        "an extended header of -80 bytes",
        "header is damaged",
    ),
    "10^12 px": (
        "m.mrc",
        lambda d: header(10**6, 10**6) + bytes(99),
        "claims 1,000,000 x 1,000,000 px; no micrograph is that large",
        "not a micrograph",
    ),
    "10^12 px gz": (
        "m.mrc.gz",
        lambda d: gzip.compress(header(10**6, 10**6)),
        "no micrograph is that large",
        "not a micrograph",
    ),
    "more than gzip can hold": (
        "m.mrc.gz",
        lambda d: gzip.compress(header(9000, 9000)),
        "truncated: 9000 x 9000 px of mode 2, however well compressed, need",
        "Copy",
    ),
    "stack": ("m.mrcs", lambda d: bare(nz=40), "a stack of 40 images", "Motion-correct"),
    "stack of big-endian": ("m.mrc", lambda d: bare(nz=40, order=">"), "a stack of 40", "Motion"),
    "mode 3": ("m.mrc", lambda d: bare(mode=3), "complex integers (mode 3)", "Name the"),
    "mode 4": ("m.mrc", lambda d: bare(mode=4), "complex numbers (mode 4)", "Name the"),
    "mode 16": ("m.mrc", lambda d: bare(mode=16), "RGB colours (mode 16)", "Name the"),
    "mode 7": ("m.mrc", lambda d: bare(mode=7), "data mode 7 is not known", "newstack -mode 2"),
    "nx 0": ("m.mrc", lambda d: bare(0, 5), "it claims 0 x 5 x 1 px of mode 2", "Copy"),
    "noise": ("m.mrc", lambda d: bytes(range(255, 0, -1)) * 9, "not an MRC file", "Copy"),
    "gzip cut": (
        "m.mrc.gz",
        lambda d: gzip.compress(bare())[:60],
        "the compressed file is truncated: it ends in the middle",
        "Copy",
    ),
    "gzip of a cut file": (
        "m.mrc.gz",
        lambda d: gzip.compress(bare()[:-7]),
        "unpacked, 7 x 5 px of mode 2 need 1.2 kB, the file has 1.2 kB (7 bytes missing)",
        "Copy",
    ),
    "gzip of a cut extended header": (
        "m.mrc.gz",
        lambda d: gzip.compress(bare(nsymbt=9000)),
        "after an extended header of 9.0 kB",
        "Copy",
    ),
    "gzip checksum": (
        "m.mrc.gz",
        lambda d: gzip.compress(bare())[:-8] + b"12345678",
        "the compressed file is damaged (CRC check failed",
        "Copy",
    ),
    "bzip2 cut": (
        "m.mrc.bz2",
        lambda d: bz2.compress(bare())[:60],
        "the compressed file is truncated",
        "Copy",
    ),
    "bzip2 damaged": (
        "m.mrc.bz2",
        lambda d: bz2.compress(bare())[:30] + b"x" * 30,
        "the compressed file is damaged",
        "Copy",
    ),
    "MRC named .tif": (
        "m.tif",
        lambda d: bare(),
        "its name says TIFF, its content is MRC",
        "Rename it to m.mrc, or convert it.",
    ),
    "TIFF named .mrc": (
        "m.mrc",
        lambda d: tiff_bytes(d, pixels("u1")),
        "its name says MRC, its content is TIFF",
        "Rename it to m.tif",
    ),
    "gzip named .mrc": (
        "m.mrc",
        lambda d: gzip.compress(bare()),
        "its name says MRC, its content is gzip-compressed",
        "Rename it to m.mrc.gz",
    ),
    "bare named .gz": (
        "m.mrc.gz",
        lambda d: bare(),
        "its name says gzip-compressed, its content is MRC",
        "Rename it to m.mrc",
    ),
    "PNG named .jpg": (
        "m.jpg",
        lambda d: png_bytes(),
        "its name says JPEG, its content is PNG",
        "Rename it to m.png",
    ),
    "web page": (
        "m.mrc",
        lambda d: b"<!DOCTYPE html><html>404 \xc3\xa9</html>",
        "its content is a web page",
        "download the file again",
    ),
    "LFS": (
        "m.mrc",
        lambda d: b"version https://git-lfs.github.com/spec/v1\n",
        "its content is a Git LFS pointer",
        "git lfs pull",
    ),
    "text": ("m.mrc", lambda d: b"x y\n1 2\n", "its content is text", "transfer it again"),
    "HDF5": ("m.mrc", lambda d: b"\x89HDF\r\n\x1a\n" + bytes(2000), "HDF5", "e2proc2d.py"),
    "DM4": ("m.tif", lambda d: b"\0\0\0\x04" + bytes(2000), "Gatan DM4", "dm2mrc"),
    "noise as TIFF": (
        "m.tif",
        lambda d: b"\x01" * 99,
        "nothing that can be recognised",
        "transfer",
    ),
    "no ending": (
        "m",
        lambda d: bare(),
        "the name has no ending that tells the format",
        "Its content is MRC. Rename it to m.mrc",
    ),
    "unknown ending": (
        "m.dm4",
        lambda d: b"\0\0\0\x04" + bytes(2000),
        "no micrograph format has the ending .dm4",
        "Its content is Gatan DM4. Convert it to MRC",
    ),
    "unknown ending and content": (
        "m.raw",
        lambda d: b"\x01" * 2000,
        "no micrograph format has the ending .raw",
        "Known endings are .mrc, .mrcs",
    ),
    "TIFF stack": (
        "m.tif",
        lambda d: tiff_bytes(d, pixels("u1", (12, 5, 7)), photometric="minisblack"),
        "a stack of 12 images",
        "Motion-correct",
    ),
    "TIFF cut": (
        "m.tif",
        lambda d: tiff_bytes(d, pixels("u1", (64, 64)))[:-100],
        "truncated: 64 x 64 px need",
        "Copy",
    ),
    "TIFF cut in its header": (
        "m.tif",
        lambda d: tiff_bytes(d, pixels("u1", (64, 64)))[:40],
        "the TIFF file is damaged",
        "Copy",
    ),
    "TIFF of more than it holds": (
        "m.tif",
        lambda d: lying_tiff(d, "ImageLength", 2000),
        "truncated: 64 x 2000 px need 128.0 kB, the file has 4.1 kB",
        "Copy",
    ),
    "TIFF of more than LZW can hold": (
        "m.tif",
        lambda d: lying_tiff(d, "ImageLength", 65000, compression="lzw"),
        "truncated: 64 x 65000 px, however well compressed, need 1.6 kB, the file has",
        "Copy",
    ),
    "TIFF that lost its second image": (
        "m.tif",
        lambda d: lost_page(d),
        "another image should follow beyond its end",
        "motion-correct",
    ),
    "BigTIFF that lost its second image": (
        "m.tif",
        lambda d: lost_page(d, bigtiff=True),
        "another image should follow beyond its end",
        "motion-correct",
    ),
    "TIFF of impossible tiles": (
        "m.tif",
        lambda d: lying_tiff(d, "TileWidth", 60000, compression="lzw", tile=(64, 64)),
        "the tags claim impossible tiles or strips",
        "Copy",
    ),
    "TIFF compression": (
        "m.tif",
        lambda d: tiff_bytes(d, pixels("u1", (64, 64)), compression="jpeg2000"),
        "compression (JPEG2000) is not handled",
        "LZW, Deflate or ZSTD",
    ),
    "TIFF complex": (
        "m.tif",
        lambda d: tiff_bytes(d, np.ones((8, 8), np.complex64)),
        "pixels are of the type complex64, not grey values",
        "32 bit floats",
    ),
    "TIFF 1 bit": (
        "m.tif",
        lambda d: tiff_bytes(d, np.ones((8, 8), bool)),
        "pixels are of the type bool, not grey values",
        "32 bit floats",
    ),
    "TIFF palette": (
        "m.tif",
        lambda d: tiff_bytes(
            d, pixels("u1"), photometric="palette", colormap=np.zeros((3, 256), np.uint16)
        ),
        "colours (PALETTE, 1 in each pixel) are neither grey nor RGB",
        "grey values",
    ),
    "PNG cut": ("m.png", lambda d: png_bytes()[:100], "the PNG file is truncated", "Copy"),
    "PNG checksum": (
        "m.png",
        lambda d: png_bytes()[:60] + b"x" + png_bytes()[61:],
        "the PNG file is damaged (a checksum does not agree)",
        "Copy",
    ),
    "PNG cut in its header": ("m.png", lambda d: png_bytes()[:20], "ends in the middle", "Copy"),
    "PNG of 16000 px": (
        "m.png",
        lambda d: huge_png(16000),
        "truncated: 16000 x 16000 px, however well compressed, need 496.1 kB",
        "Copy",
    ),
    "JPEG of inks": (
        "m.jpg",
        lambda d: imagecodecs.jpeg8_encode(pixels("u1", (16, 16, 4))),
        "the JPEG has 4 colours",
        "grey values",
    ),
    "PNG of 10^12 px": ("m.png", lambda d: huge_png(10**6), "no micrograph is that large", "Copy"),
    "JPEG cut": ("m.jpg", lambda d: jpeg_bytes()[:-9], "the JPEG file is truncated", "Copy"),
    "JPEG cut in its header": ("m.jpg", lambda d: jpeg_bytes()[:30], "ends in the middle", "Copy"),
}


@pytest.mark.parametrize("case", FORMAT_ERRORS)
def test_format_errors(tmp_path, case):
    """Each damaged or misnamed file gives an error that says what, where and what to do."""
    name, make, what, hint = FORMAT_ERRORS[case]
    path = tmp_path / name
    path.write_bytes(make(tmp_path))
    with pytest.raises(MicrographFormatError) as caught:
        read_micrograph(path)
    assert what in caught.value.what
    assert caught.value.where == str(path)
    assert hint in caught.value.hint


@pytest.mark.parametrize("read", [read_micrograph, micrograph_shape])
def test_errors_of_the_file_system(tmp_path, read):
    """A missing file, a lost link, a folder and a pipe are told apart, and nothing hangs."""
    (tmp_path / "lost.mrc").symlink_to("/nowhere/else.mrc")
    (tmp_path / "loop.mrc").symlink_to(tmp_path / "loop.mrc")
    (tmp_path / "folder.mrc").mkdir()
    os.mkfifo(tmp_path / "pipe.mrc")
    cases = {
        "gone.mrc": ("there is no such file", "Check the spelling"),
        "no/such/folder.mrc": ("there is no such file", "is not there either; paths count from"),
        "lost.mrc": ("there is no such file", "a link to /nowhere/else.mrc, which is gone"),
        "loop.mrc": ("a link that leads to itself", None),
        "folder.mrc": ("this is a folder", "*.mrc"),
        "pipe.mrc": ("a device or a pipe", None),
    }
    for name, (what, hint) in cases.items():
        with pytest.raises(MicrographError) as caught:
            read(tmp_path / name)
        assert what in caught.value.what
        assert caught.value.where == str(tmp_path / name)
        assert caught.value.hint is None if hint is None else hint in caught.value.hint


@pytest.mark.parametrize("denied", ["file", "folder"])
def test_permission_denied(denied):
    """A file that may not be read says so; root, who may read all, becomes nobody for it."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        path = mrc_file(Path(folder) / "m.mrc")
        path.chmod(0 if denied == "file" else 0o644)
        Path(folder).chmod(0o755 if denied == "file" else 0)
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(MicrographError) as caught:
                read_micrograph(path)
        finally:
            if root:
                os.seteuid(0)
            Path(folder).chmod(0o755)
    assert caught.value.what == "reading is not permitted"
    assert caught.value.where == str(path)
    assert "Ask its owner" in caught.value.hint


# --- lies, threads, imports -----------------------------------------------------------------------

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
