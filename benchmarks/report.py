"""How long the report of a large job takes, next to reading its scores once, and its size."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from common import write_table
from micscreen import InputSettings, ScreenSettings
from micscreen.run import store as stores
from micscreen.run.report import write_report
from micscreen.run.rows import MicrographRow, Scores
from micscreen.run.store import Store


def make_job(folder: Path, micrographs: int, each: int) -> None:
    """Write a store of random scores, and twenty thumbnails of noise."""
    rng = np.random.default_rng(0)
    settings = ScreenSettings(InputSettings(("Mics",), ("Picks",), box_size=200), folder)
    (folder / "thumbnails").mkdir(parents=True)
    stores.COMMIT_ROWS, stores.COMMIT_SECONDS = 10_000, 1e9  # type: ignore[misc]
    with Store(folder, create=True) as store:
        store.note(identity=settings.identity(), model={"name": "none", "sha256": "0"})
        for i in range(micrographs):
            bad = float(rng.beta(0.3, 3.0))
            area = (1 - bad, *(bad * rng.dirichlet(np.ones(5))).tolist())
            name = f"FoilHole_{i:08d}_Data_20261124_120000_fractions_patch_aligned"
            row = MicrographRow(
                name, i, f"Mics/{name}.mrc", f"Mics/{name}.mrc", picks_in=each, status="done",
                contamination=bad, area=area, suspect=("noise: it is",) if i % 50 == 0 else (),
            )  # fmt: skip
            scores = Scores(
                rows=np.arange(each), x=rng.uniform(0, 4096, each).astype(np.float32),
                y=rng.uniform(0, 4096, each).astype(np.float32),
                goodness=rng.beta(3, 0.5, each).astype(np.float32),
                class_index=rng.integers(0, 6, each).astype(np.uint8),
                distance=np.ones(each, np.float32), reason=np.zeros(each, np.uint8),
            )  # fmt: skip
            store.add(row, scores)
            if i % max(micrographs // 20, 1) == 0:
                picture = rng.integers(0, 255, (850, 768, 3)).astype(np.uint8)
                cv2.imwrite(str(folder / "thumbnails" / f"{name}.png"), picture)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micrographs", type=int, default=20_000)
    parser.add_argument("--picks", type=int, default=250, help="per micrograph")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        job = Path(work) / "job"
        make_job(job, asked.micrographs, asked.picks)
        rows = []
        for turn in range(2):
            start = time.perf_counter()
            with Store(job) as store:
                for _ in store.scored():
                    pass
            read = time.perf_counter() - start
            start = time.perf_counter()
            path = write_report(job)
            seconds = time.perf_counter() - start
            size = path.stat().st_size / 1e6
            rows.append(
                f"| {turn + 1} | {read:.2f} | {seconds:.2f} | {seconds / read:.1f} | {size:.2f} |"
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        write_table(
            "report",
            "The report of a large job",
            [
                f"{asked.micrographs:,} micrographs with {asked.picks:,} picks each, twenty "
                "thumbnails of noise. The machine was shared.",
                "",
                "| turn | all scores read once, s | report, s | ratio | report, MB |",
                "|---|---|---|---|---|",
                *rows,
                "",
                f"Peak resident set, the making of the job included: {peak:.0f} MiB.",
            ],
        )


if __name__ == "__main__":
    main()
