"""cryoSPARC's particle files: `.cs` tables, and `.csg` groups of them that belong together.

Rows that are kept stay the same to the bit, in every field and in every member of a group; the
goodness is a field of its own behind them. Positions are fractions of the micrograph, so they are
the same on every scale.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io import npy
from micscreen.io.files import write_whole
from micscreen.io.lines import check_unchanged, decode, encode, raise_problems, read_bytes
from micscreen.io.table import PickFormat, PickTable, Reader, Selection, SubsetWriter

if TYPE_CHECKING:
    from yaml.nodes import Node

Sniffer = Callable[[Path, bytes], bool]

GOODNESS: Final = "micscreen/goodness"
X: Final = "location/center_x_frac"
Y: Final = "location/center_y_frac"
NAME: Final = "location/micrograph_path"
NAME_UID: Final = "location/micrograph_uid"
SHAPE: Final = "location/micrograph_shape"
MERIT: Final = "pick_stats/ncc_score"
LARGEST_GROUP: Final = 1 << 22
"""Characters; a .csg of more than this is none."""

_GROUP_HINT: Final = "Export the group again, with all its files beside the .csg file."


def read_cs(path: Path) -> PickTable:
    """Read the particles of a .cs file.

    x, y are px where the file knows the micrographs' shapes, else fractions (`needs_shape`). The
    box is that of extracted particles, on the scale of the micrographs.

    Raises
    ------
    PicksError
        When it is no plain .cs file, has no locations, or rows without a place or a micrograph.
    """
    return _table(path, load(path, (X, Y, NAME)), "cryosparc_cs", path, (path,))


def load(path: Path, needed: Sequence[str]) -> npy.Table:
    """Return the rows of a .cs file after a look at its fields."""
    _check_fields(path, _header(path), needed)
    return npy.read_table(path)


def _header(path: Path) -> npy.Header:
    """Return the header of a .cs file; PicksError for the compressed variety."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise PicksError(f"cannot be read: {error.strerror}", where=path) from error
    if start[1:] == b"CSDAT":
        raise PicksError(
            "is a compressed .cs file, which only cryosparc-tools reads",
            where=path,
            hint="Convert it: from cryosparc.dataset import Dataset; "
            f"Dataset.load({path.name!r}).save('plain.cs')",
        )
    return npy.read_header(path)


def _check_fields(path: Path, header: npy.Header, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in header.names]
    if missing:
        raise PicksError(
            f"has no fields {', '.join(missing)}",
            where=path,
            hint="Picks need their place on the micrograph: give the .csg file of the group, or "
            "the ..._passthrough_particles.cs beside it, which often has the locations.",
        )


def _table(
    path: Path, rows: npy.Table, kind: str, source: Path, members: tuple[Path, ...]
) -> PickTable:
    """Return the picks in `rows`, which were read from `path`."""
    x, y, shapes = _numbers(rows, X), _numbers(rows, Y), _numbers(rows, SHAPE, (2,))
    if x is None or y is None or rows[NAME].dtype.kind not in "SU":
        raise PicksError("has locations that are no numbers, or names that are no text", where=path)
    names, index = _micrographs(rows)
    unnamed = [i for i, name in enumerate(names) if not name]
    no_place = ~(np.isfinite(x) & np.isfinite(y))
    problems = [f"row {i + 1}: has no place" for i in np.flatnonzero(no_place).tolist()]
    nameless = np.flatnonzero(np.isin(index, unnamed)).tolist()
    problems += [f"row {i + 1}: has no micrograph" for i in nameless]
    raise_problems(path, problems)
    needs_shape = shapes is None or not bool(shapes.all())
    if shapes is not None and not needs_shape:
        x, y = x * shapes[:, 1], y * shapes[:, 0]  # shapes are (n, 2): height, width
    return PickTable(
        format=kind,
        source=source,
        micrographs=names,
        micrograph_index=index,
        x=x,
        y=y,
        box_size=_box_size(rows),
        figure_of_merit=_numbers(rows, MERIT),
        needs_shape=needs_shape,
        members=members,
    )


def _numbers(rows: npy.Table, name: str, shape: tuple[int, ...] = ()) -> NDArray[np.float64] | None:
    """Return a field as float64 (n, *shape), None when there is no such field of numbers."""
    if name not in (rows.dtype.names or ()):
        return None
    values = rows[name]
    fits = values.dtype.kind in "fiu" and values.shape[1:] == shape
    return values.astype(np.float64) if fits else None


