"""Masks and class maps out and in, against independent readers."""

from __future__ import annotations

import resource

import cv2
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from micscreen.errors import JobError, MicrographError, MicrographFormatError, UsageError
from micscreen.io.masks import MASK_SUFFIXES, read_mask, write_class_map, write_mask
from micscreen.io.micrographs import read_micrograph

RNG = np.random.default_rng(7)
MASK = RNG.random((37, 50)).astype(np.float32)
MASK[0, :3] = (0.0, 1.0, 0.5)
CLASSES = RNG.integers(0, 6, (37, 50)).astype(np.uint8)


def raw(path):
    """Read a file's array with its own library, rows in file order."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".mrc":
        with mrcfile.open(path) as file:
            return np.array(file.data)
    if path.suffix == ".png":
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return tifffile.imread(path)


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_a_mask_comes_back(tmp_path, suffix):
    """Each format gives the mask back, exactly as floats or within half a step of 8 bits."""
    path = tmp_path / "new" / f"m{suffix}"
    write_mask(path, MASK, pixel_size=14.2)
    found = read_mask(path)
    assert found.dtype == np.float32
    assert np.abs(found - MASK).max() <= (0.5001 / 255 if suffix == ".png" else 0)
    assert found[0, :2].tolist() == [0.0, 1.0]


@given(
    mask=arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 20)),
        elements=st.floats(0, 1, width=32),
    ),
    suffix=st.sampled_from([".npy", ".mrc", ".tif"]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_mask_comes_back_bit_by_bit(tmp_path, mask, suffix):
    """Masks of any size and content survive the formats of floats unchanged."""
    write_mask(tmp_path / f"m{suffix}", mask.T)
    np.testing.assert_array_equal(read_mask(tmp_path / f"m{suffix}"), mask.T)


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_other_programs_read_the_mask(tmp_path, suffix):
    """numpy, mrcfile, tifffile and OpenCV see the mask; a TIFF has its last row first."""
    path = tmp_path / f"m{suffix}"
    write_mask(path, MASK)
    seen = raw(path)
    seen = seen[::-1] if suffix in (".tif", ".tiff") else seen
    if suffix == ".png":
        assert seen.dtype == np.uint8
        np.testing.assert_array_equal(seen, np.rint(MASK * 255))
    else:
        assert seen.dtype == np.float32
        np.testing.assert_array_equal(seen, MASK)


@pytest.mark.parametrize("flip", [True, False])
def test_a_tiff_mask_lies_on_its_tiff_micrograph(tmp_path, flip):
    """With the same y rule, mask and micrograph agree in memory and in any TIFF viewer."""
    stored = RNG.integers(0, 255, (20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "mic.tif", stored)
    image = read_micrograph(tmp_path / "mic.tif", tiff_flip_y=flip).image
    mask = (image / np.float32(255)).astype(np.float32)
    write_mask(tmp_path / "mask.tif", mask, tiff_flip_y=flip)
    np.testing.assert_array_equal(raw(tmp_path / "mask.tif"), (stored / np.float32(255)))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif", tiff_flip_y=flip), mask)


def test_the_pixel_size_of_a_mask(tmp_path):
    """MRC and TIFF carry the pixel size when it is known, and claim none when it is not."""
    for suffix in (".mrc", ".tif"):
        write_mask(tmp_path / f"known{suffix}", MASK, pixel_size=14.16)
        write_mask(tmp_path / f"unknown{suffix}", MASK)
        known = read_micrograph(tmp_path / f"known{suffix}")
        assert known.pixel_size == pytest.approx(14.16, rel=1e-5)
        assert read_micrograph(tmp_path / f"unknown{suffix}").pixel_size is None
    with mrcfile.open(tmp_path / "known.mrc") as file:
        assert file.voxel_size.x == pytest.approx(14.16)
    assert mrcfile.validate(tmp_path / "known.mrc")


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_the_same_mask_gives_the_same_bytes(tmp_path, suffix):
    """No time or name of the run gets into the files."""
    write_mask(tmp_path / f"a{suffix}", MASK, pixel_size=2.0)
    write_mask(tmp_path / f"b{suffix}", MASK, pixel_size=2.0)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert b"20" not in (tmp_path / f"a{suffix}").read_bytes()[224:304] or suffix != ".mrc"


def test_a_tiff_mask_is_deflated(tmp_path):
    """An empty mask takes a small part of its size, with a compression that all programs know."""
    write_mask(tmp_path / "m.tif", np.zeros((512, 512), np.float32))
    assert (tmp_path / "m.tif").stat().st_size < 10_000
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        assert file.pages[0].compression == 8


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_class_maps(tmp_path, suffix):
    """A class map holds the numbers of the classes in 8 bits in every format."""
    path = tmp_path / f"c{suffix}"
    write_class_map(path, CLASSES, pixel_size=3.0)
    seen = raw(path)
    seen = seen[::-1] if suffix in (".tif", ".tiff") else seen
    np.testing.assert_array_equal(seen, CLASSES)
    assert seen.dtype == (np.int8 if suffix == ".mrc" else np.uint8)


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_whole_or_not_at_all(tmp_path, suffix):
    """When the disk refuses in the middle, the old file stays, nothing lies beside it."""
    path = tmp_path / f"m{suffix}"
    write_mask(path, MASK)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = RNG.random((300, 300)).astype(np.float32)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        with pytest.raises(JobError) as caught:
            write_mask(path, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.what == "the mask cannot be written (File too large)"
    assert caught.value.where == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be(tmp_path):
    """A path through a file is refused with the file that was asked for."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(JobError, match="the mask cannot be written"):
        write_mask(tmp_path / "file" / "m.png", MASK)


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        (MASK[None], "shape (1, 37, 50)"),
        (MASK[:0], "shape (0, 50)"),
        (CLASSES, "dtype uint8"),
        (MASK * 2, "lies in [0, 1], this in [0, 2]"),
        (MASK - 1, "this in [-1, 0]"),
        (np.full((3, 3), np.nan, np.float32), "this in [nan, nan]"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, mask, what):
    """Only one plane of floats in [0, 1] is written."""
    with pytest.raises(UsageError) as caught:
        write_mask(tmp_path / "m.npy", mask)
    assert what in caught.value.what
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_class_map_is_refused(tmp_path):
    """Only one plane of uint8 is written, and to MRC only what its signed bytes hold."""
    with pytest.raises(UsageError, match="dtype float32"):
        write_class_map(tmp_path / "c.npy", MASK)
    with pytest.raises(UsageError, match="class 255 does not fit") as caught:
        write_class_map(tmp_path / "c.mrc", np.full((2, 2), 255, np.uint8))
    assert "npy" in caught.value.hint


