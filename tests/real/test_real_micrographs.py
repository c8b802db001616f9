"""The readers on real micrographs beside the project; skipped where they are not."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest

from micscreen.io.micrographs import micrograph_shape, read_micrograph

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "job" / "micrographs"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the real micrographs are not there ({FOLDER})"
)


@pytest.mark.parametrize(
    ("name", "shape", "pixel_size"),
    [
        ("epu2.9_example.mrc.gz", (4096, 4096), 0.666551),
        ("fei-extended.mrc.gz", (3838, 3710), 0.853775),
    ],
)
def test_real_fei_micrographs(tmp_path, name, shape, pixel_size):
    """Gzipped EPU files with FEI1 and FEI2 headers agree with mrcfile, packed and unpacked."""
    found = read_micrograph(FOLDER / name)
    assert found.shape == shape == micrograph_shape(FOLDER / name)
    assert found.image.dtype == np.uint16
    assert found.pixel_size == pytest.approx(pixel_size, rel=1e-5)
    assert found.notes == ()
    bare = tmp_path / name.removesuffix(".gz")
    bare.write_bytes(gzip.decompress((FOLDER / name).read_bytes()))
    unpacked = read_micrograph(bare).image
    os.utime(bare, (0, 0))
    mapped = read_micrograph(bare).image
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, unpacked)
    with mrcfile.open(bare, permissive=True) as reference:
        np.testing.assert_array_equal(unpacked, reference.data)
    np.testing.assert_array_equal(unpacked, found.image)


def test_real_jpegs():
    """The EMPIAR-10017 pictures come as OpenCV sees them, up to rounding, without a pixel size."""
    paths = sorted(FOLDER.glob("*.jpg"))
    assert len(paths) == 4
    for path in paths:
        found = read_micrograph(path)
        assert found.shape == micrograph_shape(path) == (4096, 4096)
        assert found.image.dtype == np.uint8
        assert found.pixel_size is None
        seen = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert np.abs(found.image[::7].astype(np.int16) - seen[::7]).max() <= 2
