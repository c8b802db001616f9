"""Serial, threads, processes and Dask on the same micrographs, side by side in one run.

Micrographs are hard links to a few files, so that the page cache holds them; the job is that of
`micscreen screen`, the store and the written picks included; the start of a cluster is not.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import make_micrographs, write_picks_for, write_table
from micscreen.model.backend import open_backend
from micscreen.run.cluster import open_cluster
from micscreen.run.engine import ThreadEngine
from micscreen.run.pipeline import screen
from micscreen.run.settings import ComputeSettings, InputSettings, OutputSettings, ScreenSettings
from micscreen.run.workers import network_on_workers

WAYS = {
    "one thread (`--threads 1`)": ("threads", 1, 1),
    "2 threads (`--threads 2`)": ("threads", 1, 2),
    "2 processes of a pool": ("processes", 2, 1),
    "Dask, 2 workers of one thread (`--dask local:2`)": ("dask", 2, 1),
    "Dask, 1 worker of two threads (`--dask local:1 --threads 2`)": ("dask", 1, 2),
    "Dask, 1 worker of one thread (`--dask local:1`)": ("dask", 1, 1),
}


class ProcessEngine:
    """Processes of a pool, one network in each, as an alternative to threads."""

    def __init__(self, processes: int) -> None:
        context = get_context("spawn")
        self.processes = processes
        self.pool = ProcessPoolExecutor(processes, context, initializer=_one_thread)
        wait([self.pool.submit(time.sleep, 2.0) for _ in range(processes)])

    def map(
        self,
        function: Callable[[Any], Any],
        jobs: Iterable[Any],
        lost: object = None,
        stopped: object = None,
    ) -> Iterator[Any]:
        """Yield results as they are ready, with two jobs in flight per process."""
        queue, pending = iter(jobs), set[Future[Any]]()
        while True:
            room = 2 * self.processes - len(pending)
            pending |= {self.pool.submit(function, job) for job in itertools.islice(queue, room)}
            if not pending:
                return
            ready, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in ready:
                yield future.result()


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def once(work: Path, kind: str, workers: int, threads: int) -> float:
    """Return the seconds per micrograph of one way."""
    job = work / "job"
    shutil.rmtree(job, ignore_errors=True)
    inputs = InputSettings(
        (str(work / "links"),), (str(work / "picks"),), box_size=200.0, flip_y="no"
    )
    compute = ComputeSettings(device="cpu", dask="given" if kind == "dask" else None)
    settings = ScreenSettings(inputs, job, outputs=OutputSettings(thumbnails=0), compute=compute)
    engine = ThreadEngine(threads)
    pool = ProcessEngine(workers) if kind == "processes" else None
    backend = open_backend("default", device="cpu")
    cluster = open_cluster(f"local:{workers}", work, "cpu", threads)
    with cluster if kind == "dask" else nullcontext() as dask:
        network = network_on_workers("default", "cpu") if dask or pool else backend
        start = time.perf_counter()
        outcome = screen(settings, backend=network, engine=dask or pool or engine)
        seconds = time.perf_counter() - start
    if pool is not None:
        pool.pool.shutdown()
    assert (outcome.exit_code, outcome.micrographs) == (0, len(list((work / "links").iterdir())))
    return seconds / outcome.micrographs


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micrographs", type=int, default=500)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mics_bench")
    asked = parser.parse_args()
    files = make_micrographs(asked.folder / "mics4096", 8, 4096, 200)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        work = Path(scratch)
        (work / "links").mkdir()
        names = [f"link_{i:05d}" for i in range(asked.micrographs)]
        for i, name in enumerate(names):
            (work / "links" / f"{name}.mrc").hardlink_to(files[i % len(files)])
        write_picks_for(work / "picks", names, 4096, 300)
        once(work, "threads", 1, 2)  # reads the files into the page cache, imports what is late
        for _ in range(asked.turns):
            for way, how in WAYS.items():
                found[way].append(once(work, *how))
    middle = {way: statistics.median(seconds) for way, seconds in found.items()}
    alone = middle[next(iter(WAYS))]
    rows = [f"| {way} | {1e3 * s:.1f} | {alone / s:.2f} |" for way, s in middle.items()]
    about = (
        f"{asked.micrographs} micrographs (links to 8 files), 4096 x 4096 float32, 300 picks each, "
        f"csv, box 200 px; medians of {asked.turns} turns, the ways taking turns. The whole job, "
        "sets and tables included, without the start of the workers."
    )
    head = ["| where | ms per micrograph | times one thread |", "|---|---|---|"]
    write_table("workers", "Many workers", [about, "", *head, *rows])


if __name__ == "__main__":
    main()
