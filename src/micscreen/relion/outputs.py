"""What a RELION job leaves: coordinates, particles, micrographs, and the list of these."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from micscreen.io import read_coordinates
from micscreen.io.files import write_whole
from micscreen.io.star_copy import Cells, Edits, write_parts
from micscreen.io.star_names import MICROGRAPH
from micscreen.io.star_new import relion_text
from micscreen.io.star_text import Loop, StarText, load, new_column
from micscreen.picks import CLASS_NAMES
from micscreen.relion.inputs import RelionInputs
from micscreen.run.find import SUFFIX_FILE
from micscreen.run.rows import MicrographRow
from micscreen.run.store import Store

JOB: Final = "micscreen"
"""Folder of the screening job inside RELION's; `micscreen view` and `report` take it."""

SUFFIX: Final = "_micscreen.star"
LIST: Final = "micscreen.star"
PARTICLES: Final = "particles.star"
MICROGRAPHS: Final = "micrographs.star"
SELECTED: Final = "micrographs_selected.star"
NODES: Final = "RELION_OUTPUT_NODES.star"

LABELS: Final = {
    LIST: "MicrographCoordsGroup.star.relion",
    PARTICLES: "ParticleGroupMetadata.star.relion",
    MICROGRAPHS: "MicrographGroupMetadata.star.relion",
    SELECTED: "MicrographGroupMetadata.star.relion",
}
"""Output file -> type of the node, as RELION 4 and 5 write them."""

AREAS: Final = tuple("_micscreenArea" + n.title().replace("_", "") for n in CLASS_NAMES)
COLUMNS: Final = ("_micscreenContamination", *AREAS)

UNKNOWN: Final = b"-1"
"""What a micrograph that was not screened has in every column, so that Select can leave it out."""


def write_outputs(
    out: Path, job: Path, chosen: Path, inputs: RelionInputs, most: float | None = None
) -> list[Path]:
    """Write everything that RELION reads; return the files that are nodes of its graph.

    Parameters
    ----------
    out
        Folder of the RELION job, relative to the project.
    job
        Folder of the screening job inside of it.
    chosen
        The set of kept coordinates that the screening wrote.
    inputs
        What was screened.
    most
        Micrographs with more contamination than this, and those that were not screened, are left
        out of a further table; None writes none.
    """
    with Store(job) as store:
        rows = list(store.micrographs())
        sources = [source.path for source in store.sources()]
    written = [_write_coordinates(out, _kept(chosen, inputs, rows, sources), inputs)]
    if inputs.kind == "particles":
        (source,) = sources
        write_whole(out / PARTICLES, (chosen / Path(source).name).read_bytes())
        written.append(out / PARTICLES)
    write_micrographs(inputs.micrographs, out / MICROGRAPHS, rows)
    written.append(out / MICROGRAPHS)
    if most is not None:
        write_micrographs(inputs.micrographs, out / SELECTED, rows, most)
        written.append(out / SELECTED)
    write_nodes(out, written)
    return written