def _micrographs(rows: npy.Table) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the micrographs' names in order of appearance, and each row's index into them."""
    paths = rows[NAME]
    first, inverse = _groups(rows[NAME_UID] if NAME_UID in (rows.dtype.names or ()) else paths)
    if not bool((paths == paths[first][inverse]).all()):  # uids that do not tell paths apart
        first, inverse = _groups(paths)
    names = [path_text(path) for path in paths[first].tolist()]
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    index = np.array([place[name] for name in names], np.int32)
    return tuple(place), index[inverse]


def _groups(keys: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of each group of equal keys, and every row's group."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def path_text(path: bytes | str) -> str:
    """Return a path without the `>` that stands for the project's folder in exported files."""
    return (os.fsdecode(path) if isinstance(path, bytes) else path).removeprefix(">")


def _box_size(rows: npy.Table) -> float | None:
    """Return the side of extracted particles in px of the micrographs, None when not known."""
    side = _numbers(rows, "blob/shape", (2,))
    extracted = _numbers(rows, "blob/psize_A")
    picked = _numbers(rows, "location/micrograph_psize_A")
    if len(rows) == 0 or side is None or extracted is None or picked is None:
        return None
    if not (picked > 0).all():
        return None
    box = side[:, 1] * extracted / picked
    same = 0 < box.min() < np.inf and np.ptp(box) < 1e-3 * box.min()
    return round(float(box[0]), 2) if same else None


def _with_goodness(rows: npy.Table, goodness: NDArray[np.float32] | None) -> npy.Table:
    """Return the rows, to the bit, with the goodness in a field of its own; None adds none."""
    if goodness is None:
        return rows
    if GOODNESS in (rows.dtype.names or ()):
        rows[GOODNESS] = goodness
        return rows
    old = rows.dtype.itemsize
    fields = [*np.lib.format.dtype_to_descr(rows.dtype), (GOODNESS, "<f4")]
    wider = np.zeros(len(rows), np.lib.format.descr_to_dtype(fields))
    as_bytes = wider.view(np.uint8).reshape(len(rows), wider.dtype.itemsize)
    as_bytes[:, :old] = rows.view(np.uint8).reshape(len(rows), old)
    wider[GOODNESS] = goodness
    return wider


def _kept(rows: npy.Table, selection: Selection) -> npy.Table:
    goodness = None if selection.goodness is None else selection.goodness[selection.keep]
    return _with_goodness(rows[selection.keep], goodness)


def _write_cs_subset(table: PickTable, selection: Selection, folder: Path) -> tuple[Path, ...]:
    rows = load(table.source, (X, Y))
    check_unchanged(table.source, len(rows), len(table))
    return (npy.write_table(folder / table.source.name, _kept(rows, selection)),)


# --- groups ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Group:
    """What a .csg file says.

    Attributes
    ----------
    text
        The file.
    location
        The member with the particles' places, a path as the file writes it.
    members
        All member files, each once, relative to the folder of the .csg file.
    counts
        (start, end) of a `num_items` in the text, to the member that it counts.
    """

    text: str
    location: str
    members: tuple[str, ...]
    counts: dict[tuple[int, int], str]


def _read_group(path: Path) -> _Group:
    text = decode(read_bytes(path), path)
    results = _results(text, path)
    counts: dict[tuple[int, int], str] = {}
    members: list[str] = []
    problems: list[str] = []
    for name, node in sorted(results.items(), key=lambda item: item[0] != "location"):
        result = _mapping(node)
        said = str(result["metafile"].value).removeprefix(">") if "metafile" in result else ""
        member = _member(said)
        if member is None:
            problems.append(f"results/{name}: metafile {said!r} is no file below this folder")
            continue
        members.append(member)
        if "num_items" in result:
            mark = result["num_items"]
            counts[mark.start_mark.index, mark.end_mark.index] = member
    headers = {}
    for member in dict.fromkeys(members):
        try:
            headers[member] = _header(path.parent / member)
        except PicksError as error:
            problems.append(f"{member}: {error.what}")
    no_uid = [member for member, header in headers.items() if "uid" not in header.names]
    problems += [f"{member}: has no uid to tell its rows by" for member in no_uid]
    if problems:
        raise PicksError("; ".join(problems[:10]), where=path, hint=_GROUP_HINT)
    places = [m for m, header in headers.items() if {X, Y, NAME} <= set(header.names)]
    if not places:
        raise PicksError(
            "no file of this group has particle locations",
            where=path,
            hint="Give the group of a picking, extraction or selection job with its passthrough.",
        )
    return _Group(text, places[0], tuple(headers), counts)


