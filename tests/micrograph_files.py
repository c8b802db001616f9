"""Micrograph files for the tests, made by hand and by independent writers."""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib

import cv2
import numpy as np
import tifffile
from hypothesis import HealthCheck, settings

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
