"""What the benchmark scripts share: files to measure on, and tables that say how they were made."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import mrcfile
import numpy as np

HERE = Path(__file__).parent


def machine() -> str:
    """Return a line about this machine."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0]}, {len(names)} cores, Python {platform.python_version()}"


def make_micrographs(folder: Path, count: int, side: int, box_size: float) -> list[Path]:
    """Write `count` simulated float32 MRC micrographs of `side` px, each once."""
    from micscreen.simulate import simulate_micrograph

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(count):
        path = folder / f"mic_{i:04d}.mrc"
        if not path.exists():
            kind = ("film", "ice", "clean", "dense")[i % 4]
            scene = simulate_micrograph(
                kind, shape=(side, side), box_size=box_size, pixel_size=1.1, seed=i
            )
            with mrcfile.new(path, overwrite=True) as file:
                file.set_data(scene.image.astype(np.float32))
                file.voxel_size = 1.1
        paths.append(path)
    return paths


def write_picks_for(folder: Path, names: Sequence[str], side: int, count: int) -> None:
    """Write a csv of `count` random picks for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        xy = np.random.default_rng(i).uniform(100, side - 100, (count, 2))
        lines = "\n".join(f"{x:.1f},{y:.1f}" for x, y in xy)
        (folder / f"{name}.csv").write_text(f"x,y\n{lines}\n")


def write_table(name: str, title: str, lines: Sequence[str]) -> None:
    """Write `name`.md beside the script that runs, and print it."""
    script = Path(sys.argv[0]).resolve()
    command = "python " + " ".join([str(script.relative_to(HERE.parent)), *sys.argv[1:]])
    text = "\n".join([f"# {title}", f"`{command}` on {machine()}", "", *lines, ""])
    (script.parent / f"{name}.md").write_text(text)
    print(text)
