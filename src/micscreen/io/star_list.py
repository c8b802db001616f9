"""RELION's list of coordinate files (autopick.star): one row per micrograph, one file per row.

The paths in a list are relative to the RELION project folder, which the list does not name. It is
found by walking up from the list file, then from the working directory, to the first folder under
which targets of the list exist.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicscreenError, PicksError
from micscreen.io import star
from micscreen.io.files import write_whole
from micscreen.io.star_copy import Edits, write_parts
from micscreen.io.star_new import relion_text, table
from micscreen.io.star_text import StarText, load
from micscreen.io.table import PickFormat, PickTable, Selection
from micscreen.picks import Picks

Problems = tuple[tuple[Path, MicscreenError], ...]

_MICROGRAPH: Final = "_rlnMicrographName"
_TARGET: Final = "_rlnMicrographCoordinates"
_READERS: Final = {".star": "relion", ".box": "eman_box", ".txt": "txt", ".coord": "txt"}
_PROBED: Final = 50
_SHOWN: Final = 10


def read(path: Path) -> PickTable:
    """Read a list and all of its files.

    Raises
    ------
    PicksError
        When any of the files is missing or broken; all of them in one error.
    """
    found, problems = read_list(path)
    if problems:
        raise PicksError(
            f"{len(problems)} of the {len(problems) + len(found.micrographs)} coordinate files in "
            "this list cannot be used:\n"
            + "\n".join(f"  {problem}" for _, problem in problems[:_SHOWN])
            + (f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""),
            where=path,
            hint="Paths in a list are relative to the RELION project folder: start from there.",
        )
    return found


def read_list(path: Path) -> tuple[PickTable, Problems]:
    """Read a list and those of its files that can be read.

    Returns
    -------
    tuple
        The table of what could be read; its `members` are the list, then one file per micrograph.
        And what could not be read, with the reason.

    Raises
    ------
    PicksError
        When the list itself is broken.
    """
    names, targets, _ = _rows(path)
    project = project_of(path, targets)
    files = [project / target for target in targets]
    twice = [file for file, count in Counter(files).items() if count > 1]
    if twice:
        raise PicksError(f"names {twice[0]} {Counter(files)[twice[0]]} times", where=path)
    problems: list[tuple[Path, MicscreenError]] = []
    kept: list[str] = []
    tables: list[PickTable] = []
    for name, file in zip(names, files, strict=True):
        try:
            tables.append(_format(file).read(file))
            kept.append(name)
        except MicscreenError as error:
            problems.append((file, error))
        except OSError as error:
            reason = "is not there" if isinstance(error, FileNotFoundError) else error.strerror
            problems.append((file, PicksError(f"the coordinate file {reason}", where=file)))
    return _joined(path, kept, tables), tuple(problems)


def write_subset(
    table: PickTable, selection: Selection, folder: Path, *, final: Path | None = None
) -> tuple[Path, ...]:
    """Write the list and its files below `folder`; see `Selection`.

    The files keep their layout relative to the list, or to the project when they lie outside the
    list's folder. The list names them relative to the project when `folder` lies in it, else in
    full.

    Parameters
    ----------
    table
        What `read` or `read_list` gave.
    selection
        Which rows stay, and what changes.
    folder
        Where to write.
    final
        Where `folder` will be moved to afterwards, which is what the list must say.
    """
    _, targets, text = _rows(table.source)
    project = project_of(table.source, targets)
    members = list(table.members[1:])
    rank = {file: i for i, file in enumerate(members)}
    known = np.array([rank.get(project / target, -1) for target in targets], np.int64)
    if np.count_nonzero(known >= 0) != len(members):
        raise PicksError("changed since it was read, or its files moved", where=table.source)
    places = _layout(table.source, project, members)
    written: list[Path] = []
    for i, rows in enumerate(table.rows_by_micrograph()):
        own = _format(members[i])
        part = PickTable(
            format=own.name,
            source=members[i],
            micrographs=(members[i].name,),
            micrograph_index=np.zeros(len(rows), np.int32),
            x=table.x[rows],
            y=table.y[rows],
            members=(members[i],),
        )
        written.extend(own.write_subset(part, _part(selection, rows), (folder / places[i]).parent))
    (loop,) = text.loops_with((_MICROGRAPH, _TARGET))
    texts = [b"" if i < 0 else _word(_named((final or folder) / places[i], project)) for i in known]
    cells = [(loop.columns[_TARGET], np.array(texts, np.bytes_))] if texts else []
    path = folder / table.source.name
    write_parts(path, text, [(loop, known >= 0, Edits(cells))])
    return (path, *written)


def write_new(
    path: Path, picks: Sequence[tuple[str, Picks]], *, final: Path | None = None
) -> tuple[Path, ...]:
    """Write a list and, beside it, a STAR file per micrograph.

    Parameters
    ----------
    path
        The list file.
    picks
        Pairs of micrograph name and its picks.
    final
        Folder to which the list and its files will be moved afterwards; None = they stay.

    Raises
    ------
    PicksError
        When two micrographs would get the same file.
    """
    places = [_place(name) for name, _ in picks]
    same = [str(place) for place, count in Counter(places).items() if count > 1]
    if same:
        raise PicksError(
            f"{len(same)} files would be written for more than one micrograph: "
            + ", ".join(same[:_SHOWN]),
            where=path,
        )
    home = final or path.parent
    for place, (_, some) in zip(places, picks, strict=True):
        write_whole(path.parent / place, relion_text(some))
    words = [_word(_named(home / place, Path.cwd())) for place in places]
    loop = table(
        [
            (_MICROGRAPH, np.array([_word(name) for name, _ in picks], np.bytes_)),
            (_TARGET, np.array(words, np.bytes_)),
        ]
    )
    write_whole(path, b"\n# version 30001\n\ndata_coordinate_files\n\n" + loop + b"\n")
    return (path, *(path.parent / place for place in places))


def _rows(path: Path) -> tuple[list[str], list[str], StarText]:
    """Return the micrograph names and targets as the list says them, and the list's text."""
    text = load(path, (_MICROGRAPH, _TARGET))
    loops = text.loops_with((_MICROGRAPH, _TARGET))
    if len(loops) != 1:
        raise PicksError(
            f"has {len(loops)} tables with the columns rlnMicrographName and "
            "rlnMicrographCoordinates, a list has one",
            where=path,
        )
    return text.words(loops[0], _MICROGRAPH), text.words(loops[0], _TARGET), text


