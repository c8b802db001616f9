"""Coordinates in any format: read, filtered, written; one file or many."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from micscreen.errors import MatchError, MicscreenError, PicksError, UsageError
from micscreen.io import star_list
from micscreen.io.formats import FORMATS, find_format, format_row
from micscreen.io.matching import match, pick_stem
from micscreen.io.table import PickFormat, PickTable, PickTables, Selection
from micscreen.picks import Picks

_BOOKKEEPING: Final = re.compile(
    r"(.*job|.*_pipeline|relion_.*_nodes|.*_submit|note|run)\.(star|txt|json)", re.IGNORECASE
)
"""What RELION writes into a job's folder beside the coordinates."""

_ENDINGS: Final = {"relion": "_autopick.star", "eman_json": "_info.json"}
_SHOWN: Final = 10

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, eq=False)
class CoordinateSet:
    """What was found in several coordinate files.

    Attributes
    ----------
    tables
        One per file that could be read; files that a list or group names are in its table.
    problems
        The files that could not be read, with the reason.
    """

    tables: Sequence[PickTable]
    problems: tuple[tuple[Path, MicscreenError], ...] = ()


def read_coordinates(path: StrPath, *, format: str | None = None) -> PickTable:
    """Read one coordinate file.

    Parameters
    ----------
    path
        The file.
    format
        Key of `FORMATS`; None = found out from the content and the name's ending.

    Raises
    ------
    UsageError
        When there is no such format.
    PicksError
        When the file is missing, of no known format, or broken.
    """
    path = Path(path)
    with _reported(path):
        return find_format(path, format).read(path)