def _kept(
    chosen: Path, inputs: RelionInputs, rows: Sequence[MicrographRow], sources: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Give micrograph and text of its file of kept coordinates, for every micrograph with picks."""
    if inputs.kind == "files":
        files: dict[str, list[Path]] = {}
        for path in chosen.rglob("*.star"):
            files.setdefault(path.name, []).append(path)
        for row in rows:
            if row.source is None:
                continue
            source = Path(sources[row.source])
            found = [p for p in files.get(source.name, ()) if _ends_alike(p, source, chosen)]
            if found:
                yield row.picked_path, found[0].read_bytes()
        return
    named = Path(inputs.coordinates).name
    if not (chosen / named).is_file():
        return  # not one pick was judged
    table = read_coordinates(chosen / named)
    for i, picked in enumerate(table.rows_by_micrograph()):
        member = table.members[i + 1] if inputs.kind == "list" else None
        if member is not None and member.suffix == ".star":
            yield table.micrographs[i], member.read_bytes()
        else:
            yield table.micrographs[i], relion_text(table.picks(picked))


def _ends_alike(path: Path, source: Path, folder: Path) -> bool:
    """Whether a file of the set lies in it as its source lies in some folder."""
    inside = path.relative_to(folder).parts
    return source.parts[-len(inside) :] == inside


def _write_coordinates(out: Path, files: Iterator[tuple[str, bytes]], inputs: RelionInputs) -> Path:
    """Write one file per micrograph, their list, and RELION 3.1's file of the suffix."""
    lines = []
    old = _files_of_before(out)
    for micrograph, text in files:
        place = out / (str(Path(in_project(micrograph)).with_suffix("")) + SUFFIX)
        write_whole(place, text)
        old.discard(place)
        lines.append(f"{_word(micrograph)} {_word(place.as_posix())}")
    for path in old:
        path.unlink()  # RELION 3.1 would take it for a micrograph that is listed no more
    head = ["", "# version 30001", "", "data_coordinate_files", "", "loop_"]
    head += ["_rlnMicrographName #1", "_rlnMicrographCoordinates #2"]
    write_whole(out / LIST, "\n".join([*head, *lines, "", ""]).encode("utf-8", "surrogateescape"))
    write_whole(out / (SUFFIX_FILE + LIST), f"{inputs.micrographs}\n".encode())
    return out / LIST


def _files_of_before(out: Path) -> set[Path]:
    """Return the files of coordinates of an earlier run; those in the screening job stay out."""
    job = out / JOB
    found = {path for path in out.rglob(f"*{SUFFIX}") if not path.is_relative_to(job)}
    return found - {out / (SUFFIX_FILE + LIST)}


def in_project(micrograph: str) -> str:
    """Return a micrograph's name without the job that made it, as RELION places its coordinates.

    ``MotionCorr/job002/Movies/mic_1.mrc`` is ``Movies/mic_1.mrc``; what lies outside of the
    project is known by its last name.
    """
    name = re.sub(r"^[^/]+/job\d+/", "", micrograph)
    return Path(name).name if name.startswith("/") or ".." in Path(name).parts else name


def write_micrographs(
    source: Path, target: Path, rows: Sequence[MicrographRow], most: float | None = None
) -> None:
    """Write a table of micrographs again, with what was found in each in further columns.

    Parameters
    ----------
    source
        STAR file whose micrographs were screened. Of particles or coordinates only the names are
        taken; of micrographs every block, row and column stays as it is.
    target
        File to write.
    rows
        What was found.
    most
        Leave out micrographs with more contamination than this, and those not screened.
    """
    chosen = [row for row in rows if most is None or _at_most(row, most)]
    found = {row.picked_path: _cells(row) for row in chosen}
    blank = (UNKNOWN,) * len(COLUMNS)
    text = load(source, (MICROGRAPH, *COLUMNS))
    loops = [loop for loop in text.loops_with((MICROGRAPH,)) if loop.block in ("micrographs", "")]
    if not loops:
        head = ["", "# version 30001", "", "data_micrographs", "", "loop_"]
        head += [f"{tag} #{i}" for i, tag in enumerate((MICROGRAPH, *COLUMNS), 1)]
        lines = [f"{_word(name)} {b' '.join(cells).decode()}" for name, cells in found.items()]
        body = "\n".join([*head, *lines, "", ""])
        write_whole(target, body.encode("utf-8", "surrogateescape"))
        return
    (loop,) = loops
    names = [str(Path(name)) for name in text.words(loop, MICROGRAPH)]
    cells = [found.get(name, blank) for name in names]
    stay = np.array([most is None or name in found for name in names], bool)
    write_parts(target, text, [(loop, stay, _edits(text, loop, cells))])


def _edits(text: StarText, loop: Loop, cells: Sequence[tuple[bytes, ...]]) -> Edits:
    """Return what changes in a table: our columns, new ones and those of an earlier screening."""
    new = [i for i, tag in enumerate(COLUMNS) if tag not in loop.columns]
    edited: Cells = []
    if cells:
        for i, tag in enumerate(COLUMNS):
            if tag in loop.columns:
                edited.append((loop.columns[tag], np.array([row[i] for row in cells], np.bytes_)))
        edited.sort(key=lambda cell: int(cell[0][0, 0]))
        if new:
            ends = np.stack((loop.row_ends, loop.row_ends), axis=1)
            added = [b"".join(b" " + row[i] for i in new) for row in cells]
            edited.append((ends, np.array(added, np.bytes_)))
    if not new:
        return Edits(edited)
    at, line = new_column(text, loop, COLUMNS[new[0]])
    for number, i in enumerate(new[1:], len(loop.tags) + 2):
        line += f"{COLUMNS[i]} #{number}\n".encode()
    return Edits(edited, (at, line))


def _at_most(row: MicrographRow, most: float) -> bool:
    return row.contamination is not None and row.contamination <= most


def _cells(row: MicrographRow) -> tuple[bytes, ...]:
    """Return contamination and areas of one micrograph as text."""
    if row.contamination is None or row.area is None:
        return (UNKNOWN,) * len(COLUMNS)
    return tuple(f"{value:.6f}".encode() for value in (row.contamination, *row.area))


def write_nodes(out: Path, files: Sequence[Path]) -> None:
    """Write RELION_OUTPUT_NODES.star, from which RELION learns what a job made."""
    lines = ["", "# version 30001", "", "data_output_nodes", "", "loop_"]
    lines += ["_rlnPipeLineNodeName #1", "_rlnPipeLineNodeTypeLabel #2"]
    lines += [f"{_word(path.as_posix())} {LABELS[path.name]}" for path in files]
    write_whole(out / NODES, "\n".join([*lines, "", ""]).encode())


def _word(text: str) -> str:
    """Return text as one value of a STAR file."""
    return f'"{text}"' if not text or any(c.isspace() for c in text) else text