def project_of(path: Path, targets: Sequence[str]) -> Path:
    """Return the folder to which the paths in a list are relative."""
    here, cwd = path.absolute().parent, Path.cwd()
    probes = [target for target in targets[:_PROBED] if not PurePosixPath(target).is_absolute()]
    for folder in (here, *here.parents, cwd, *cwd.parents):
        if any((folder / probe).is_file() for probe in probes):
            return folder
    return cwd


def _format(file: Path) -> PickFormat:
    """Return how to read and write one file of a list; PicksError for kinds that have no place."""
    kind = _READERS.get(file.suffix.lower())
    if kind is None:
        raise PicksError(
            "a coordinate list names .star, .box and .txt files, this is none of them", where=file
        )
    if kind == "relion":
        return star.FORMATS[0]
    from micscreen.io import text

    return next(row for row in text.FORMATS if row.name == kind)


def _joined(path: Path, names: list[str], tables: list[PickTable]) -> PickTable:
    """Return one table of many."""
    boxes = {one.box_size for one in tables if len(one)}
    merits = [one.figure_of_merit for one in tables]
    lengths = [len(one) for one in tables]
    some = [
        np.full(count, np.nan) if merit is None else merit
        for merit, count in zip(merits, lengths, strict=True)
    ]
    return PickTable(
        format="relion_list",
        source=path,
        micrographs=tuple(names),
        micrograph_index=np.repeat(np.arange(len(tables), dtype=np.int32), lengths),
        x=_concatenated([one.x for one in tables]),
        y=_concatenated([one.y for one in tables]),
        box_size=boxes.pop() if len(boxes) == 1 else None,
        figure_of_merit=None if all(m is None for m in merits) else _concatenated(some),
        members=(path, *(one.source for one in tables)),
    )


def _concatenated(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.empty(0)


def _part(selection: Selection, rows: NDArray[np.int64]) -> Selection:
    return Selection(
        keep=selection.keep[rows],
        goodness=None if selection.goodness is None else selection.goodness[rows],
        x=None if selection.x is None else selection.x[rows],
        y=None if selection.y is None else selection.y[rows],
        scale=selection.scale,
    )


def _layout(path: Path, project: Path, files: Sequence[Path]) -> list[Path]:
    """Return where each file goes below the new folder."""
    plain = [Path(os.path.normpath(file.absolute())) for file in files]
    for base in (path.absolute().parent, project):
        if all(file.is_relative_to(base) for file in plain):
            return [file.relative_to(base) for file in plain]
    common = Path(os.path.commonpath([file.parent for file in plain]))
    return [file.relative_to(common) for file in plain]


def _place(micrograph: str) -> Path:
    """Return the name of a micrograph's new coordinate file, below the list's folder."""
    name = PurePosixPath(micrograph)
    inside = not name.is_absolute() and ".." not in name.parts
    stem = name.name[: -len(name.suffix)] if name.suffix else name.name
    return Path(name.parent if inside else ".", f"{stem}_autopick.star")


def _named(file: Path, project: Path) -> str:
    """Return a path as a list says it: relative to the project, or in full outside of it."""
    plain = Path(os.path.normpath(file.absolute()))
    inside = plain.is_relative_to(project)
    return (plain.relative_to(project) if inside else plain).as_posix()


def _word(text: str) -> bytes:
    """Return text as one value of a STAR file."""
    word = text.encode("utf-8", "surrogateescape")
    return b'"' + word + b'"' if not word or any(blank in word for blank in b" \t") else word


FORMATS: Final = (
    PickFormat(
        name="relion_list",
        description="RELION list of per-micrograph coordinate files (autopick.star)",
        extensions=(".star",),
        anchor="centre",
        y_rule="file rows",
        many=True,
        goodness_column="_micscreenGoodness",
        sniff=lambda path, head: star.has(head, _MICROGRAPH, _TARGET),
        read=read,
        write_subset=write_subset,
        write_new=write_new,
    ),
)
