"""PNG and JPEG against OpenCV's and imagecodecs' writers."""

from __future__ import annotations

import struct

import cv2
import imagecodecs
import numpy as np
import pytest

from micrograph_files import (
    pixels,
)
from micscreen.io.micrographs import (
    micrograph_shape,
    read_micrograph,
)


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
