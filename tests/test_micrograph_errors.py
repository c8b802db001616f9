"""Every way in which a micrograph file can be wrong, and what the user reads then."""

from __future__ import annotations

import bz2
import gzip
import os
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from micrograph_files import (
    bare,
    header,
    huge_png,
    jpeg_bytes,
    lost_page,
    lying_tiff,
    mrc_file,
    pixels,
    png_bytes,
    tiff_bytes,
)
from micscreen.errors import MicrographError, MicrographFormatError
from micscreen.io.micrographs import (
    micrograph_shape,
    read_micrograph,
)

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
