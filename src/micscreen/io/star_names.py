"""Micrographs that a STAR file of RELION names, and their pixel size."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from micscreen.errors import MicrographFormatError
from micscreen.io.star_list import project_of
from micscreen.io.star_text import load

MICROGRAPH: Final = "_rlnMicrographName"
PIXEL_SIZE: Final = "_rlnMicrographPixelSize"
IMAGE_SIZE: Final = "_rlnImageSize"
IMAGE_PIXEL_SIZE: Final = "_rlnImagePixelSize"


def micrograph_names(path: Path) -> tuple[Path, ...]:
    """Return the micrographs that a STAR file names, in order, each once.

    Parameters
    ----------
    path
        A table of micrographs (micrographs_ctf.star), a list of coordinate files, or particles.
        Names are relative to the RELION project folder, which is found as for coordinate lists.

    Returns
    -------
    Paths as the file has them, when the project is the working directory; else with its folder.

    Raises
    ------
    MicrographFormatError
        When the file names no micrographs.
    """
    text = load(path, (MICROGRAPH,))
    names: dict[str, None] = {}
    for loop in text.loops_with((MICROGRAPH,)):
        names.update(dict.fromkeys(text.names(loop, MICROGRAPH)[0]))
    if not names:
        raise MicrographFormatError(
            "this STAR file names no micrographs (no column rlnMicrographName)", where=path
        )
    project = project_of(path, list(names))
    here = project.resolve() == Path.cwd()
    return tuple(Path(name) if here else project / name for name in names)


def micrograph_pixel_sizes(path: Path) -> tuple[float, ...]:
    """Return the different pixel sizes of the micrographs, Å/px, that a STAR file says."""
    text = load(path, (PIXEL_SIZE,))
    found = [text.numbers(loop, PIXEL_SIZE) for loop in text.loops_with((PIXEL_SIZE,))]
    return tuple(sorted({round(float(value), 6) for values in found for value in values}))


def particle_extents(path: Path) -> tuple[float, ...]:
    """Return the different sides of the boxes of extracted particles, Å, from the optics table."""
    wanted = (IMAGE_SIZE, IMAGE_PIXEL_SIZE)
    text = load(path, wanted)
    found: set[float] = set()
    for loop in text.loops_with(wanted):
        side, pixel = (text.numbers(loop, tag) for tag in wanted)
        found.update((side * pixel).round(3).tolist())
    return tuple(sorted(found))