@pytest.mark.parametrize("name", ["m.jpg", "m", "m.mrc.gz"])
def test_endings_without_a_format_are_refused(tmp_path, name):
    """An ending for which there is no mask format is the caller's error, with the choice named."""
    for call in (lambda p: write_mask(p, MASK), lambda p: write_class_map(p, CLASSES), read_mask):
        with pytest.raises(UsageError, match="masks have no format for") as caught:
            call(tmp_path / name)
        assert ".npy, .mrc, .tif, .tiff, .png" in caught.value.hint


def test_what_cannot_be_read_as_a_mask(tmp_path):
    """Class maps, micrographs, damaged and foreign arrays are told from masks."""
    write_class_map(tmp_path / "classes.tif", CLASSES)
    write_class_map(tmp_path / "classes.npy", CLASSES)
    np.save(tmp_path / "micrograph.npy", MASK * 500)
    np.save(tmp_path / "volume.npy", MASK[None])
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "micrograph.npy").read_bytes()[:-9])
    (tmp_path / "text.npy").write_bytes(b"hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.savez(tmp_path / "z.npz", MASK)
    (tmp_path / "z.npz").rename(tmp_path / "zip.npy")
    cases = {
        "classes.tif": "not a mask: its pixels are uint8, a mask's are floats",
        "classes.npy": "not a mask: its pixels are uint8",
        "micrograph.npy": "its values are in [0, 500], not in [0, 1]",
        "volume.npy": "its shape is (1, 37, 50), not (h, w)",
        "objects.npy": "truncated or not a NumPy array",
        "cut.npy": "truncated or not a NumPy array",
        "text.npy": "truncated or not a NumPy array",
        "empty.npy": "the file is empty (0 bytes)",
        "zip.npy": "not a NumPy array",
    }
    for name, what in cases.items():
        with pytest.raises(MicrographFormatError) as caught:
            read_mask(tmp_path / name)
        assert what in caught.value.what
        assert caught.value.where == str(tmp_path / name)
    with pytest.raises(MicrographError, match="there is no such file"):
        read_mask(tmp_path / "gone.npy")
