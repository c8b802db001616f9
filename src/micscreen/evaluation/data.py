"""Labelled micrographs of a folder: found, paired by name, read one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MicrographFormatError, MicscreenError, UsageError
from micscreen.evaluate import particle_centres, source_of
from micscreen.io import match, read_coordinate_folder, read_micrograph
from micscreen.io.labels import LabelKind, as_classes, label_kind, read_label
from micscreen.io.masks import MASK_SUFFIXES
from micscreen.io.table import PickTable
from micscreen.run.find import find_micrographs, listing, unique_names

BOX: Final = {True: 16.0, False: 24.0}
"""px of working copies in ../shared/data whose box nobody knows: of MicAssess, and others."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled micrograph of a folder.

    Attributes
    ----------
    name, source
        Of the micrograph, and of the data set that it comes from.
    image, label
        Files.
    box_size
        px of the micrograph.
    particles
        File with discs on all particles, and their diameter in px; None without.
    picks
        Which rows of which tables are its picks.
    """

    name: str
    source: str
    image: Path
    label: Path
    box_size: float
    particles: tuple[Path, float] | None
    picks: tuple[tuple[PickTable, NDArray[np.int64]], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is known of one micrograph.

    Attributes
    ----------
    image
        Shape (h, w).
    pixel_size
        Å/px; None when unknown.
    classes
        Shape (h', w'), uint8: 0 good, 1 to 5 bad, 254 bad of any kind, 255 left out.
    particles, picks
        Shape (n, 2): x, y in px of the image; particles are true ones, picks may be anything.
    """

    image: NDArray[Any]
    pixel_size: float | None
    classes: NDArray[np.uint8]
    particles: NDArray[np.float64]
    picks: NDArray[np.float64]


def find_labelled(
    folder: Path, box_size: float | None, coordinates: Sequence[Path] = ()
) -> list[Entry]:
    """Pair micrographs and labels of a folder by name; those without a label are left out.

    Parameters
    ----------
    folder
        Holds `images/` (or `micrographs/`) and `labels/`; perhaps `particles/` with discs, and
        `index.json` (there or beside it) with name, source, box_size_px, particle_diameter_px.
    box_size
        px, where the index does not say; None when it says all.
    coordinates
        Coordinate files or folders with a picker's picks, in px of the micrographs.

    Raises
    ------
    UsageError
        When there is nothing to be measured, or a box is not known.
    """
    images = next((folder / n for n in ("images", "micrographs") if (folder / n).is_dir()), None)
    if images is None or not (folder / "labels").is_dir():
        raise UsageError(
            "a labelled folder holds images/ (or micrographs/) and labels/",
            where=folder,
            hint="Labels are class maps or masks with the names of the micrographs.",
        )
    problems: list[str] = []
    micrographs = find_micrographs((str(images),), problems)
    if problems:
        raise UsageError("; ".join(problems), where=images)
    labels = sorted(p for p in (folder / "labels").iterdir() if p.suffix.lower() in MASK_SUFFIXES)
    stems = [path.stem.removesuffix("_classes").removesuffix("_mask") for path in labels]
    pairs = sorted(match([path.name for path in micrographs], stems).pairs)
    if not pairs:
        raise UsageError(
            "no label has the name of a micrograph",
            where=folder / "labels",
            hint=f"Micrographs: {listing(p.name for p in micrographs)}. Labels: {listing(stems)}.",
        )
    index, names = _index(folder), unique_names(micrographs)
    picks = _picks(coordinates, [path.name for path in micrographs])
    entries = []
    for i, j in pairs:
        about = index.get(names[i], {})
        discs, diameter = (
            folder / "particles" / f"{names[i]}.png",
            about.get("particle_diameter_px"),
        )
        box = about.get("box_size_px") or box_size or (about and BOX[names[i].startswith("mic")])
        if not box:
            raise UsageError(
                f"the box of {names[i]} is not known", where="--box-size",
                hint="Give --box-size in px, or an index.json with box_size_px.",
            )  # fmt: skip
        known = discs.is_file() and (diameter or box / 1.5)
        source = source_of(names[i], about["source"]) if about.get("source") else "folder"
        entries.append(
            Entry(
                name=names[i],
                source=source,
                image=micrographs[i],
                label=labels[j],
                box_size=float(box),
                particles=(discs, float(known)) if known else None,
                picks=tuple(picks.get(i, ())),
            )
        )
    return entries


