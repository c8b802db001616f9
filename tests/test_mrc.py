"""The MRC family against mrcfile and bytes made by hand."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrograph_files import (
    FUZZ,
    MODES,
    header,
    pixels,
    write,
)
from micscreen.io.micrographs import (
    micrograph_shape,
    read_micrograph,
)


@pytest.mark.parametrize("suffix", [".mrc", ".mrc.gz", ".mrc.bz2"])
@pytest.mark.parametrize(
    ("exttype", "nsymbt"), [(b"\0\0\0\0", 0), (b"FEI1", 768), (b"FEI2", 888), (b"SERI", 4096)]
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
def test_mrc_mode_order_extension_and_compression(tmp_path, mode, order, exttype, nsymbt, suffix):
    """Every mode, byte order, extended header and compression gives the pixels mrcfile sees."""
    image = pixels(order + MODES[mode])
    extended = pixels("u1", nsymbt).tobytes()
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
@pytest.mark.parametrize("at_rest", [True, False])
def test_bare_mrc_is_mapped_at_rest_and_read_when_fresh(tmp_path, mode, order, at_rest):
    """A file of any mode comes in its own byte order with nothing copied on the way; a map only
    when its last change is long ago.
    """
    path = tmp_path / "m.mrc"
    itemsize = np.dtype(MODES[mode]).itemsize
    with path.open("wb") as file:
        file.write(header(4096, 4096, mode=mode, order=order))
        file.truncate(1024 + 4096 * 4096 * itemsize)
    if at_rest:
        os.utime(path, (0, 0))
    read_micrograph(path)
    tracemalloc.start()
    image = read_micrograph(path).image
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(image, np.memmap) == at_rest
    assert (str(path) in Path("/proc/self/maps").read_text()) == at_rest
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
