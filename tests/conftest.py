"""Data that many tests share: a small set of simulated micrographs with RELION picks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pytest

BOX_SIZE = 64.0
PIXEL_SIZE = 2.0


@dataclass(frozen=True)
class SmallSet:
    """Five micrographs of 768 x 768 px with picks, box 64 px, 2 Å/px."""

    micrographs: Path
    picks: Path
    names: tuple[str, ...]
    rows: int


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> SmallSet:
    """Simulate the set once."""
    from micscreen.io import write_picks
    from micscreen.picks import Picks
    from micscreen.simulate import picks_on_bad, simulate_micrograph

    folder = tmp_path_factory.mktemp("small_set")
    micrographs, stars = folder / "micrographs", folder / "picks"
    micrographs.mkdir()
    stars.mkdir()
    names, rows = [], 0
    for i, kind in enumerate(("film", "ice", "clean", "aggregate", "dense")):
        scene = simulate_micrograph(kind, (768, 768), BOX_SIZE, PIXEL_SIZE, seed=i)
        bad_x, bad_y = picks_on_bad(scene, 12, i)
        x, y = np.concatenate([scene.x, bad_x]), np.concatenate([scene.y, bad_y])
        name = f"mic_{i:03d}"
        mrcfile.write(
            micrographs / f"{name}.mrc", scene.image.astype(np.float32), voxel_size=PIXEL_SIZE
        )
        write_picks(stars / f"{name}_autopick.star", Picks(x.round(2), y.round(2)), format="relion")
        names.append(name)
        rows += len(x)
    return SmallSet(micrographs, stars, tuple(names), rows)


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Give a function that reads all files below a folder, for comparing outputs."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and path.suffix not in (".sqlite", "")
            and not path.name.startswith(".lock")
        }

    return read