def _index(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what index.json says, by name; nothing when there is none."""
    for path in (folder / "index.json", folder.resolve().parent / "index.json"):
        if path.is_file():
            try:
                return {entry["name"]: entry for entry in json.loads(path.read_text())}
            except (ValueError, TypeError, KeyError) as error:
                raise UsageError(
                    f"this is no list of objects with a name ({error!r})", where=path
                ) from error
    return {}


def _picks(
    coordinates: Sequence[Path], micrographs: Sequence[str]
) -> dict[int, list[tuple[PickTable, NDArray[np.int64]]]]:
    """Return the rows of each micrograph, by its number."""
    if not coordinates:
        return {}
    found = read_coordinate_folder(list(coordinates))
    if not found.tables:
        raise (
            found.problems[0][1]
            if found.problems
            else UsageError("no coordinates were found", where="--coordinates")
        )
    rows: dict[int, list[tuple[PickTable, NDArray[np.int64]]]] = {}
    for table in found.tables:
        of_table = table.rows_by_micrograph()
        for i, j in match(micrographs, table.micrographs).pairs:
            rows.setdefault(i, []).append((table, of_table[j]))
    if not rows:
        named = listing(name for table in found.tables for name in table.micrographs)
        raise UsageError(
            "no coordinates have the name of a micrograph",
            where="--coordinates",
            hint=f"Micrographs: {listing(micrographs)}. Coordinates: {named}.",
        )
    return rows


def kind_of(entries: Sequence[Entry], tiff_flip_y: bool) -> LabelKind:
    """Tell what the labels of a folder are: class maps when any holds a number of 2 to 5.

    Labels that cannot be read are told of when their picture is measured.
    """

    def readable() -> Iterator[NDArray[Any]]:
        for entry in entries:
            with suppress(MicscreenError):
                yield read_label(entry.label, tiff_flip_y=tiff_flip_y)

    return label_kind(readable())


def read_truth(entry: Entry, kind: LabelKind, tiff_flip_y: bool) -> Truth:
    """Read one micrograph with all that is known of it.

    Raises
    ------
    MicrographError
        When a file cannot be read, or image and label do not go together.
    """
    micrograph = read_micrograph(entry.image, tiff_flip_y=tiff_flip_y)
    label = read_label(entry.label, tiff_flip_y=tiff_flip_y)
    height, width = micrograph.shape
    if abs(label.shape[0] * width / (label.shape[1] * height) - 1.0) > 0.02:
        raise MicrographFormatError(
            f"the label has {label.shape[0]} x {label.shape[1]} px, its micrograph "
            f"{height} x {width}",
            where=entry.label,
            hint="A label has the size of its micrograph, or is a smaller copy of the same shape.",
        )
    particles = np.empty((0, 2))
    if entry.particles is not None:
        path, diameter = entry.particles
        discs = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if discs is None or discs.shape != micrograph.shape:
            raise MicrographFormatError("no picture of discs of the micrograph's size", where=path)
        particles = particle_centres(np.asarray(discs, np.uint8), diameter)
    parts = [table.picks(rows, micrograph.shape) for table, rows in entry.picks]
    picks = [np.column_stack([part.x, part.y]) for part in parts]
    return Truth(
        image=micrograph.image,
        pixel_size=micrograph.pixel_size,
        classes=as_classes(label, kind, entry.label),
        particles=particles,
        picks=np.concatenate(picks) if picks else np.empty((0, 2)),
    )
