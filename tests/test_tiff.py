"""TIFF against tifffile's and libtiff's writers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

from micrograph_files import (
    pixels,
)
from micscreen.io.micrographs import (
    MICROGRAPH_FORMATS,
    micrograph_shape,
    read_micrograph,
)

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
