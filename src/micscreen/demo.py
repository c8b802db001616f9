"""The demo: micrographs with known truth from a seed, screened by the main job."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.io import write_picks
from micscreen.io.files import whole_file
from micscreen.picks import Picks
from micscreen.run.settings import InputSettings, OutputSettings, ScreenSettings
from micscreen.simulate import Scene, picks_on_bad, simulate_micrograph

KINDS: Final = ("clean", "film", "ice", "crystalline", "aggregate", "dense", "film", "clean")
SHAPE: Final = (2048, 2048)
BOX_SIZE: Final = 128.0
PIXEL_SIZE: Final = 1.6
SEED: Final = 20261122


@dataclass(frozen=True, slots=True, eq=False)
class DemoMicrograph:
    """One simulated micrograph of the demo.

    Attributes
    ----------
    name, kind
        File name without extension, and what the simulator put into it.
    pick_is_bad
        Shape (n,), bool: truth of its picks, in file order.
    """

    name: str
    kind: str
    pick_is_bad: NDArray[np.bool_]


def demo_picks(scene: Scene, seed: int) -> tuple[Picks, NDArray[np.bool_]]:
    """Return what a careless picker would give: all particles, and picks on bad regions.

    Particles that lie on bad regions count as bad picks too.
    """
    false_x, false_y = picks_on_bad(scene, max(10, len(scene.x) // 4), seed)
    h, w = scene.image.shape
    inside = (scene.x >= 0) & (scene.y >= 0) & (scene.x < w) & (scene.y < h)
    x = np.concatenate([scene.x[inside], false_x])
    y = np.concatenate([scene.y[inside], false_y])
    bad = np.concatenate([scene.particle_bad[inside], np.ones(len(false_x), bool)])
    order = np.random.default_rng(seed).permutation(len(x))
    merit = np.random.default_rng(seed + 1).uniform(0.2, 1.0, len(x)).round(4)
    return Picks(x=x[order].round(2), y=y[order].round(2), figure_of_merit=merit), bad[order]


def make_demo(folder: Path, said: Callable[[str], None]) -> list[DemoMicrograph]:
    """Simulate the demo's micrographs and picks below `folder`; files that are there are kept.

    Parameters
    ----------
    folder
        Gets `micrographs/*.mrc`, `picks/*_autopick.star` (RELION) and `truth.csv`.
    said
        Is told what is being made.
    """
    import mrcfile

    made = []
    for number, kind in enumerate(KINDS):
        name = f"demo_{number + 1:03d}_{kind}"
        said(f"simulating {name} ({SHAPE[1]} x {SHAPE[0]} px)")
        seed = SEED + number
        scene = simulate_micrograph(
            kind, shape=SHAPE, box_size=BOX_SIZE, pixel_size=PIXEL_SIZE, seed=seed
        )
        picks, bad = demo_picks(scene, seed)
        path = folder / "micrographs" / f"{name}.mrc"
        if not path.exists():
            with whole_file(path) as aside, mrcfile.new(aside) as file:
                file.set_data(scene.image.astype(np.float32))
                file.voxel_size = PIXEL_SIZE
        star = folder / "picks" / f"{name}_autopick.star"
        if not star.exists():
            write_picks(star, picks, format="relion")
        made.append(DemoMicrograph(name, kind, bad))
    with whole_file(folder / "truth.csv") as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["micrograph", "kind", "row", "bad"])
        for one in made:
            writer.writerows([one.name, one.kind, i, int(b)] for i, b in enumerate(one.pick_is_bad))
    return made


@dataclass(frozen=True, slots=True)
class DemoScore:
    """How the picks of one micrograph fared against the truth.

    Attributes
    ----------
    name, kind
        Of the micrograph.
    true_picks, true_kept, bad_picks, bad_removed
        Counts.
    """

    name: str
    kind: str
    true_picks: int
    true_kept: int
    bad_picks: int
    bad_removed: int


def demo_scores(job: Path, made: Sequence[DemoMicrograph], threshold: float) -> list[DemoScore]:
    """Compare a job's stored scores with the truth.

    Parameters
    ----------
    job
        The job folder.
    made
        What `make_demo` returned.
    threshold
        Picks with goodness >= threshold count as kept.
    """
    from micscreen.run.store import Store
    from micscreen.score import keep

    truth = {one.name: one for one in made}
    found = []
    with Store(job) as store:
        for row, scores in store.scored():
            if scores is None:
                continue
            one = truth[row.name]
            bad = one.pick_is_bad[scores.rows]
            kept = keep(scores.goodness, threshold)
            found.append(
                DemoScore(
                    name=one.name,
                    kind=one.kind,
                    true_picks=int((~bad).sum()),
                    true_kept=int((~bad & kept).sum()),
                    bad_picks=int(bad.sum()),
                    bad_removed=int((bad & ~kept).sum()),
                )
            )
    return found


def demo_settings(folder: Path, threshold: float) -> ScreenSettings:
    """Return the main job's settings for the demo below `folder`."""
    return ScreenSettings(
        inputs=InputSettings(
            micrographs=(str(folder / "micrographs"),),
            coordinates=(str(folder / "picks"),),
            box_size=BOX_SIZE,
        ),
        output=folder / "job",
        outputs=OutputSettings(threshold=threshold, thumbnails=len(KINDS), save_masks=True),
    )
