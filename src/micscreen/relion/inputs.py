"""What a RELION job gives: micrographs, coordinates, pixel size, box."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from micscreen.errors import UsageError
from micscreen.io.star_names import micrograph_names, micrograph_pixel_sizes, particle_extents
from micscreen.run.find import SUFFIX_FILE


@dataclass(frozen=True, slots=True)
class RelionInputs:
    """What is screened.

    Attributes
    ----------
    kind
        How the coordinates came: a ``list`` of files, ``files`` of one suffix, or ``particles``.
    coordinates
        File, or pattern for ``files``.
    micrographs
        STAR file that names the micrographs.
    pixel_size
        Å/px of the micrographs, if the STAR file says one for all.
    extent
        Side of the boxes of extracted particles, Å, if they have one for all.
    notes
        Sentences for the user.
    """

    kind: Literal["list", "files", "particles"]
    coordinates: Path | str
    micrographs: Path
    pixel_size: float | None = None
    extent: float | None = None
    notes: tuple[str, ...] = ()


def relion_inputs(
    in_mics: Path | None, in_coords: Path | None, in_parts: Path | None
) -> RelionInputs:
    """Find out what to screen from the inputs of an External job.

    Parameters
    ----------
    in_mics
        micrographs_ctf.star or another table of micrographs; None takes those that the
        coordinates name.
    in_coords
        autopick.star or manualpick.star (a list of coordinate files), or coords_suffix_X.star of
        RELION 3.1.
    in_parts
        particles.star.

    Raises
    ------
    UsageError
        When there are no coordinates, both kinds, or a file is not there.
    """
    given = {"--in_mics": in_mics, "--in_coords": in_coords, "--in_parts": in_parts}
    for option, path in given.items():
        if path is not None and not path.is_file():
            hint = "RELION starts its jobs in the project folder; names are relative to it."
            raise UsageError(f"is not there: {path}", where=option, hint=hint)
    if (in_coords is None) == (in_parts is None):
        raise UsageError(
            "one kind of coordinates is needed",
            where="--in_coords or --in_parts",
            hint="Give 'Input coordinates' (of AutoPick or ManualPick) or 'Input particles' on "
            "the Input tab, and 'Input micrographs' beside it if you like.",
        )
    if in_parts is not None:
        return _described("particles", in_parts, in_mics or in_parts, in_parts)
    assert in_coords is not None
    if not in_coords.name.startswith(SUFFIX_FILE):
        return _described("list", in_coords, in_mics or in_coords)
    ending = in_coords.name.removeprefix(SUFFIX_FILE)
    named = in_coords.read_text("utf-8", "replace").split()
    micrographs = in_mics or (Path(named[0]) if named else None)
    if micrographs is None or not micrographs.is_file():
        raise UsageError("names no STAR file of micrographs that is there", where=in_coords)
    pattern = f"{glob.escape(str(in_coords.parent))}/**/*_{glob.escape(ending)}"
    return _described("files", pattern, micrographs)


def _described(
    kind: Literal["list", "files", "particles"],
    coordinates: Path | str,
    micrographs: Path,
    particles: Path | None = None,
) -> RelionInputs:
    """Add what the STAR files say of pixel size and box."""
    micrograph_names(micrographs)
    notes = []
    sizes = micrograph_pixel_sizes(micrographs)
    if not sizes and particles is not None:
        sizes = micrograph_pixel_sizes(particles)
    if len(sizes) > 1:
        notes.append(
            f"the micrographs have {len(sizes)} pixel sizes; those in their headers are taken"
        )
    extents = particle_extents(particles) if particles is not None else ()
    if len(extents) > 1:
        notes.append(f"the particles have boxes of {len(extents)} sizes, none of which is taken")
    return RelionInputs(
        kind,
        coordinates,
        micrographs,
        sizes[0] if len(sizes) == 1 else None,
        extents[0] if len(extents) == 1 else None,
        tuple(notes),
    )
