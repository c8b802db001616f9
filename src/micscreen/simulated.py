"""Folders of simulated micrographs with truth, as `micscreen evaluate` and `train` take them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.errors import UsageError
from micscreen.io import write_picks
from micscreen.io.files import whole_file, write_whole
from micscreen.io.masks import write_class_map
from micscreen.picks import CLASS_NAMES, Picks
from micscreen.simulate import KINDS, Scene, simulate_micrograph

DISC: Final = 0.6
"""Diameter of the discs that mark the particles, in boxes."""

LEAST_SIDE: Final = 3.0
"""A micrograph has at least so many boxes on a side."""

COLUMNS: Final = ("micrograph", "kind", "seed", "particles", "particles_on_bad", *CLASS_NAMES)


@dataclass(frozen=True, slots=True)
class SimulateSettings:
    """What to simulate.

    Attributes
    ----------
    output
        Gets ``images/``, ``labels/``, ``particles/``, ``picks/``, ``index.json`` and ``truth.csv``.
    number
        Of micrographs.
    kinds
        Out of `KINDS`, taken in turns.
    shape
        (h, w), px.
    box_size
        Side of the particle box, px.
    pixel_size
        Å/px.
    seed
        Decides everything; micrograph i has the seed `seed` + i.
    format
        ``mrc`` (float32) or ``tif``.
    """

    output: Path
    number: int = 8
    kinds: tuple[str, ...] = ("mixed",)
    shape: tuple[int, int] = (4096, 4096)
    box_size: float = 200.0
    pixel_size: float = 1.0
    seed: int = 0
    format: Literal["mrc", "tif"] = "mrc"

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise UsageError(f"unknown kind {kind!r}", hint=f"one of {', '.join(KINDS)}")
        if self.number < 1 or not self.kinds:
            raise UsageError("nothing to simulate", hint="give a number of at least 1 and a kind")
        if not (self.pixel_size > 0 and self.box_size >= 8):
            raise UsageError("a box has at least 8 px, and a pixel more than 0 Å")
        if min(self.shape) < LEAST_SIDE * self.box_size:
            raise UsageError(
                f"{self.shape[1]} x {self.shape[0]} px are too few for boxes of "
                f"{self.box_size:g} px",
                hint=f"a side has at least {LEAST_SIDE:g} boxes",
            )


def simulate_folder(
    settings: SimulateSettings, told: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Simulate micrographs; those that an interrupted run has made already are kept.

    Parameters
    ----------
    settings
        What to make.
    told
        Gets how many are there, and of how many.

    Returns
    -------
    The table ``truth.csv``: per micrograph its kind, seed, particles (and how many of them lie on
    bad or ignored pixels), and the share of each class.
    """
    rows, index = [], []
    for number in range(settings.number):
        kind = settings.kinds[number % len(settings.kinds)]
        name = f"sim_{settings.seed + number:06d}_{kind}"
        part = settings.output / "truth" / f"{name}.json"
        if not part.exists():
            write_whole(part, json.dumps(_make(settings, name, kind, number)).encode())
        rows.append(json.loads(part.read_text()))
        index.append(
            {
                "name": name,
                "source": f"simulated, {kind}",
                "box_size_px": settings.box_size,
                "particle_diameter_px": DISC * settings.box_size,
            }
        )
        told(number + 1, settings.number)
    write_whole(settings.output / "index.json", json.dumps(index, indent=1).encode())
    table = settings.output / "truth.csv"
    with whole_file(table) as aside, aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return table


def _make(settings: SimulateSettings, name: str, kind: str, number: int) -> dict[str, object]:
    """Write one micrograph and its truth; return its row of the table."""
    seed = settings.seed + number
    scene = simulate_micrograph(kind, settings.shape, settings.box_size, settings.pixel_size, seed)
    out = settings.output
    write_class_map(out / "labels" / f"{name}.png", scene.classes)
    with whole_file(out / "particles" / f"{name}.png") as aside:
        cv2.imwrite(str(aside), _discs(scene))
    write_picks(out / "picks" / f"{name}.star", Picks(x=scene.x, y=scene.y), format="relion")
    _write_image(out / "images" / f"{name}.{settings.format}", scene.image, settings.pixel_size)
    shares = np.bincount(scene.classes.ravel(), minlength=256) / scene.classes.size
    return {
        "micrograph": name,
        "kind": kind,
        "seed": seed,
        "particles": len(scene.x),
        "particles_on_bad": int(scene.particle_bad.sum()),
        **{one: round(float(shares[i]), 5) for i, one in enumerate(CLASS_NAMES)},
    }


def _discs(scene: Scene) -> NDArray[np.uint8]:
    """Return discs (h, w), 255 on every particle."""
    discs = np.zeros(scene.classes.shape, np.uint8)
    radius = max(1, round(DISC * scene.box_size / 2))
    for x, y in zip(scene.x, scene.y, strict=True):
        cv2.circle(discs, (round(x), round(y)), radius, 255, -1)
    return discs


def _write_image(path: Path, image: NDArray[np.float32], pixel_size: float) -> None:
    """Write a micrograph, whole or not at all; TIFF rows bottom-up, as RELION reads them."""
    with whole_file(path) as aside:
        if path.suffix == ".mrc":
            import mrcfile

            with mrcfile.new(aside) as file:
                file.set_data(image)
                file.voxel_size = pixel_size
        else:
            import tifffile

            per_cm = 1e8 / pixel_size
            tifffile.imwrite(
                aside, image[::-1], resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
            )