def read_coordinate_folder(
    paths: StrPath | Sequence[StrPath], *, format: str | None = None
) -> CoordinateSet:
    """Read files, and all files with known endings that lie directly in folders.

    Parameters
    ----------
    paths
        One path or several, of files or folders.
    format
        Key of `FORMATS` that all of them have; None = found out for each.

    Returns
    -------
    CoordinateSet
        Tables in the order of the paths, within folders by name; and the files that are broken,
        which stop nothing.

    Raises
    ------
    UsageError
        When there is no such format.
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    tables = PickTables()
    members: set[Path] = set()
    problems: list[tuple[Path, MicscreenError]] = []
    for path in map(Path, _files([Path(one) for one in several], format, problems)):
        try:
            with _reported(path):
                found = find_format(path, format)
                if found.name == "relion_list":
                    table, missing = star_list.read_list(path)
                    problems.extend(missing)
                else:
                    table = found.read(path)
                tables.append(table)
                members.update(member.resolve() for member in table.members[1:])
        except UsageError:
            raise
        except MicscreenError as error:
            problems.append((path, error))
    if not members:
        return CoordinateSet(tables, tuple(problems))
    broken = {path.resolve(): (path, error) for path, error in reversed(problems)}
    return CoordinateSet(
        PickTables(table for table in tables if table.source.resolve() not in members),
        tuple(broken[key] for key in reversed(broken) if key not in members),
    )


def is_coordinate_name(path: Path, format: str | None = None) -> bool:
    """Return whether a file of this name in a folder would be read as coordinates.

    Parameters
    ----------
    path
        The file, which need not exist.
    format
        Key of `FORMATS`; None = any.
    """
    return path.name.lower().endswith(_endings(format)) and not _BOOKKEEPING.fullmatch(path.name)


def read_picks(path: StrPath, *, format: str | None = None, micrograph: str | None = None) -> Picks:
    """Read the picks of one micrograph.

    Parameters
    ----------
    path
        The coordinate file.
    format
        Key of `FORMATS`; None = found out.
    micrograph
        The micrograph's name, needed when the file holds those of several.

    Raises
    ------
    MatchError
        When the file holds several micrographs and `micrograph` does not say which.
    PicksError
        When the file cannot be read, or gives fractions of a micrograph whose shape it lacks.
    """
    table = read_coordinates(path, format=format)
    if table.needs_shape:
        raise PicksError(
            "gives coordinates as fractions, and not the shape of the micrographs",
            where=str(path),
            hint="Use read_coordinates(), and give the shape to its picks().",
        )
    if not table.micrographs:
        return table.picks(np.empty(0, np.int64))
    which = 0
    if len(table.micrographs) != 1:
        pairs = () if micrograph is None else match([micrograph], table.micrographs).pairs
        if not pairs:
            names = ", ".join(table.micrographs[:_SHOWN])
            raise MatchError(
                f"holds {len(table.micrographs)} micrographs, none of them chosen: {names}",
                where=str(path),
                hint="Name the micrograph: read_picks(path, micrograph=...).",
            )
        which = pairs[0][1]
    return table.picks(table.rows_by_micrograph()[which])


def write_subset(
    table: PickTable, selection: Selection, folder: StrPath, *, final: StrPath | None = None
) -> tuple[Path, ...]:
    """Write some rows of a table in its own format and under its own file names.

    Parameters
    ----------
    table
        What was read; its files must still be there.
    selection
        Which rows, and what is written beside them.
    folder
        Where to write; it is made when it is missing.
    final
        Where `folder` will be moved to afterwards; a list of files must say that place.

    Returns
    -------
    tuple of Path
        The files written, each whole or not at all.

    Raises
    ------
    PicksError
        When the source is gone or changed, or the folder cannot be written to.
    """
    if selection.keep.shape != (len(table),):
        raise ValueError(f"keep has shape {selection.keep.shape}, the table {len(table)} rows")
    folder = Path(folder)
    with _reported(table.source):
        if folder.exists() and folder.samefile(table.source.parent):
            raise PicksError("the output would overwrite its own input", where=table.source)
        if table.format == "relion_list":
            place = None if final is None else Path(final)
            return star_list.write_subset(table, selection, folder, final=place)
        return FORMATS[table.format].write_subset(table, selection, folder)


def write_picks(
    path: StrPath,
    picks: Picks | Sequence[tuple[str, Picks]],
    *,
    format: str | None = None,
    final: StrPath | None = None,
) -> tuple[Path, ...]:
    """Write picks as a new file, or as one file per micrograph.

    Parameters
    ----------
    path
        The file; for several micrographs in a format that holds one per file, a folder.
    picks
        Those of one micrograph, or pairs of a micrograph's name and its picks.
    format
        Key of `FORMATS`; None = by the name's ending.
    final
        Folder to which the files will be moved afterwards; a list of files must say that place.

    Returns
    -------
    tuple of Path
        The files written, each whole or not at all.

    Raises
    ------
    UsageError
        When the format is unknown or can only be filtered.
    PicksError
        When it cannot hold these picks, or the file cannot be written.
    """
    path = Path(path)
    alone = isinstance(picks, Picks)
    name = format or _by_ending(path, alone=alone)
    row = format_row(name)
    if row.write_new is None:
        raise _not_new(name)
    nameless = "" if name in ("csv", "tsv") else pick_stem(path.name)
    pairs = [(nameless, picks)] if isinstance(picks, Picks) else list(picks)
    with _reported(path):
        if name == "relion_list":
            return star_list.write_new(path, pairs, final=None if final is None else Path(final))
        if row.many or alone or (len(pairs) == 1 and path.name.lower().endswith(row.extensions)):
            return row.write_new(path, pairs)
        written: list[Path] = []
        for file, pair in zip(_file_names(path, row, [n for n, _ in pairs]), pairs, strict=True):
            written.extend(row.write_new(file, [pair]))
        return tuple(dict.fromkeys(written))


def _not_new(name: str) -> UsageError:
    possible = ", ".join(key for key, row in FORMATS.items() if row.write_new is not None)
    return UsageError(
        f"{name} files can be filtered, not written from nothing", hint=f"Take one of {possible}."
    )


def _by_ending(path: Path, *, alone: bool) -> str:
    """Return the format that a new file of this name gets."""
    ending = path.suffix.lower()
    choice = {".star": "relion_list", ".txt": "topaz", ".csv": "csv", ".tsv": "tsv"}
    if alone:
        choice |= {".star": "relion", ".txt": "txt"}
    for row in FORMATS.values():
        if row.write_new is not None:
            choice.setdefault(row.extensions[0], row.name)
    if ending not in choice:
        raise UsageError(
            f"{path.name} has no ending that says in which format to write",
            hint=f"End it with one of {', '.join(choice)}, or name the format.",
        )
    return choice[ending]


def _file_names(folder: Path, row: PickFormat, names: Sequence[str]) -> list[Path]:
    """Return a file for each micrograph; PicksError when two would get the same."""
    from micscreen.io.micrographs import micrograph_stem

    ending = _ENDINGS.get(row.name, row.extensions[0])
    files = [folder / (micrograph_stem(PurePosixPath(name).name) + ending) for name in names]
    twice = [file.name for file, count in Counter(files).items() if count > 1]
    if twice:
        raise PicksError(
            f"{len(twice)} files would be written for more than one micrograph: "
            + ", ".join(twice[:_SHOWN]),
            where=folder,
            hint="Write a format for many micrographs, or give names that differ.",
        )
    return files


def _files(
    paths: Sequence[Path], format: str | None, problems: list[tuple[Path, MicscreenError]]
) -> list[str]:
    """Return the files named and those in the folders named, each once."""
    endings = _endings(format)
    found: dict[str, str] = {}  # text, since there may be very many
    for path in paths:
        if not path.is_dir():
            found.setdefault(os.path.realpath(path), str(path))
            continue
        with os.scandir(path) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name.lower().endswith(endings)
                and not entry.name.startswith(".")
                and not _BOOKKEEPING.fullmatch(entry.name)
                and entry.is_file()
            ]
        for name in sorted(names, key=_natural):
            found.setdefault(os.path.realpath(path / name), str(path / name))
        if not names:
            problem = PicksError(
                "no coordinate files in this folder",
                where=path,
                hint=f"Known endings: {' '.join(dict.fromkeys(endings))}",
            )
            problems.append((path, problem))
    return list(found.values())


def _endings(format: str | None) -> tuple[str, ...]:
    """Return the endings of coordinate files in lower case, of one format or of all."""
    rows = list(FORMATS.values()) if format is None else [format_row(format)]
    return tuple(ending for row in rows for ending in row.extensions)


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return what sorts `mic_2` before `mic_10`."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn what the operating system says into a PicksError."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str | os.PathLike) else path
        raise PicksError(
            f"cannot be read or written: {error.strerror or error}", where=Path(where)
        ) from error
