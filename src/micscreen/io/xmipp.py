"""config.xmd, which stands beside Xmipp's .pos files and says the box size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from micscreen.io.files import write_whole
from micscreen.io.star_text import load

SIZE_TAGS: Final = ("_pickingParticleSize", "_particleSize")


def config_box(folder: Path) -> float | None:
    """Return the box size in px that config.xmd in `folder` says, None when it says none."""
    config = folder / "config.xmd"
    if not config.is_file():
        return None
    text = load(config, SIZE_TAGS)
    for loop in text.loops:
        for tag in SIZE_TAGS:
            if tag in loop.columns and len(loop):
                return float(text.numbers(loop, tag)[0])
    for (_, tag), value in text.pairs.items():
        if tag in SIZE_TAGS and re.fullmatch(r"\d+(\.\d*)?", value):
            return float(value)
    return None


def copy_config(source: Path, folder: Path, scale: float) -> tuple[Path, ...]:
    """Copy config.xmd from one folder to another, with the box size on the output's scale."""
    config = source / "config.xmd"
    if not config.is_file():
        return ()
    size = config_box(source)
    if size is not None and scale != 1.0:
        return (write_config(folder, size * scale),)
    return (_write(folder / config.name, config.read_bytes()),)


def write_config(folder: Path, box_size: float) -> Path:
    """Write config.xmd with this box size in px."""
    text = (
        "# XMIPP_STAR_1 * \n# \ndata_properties\n"
        f" _pickingParticleSize {max(1, round(box_size))}\n _pickingState Manual\n"
    )
    return _write(folder / "config.xmd", text.encode())


def _write(path: Path, data: bytes) -> Path:
    """Write a file that all .pos files of a folder share, only when it is not there already."""
    if not path.is_file() or path.read_bytes() != data:
        write_whole(path, data)
    return path
