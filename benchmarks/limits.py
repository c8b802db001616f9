"""What limits a run on 16, 64 and 512 cores: measured costs per micrograph, and a calculation.

The run itself is measured twice with workers that do nothing but hand back scores: here, and as
two processes of Dask. What remains is what the one machine does that plans, hands out, stores and
writes. The screening is measured with one thread on 4096 x 4096 micrographs.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from common import make_micrographs, write_picks_for, write_table
from micscreen.model.backend import open_backend
from micscreen.run.cluster import open_cluster
from micscreen.run.engine import Engine, SerialEngine, ThreadEngine
from micscreen.run.pipeline import Event, screen
from micscreen.run.rows import MicrographRow, Scores
from micscreen.run.settings import ComputeSettings, InputSettings, OutputSettings, ScreenSettings
from micscreen.run.work import Errand
from micscreen.run.workers import network_on_workers

CORES = (16, 64, 512)
RUN = 40_000
BYTES = 4 * 4096**2


class Idle:
    """An engine whose workers do nothing."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def map(
        self, function: object, jobs: Iterable[Any], lost: Any = None, stopped: Any = None
    ) -> Iterator[Any]:
        """Yield scores that nobody calculated."""
        return self.engine.map(nothing, jobs, lost)


def nothing(errand: Errand) -> tuple[MicrographRow, Scores]:
    """Return a row and scores as large as those of a screened micrograph."""
    n = len(errand.job.rows)
    row = replace(
        errand.row, status="done", height=64, width=64, picked_height=64, picked_width=64,
        contrast="dark", contamination=0.1, area=(0.9, 0.1, 0.0, 0.0, 0.0, 0.0),
    )  # fmt: skip
    floats = np.linspace(0, 1, n, dtype=np.float32)
    small = np.zeros(n, np.uint8)
    return row, Scores(errand.job.rows, floats, floats, floats, small, floats, small)


def settings_for(work: Path, dask: bool) -> ScreenSettings:
    """Return a job over the links of a folder."""
    shutil.rmtree(work / "job", ignore_errors=True)
    inputs = InputSettings(
        (str(work / "links"),), (str(work / "picks"),), box_size=200.0, flip_y="no"
    )
    compute = ComputeSettings(device="cpu", dask="given" if dask else None)
    return ScreenSettings(
        inputs, work / "job", outputs=OutputSettings(thumbnails=0), compute=compute
    )


def timed(settings: ScreenSettings, engine: Engine, network: Any) -> tuple[float, float, float]:
    """Return seconds per micrograph: before and after the loop; in it; of this process in it."""
    marks: dict[str, tuple[float, float]] = {}

    def tell(event: Event) -> None:
        if event.kind == "start" or event.text == "writing the picks":
            marks[event.kind] = time.perf_counter(), time.process_time()

    start = time.perf_counter()
    outcome = screen(settings, backend=network, engine=engine, progress=tell)
    whole = time.perf_counter() - start
    assert outcome.exit_code == 0
    loop, own = (marks["step"][i] - marks["start"][i] for i in (0, 1))
    count = outcome.micrographs
    return (whole - loop) / count, loop / count, own / count


def links(work: Path, files: list[Path], count: int, side: int) -> Path:
    """Make `count` links to the files with 300 picks each."""
    (work / "links").mkdir(parents=True)
    names = [f"link_{i:05d}" for i in range(count)]
    for i, name in enumerate(names):
        (work / "links" / f"{name}.mrc").hardlink_to(files[i % len(files)])
    write_picks_for(work / "picks", names, max(side, 300), 300)
    return work


def main() -> None:
    """Measure, calculate and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=int, default=5000, help="micrographs without work")
    parser.add_argument("--screened", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mics_bench")
    asked = parser.parse_args()
    files = make_micrographs(asked.folder / "mics4096", 8, 4096, 200)
    backend = open_backend("default", device="cpu")
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        small = Path(scratch) / "small.mrc"
        mrcfile.write(small, np.random.default_rng(0).normal(0, 1, (64, 64)).astype(np.float32))
        idle = links(Path(scratch) / "idle", [small], asked.idle, 64)
        ends, store, _ = timed(settings_for(idle, False), Idle(SerialEngine()), backend)
        with open_cluster("local:2", idle, "cpu", 1) as dask:
            _, handed, own = timed(
                settings_for(idle, True), Idle(dask), network_on_workers("default", "cpu")
            )
        real = links(Path(scratch) / "real", files, asked.screened, 4096)
        timed(settings_for(real, False), ThreadEngine(1), backend)
        _, work, _ = timed(settings_for(real, False), ThreadEngine(1), backend)
    rows = [
        f"| plan, and sets and tables at the end, in the one process | {1e3 * ends:.2f} |",
        f"| store | {1e3 * store:.2f} |",
        f"| Dask (scheduler, client, two workers on these cores) and store | {1e3 * handed:.2f} |",
        f"| of which the process of scheduler, client and store computes | {1e3 * own:.2f} |",
        f"| screening, one thread, files in the page cache | {1e3 * work:.1f} |",
    ]
    table = []
    for cores in CORES:
        rate = 1 / max(work / cores, own)
        seconds = RUN * (ends + 1 / rate)
        limit = "cores" if work / cores > own else "that process"
        table.append(
            f"| {cores} | {cores / work:.0f} | {1 / own:.0f} | {rate:.0f} ({limit}) | "
            f"{rate * BYTES / 1e9:.1f} | {seconds / 60:.0f} | {RUN * ends / 60:.1f} |"
        )
    write_table(
        "limits",
        "What limits many cores",
        [
            "## Measured",
            f"{asked.idle} micrographs of 64 x 64 px whose workers do nothing, 300 picks each "
            f"(csv); {asked.screened} of 4096 x 4096 px, float32, box 200 px, screened.",
            "",
            "| what | ms per micrograph |",
            "|---|---|",
            *rows,
            "",
            "## Calculated from it",
            f"{RUN:,} micrographs of {BYTES / 1e6:.0f} MB. The rate is the smaller of what the "
            "cores screen and what the process that hands out and stores can do; GB/s is what the "
            "file system must give for it.",
            "",
            "| cores | cores allow, 1/s | handing out allows, 1/s | rate, 1/s | GB/s read | "
            "minutes | of which before and after |",
            "|---|---|---|---|---|---|---|",
            *table,
        ],
    )


if __name__ == "__main__":
    main()