def group_members(path: Path) -> list[Path]:
    """Return the files of a .csg group of any kind, each once.

    Raises
    ------
    PicksError
        When it is no group, or names files that lie outside its folder.
    """
    members = []
    for name, node in _results(decode(read_bytes(path), path), path).items():
        result = _mapping(node)
        member = _member(str(result["metafile"].value) if "metafile" in result else "")
        if member is None:
            where = f"results/{name}: its metafile is no file below this folder"
            raise PicksError(where, where=path, hint=_GROUP_HINT)
        members.append(path.parent / member)
    return list(dict.fromkeys(members))


def _member(metafile: str) -> str | None:
    """Return the file that a group names, relative to its folder; None when it lies elsewhere."""
    member = metafile.removeprefix(">")
    parts = PurePosixPath(member).parts
    inside = parts and ".." not in parts and not PurePosixPath(member).is_absolute()
    return member if inside and "\0" not in member else None


def _results(text: str, path: Path) -> dict[str, Node]:
    """Return the nodes under `results` of a .csg file."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader) if len(text) <= LARGEST_GROUP else None
    except (yaml.YAMLError, RecursionError) as error:
        raise PicksError(f"is not valid YAML: {error}", where=path) from error
    results = _mapping(_mapping(root).get("results"))
    if not results:
        raise PicksError(
            "has no `results` with files",
            where=path,
            hint="A .csg file is what cryoSPARC exports for an output group.",
        )
    return results


def _mapping(node: Node | None) -> dict[str, Node]:
    """Return the values of a YAML mapping by key; empty for any other node."""
    from yaml.nodes import MappingNode

    if not isinstance(node, MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value}


def _uids(rows: npy.Table, path: Path) -> NDArray[np.uint64]:
    if rows["uid"].dtype.kind not in "iu" or rows["uid"].ndim != 1:
        raise PicksError("has uids that are no whole numbers", where=path)
    return rows["uid"].astype(np.uint64)


def read_csg(path: Path) -> PickTable:
    """Read the particles of a .csg group, from the member that has their locations.

    Raises
    ------
    PicksError
        When a member is missing, lies outside the folder, has no uids or is no plain .cs file, or
        when none has locations.
    """
    group = _read_group(path)
    member = path.parent / group.location
    rows = load(member, ("uid", X, Y, NAME))
    if len(np.unique(_uids(rows, member))) != len(rows):
        raise PicksError("has the same uid more than once", where=member)
    members = (path, *(path.parent / name for name in group.members))
    return _table(member, rows, "cryosparc_csg", path, members)


def _write_csg_subset(table: PickTable, selection: Selection, folder: Path) -> tuple[Path, ...]:
    """Write all members with the kept uids, then the group with its new counts."""
    group = _read_group(table.source)
    rows = load(table.source.parent / group.location, ("uid",))
    check_unchanged(table.source, len(rows), len(table))
    uids = _uids(rows, table.source.parent / group.location)[selection.keep]
    kept = _kept(rows, selection)
    sizes, written = {group.location: len(kept)}, [npy.write_table(folder / group.location, kept)]
    for name in group.members:
        if name != group.location:
            path = table.source.parent / name
            other = load(path, ("uid",))
            other = other[np.isin(_uids(other, path), uids)]
            sizes[name] = len(other)
            written.append(npy.write_table(folder / name, other))
    text = group.text
    for (start, end), name in sorted(group.counts.items(), reverse=True):
        text = text[:start] + str(sizes[name]) + text[end:]
    write_whole(folder / table.source.name, encode(text))
    return (folder / table.source.name, *written)


def _sniff_cs(path: Path, head: bytes) -> bool:
    if head[1:6] == b"CSDAT":
        return True
    return head.startswith(npy.MAGIC) and (path.suffix.lower() == ".cs" or b"'uid'" in head)


def _sniff_csg(path: Path, head: bytes) -> bool:
    return path.suffix.lower() == ".csg" or (b"\nresults:" in head and b"metafile:" in head)


def _format(
    name: str, description: str, read: Reader, write: SubsetWriter, sniff: Sniffer
) -> PickFormat:
    return PickFormat(
        name=name,
        description=description,
        extensions=("." + name.removeprefix("cryosparc_"),),
        anchor="fraction",
        y_rule="cryoSPARC's rows; sources disagree whether they are the MRC's rows (--flip-y)",
        many=True,
        goodness_column=GOODNESS,
        sniff=sniff,
        read=read,
        write_subset=write,
    )


FORMATS: Final[tuple[PickFormat, ...]] = (
    _format(
        "cryosparc_cs",
        "cryoSPARC .cs: one table of particles with location/center_x_frac and _y_frac",
        read_cs,
        _write_cs_subset,
        _sniff_cs,
    ),
    _format(
        "cryosparc_csg",
        "cryoSPARC .csg: an exported group of .cs files, filtered together by uid",
        read_csg,
        _write_csg_subset,
        _sniff_csg,
    ),
)
