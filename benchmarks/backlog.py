"""Whether a stream that finds a backlog is as fast as a batch; side by side, taking turns.

What is timed is the time from the call to the last micrograph. Two batch sizes of the stream, and
the batch run, over the same hard links with two threads.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from common import make_micrographs, write_picks_for, write_table
from micscreen.model.backend import open_backend
from micscreen.run.engine import ThreadEngine
from micscreen.run.pipeline import Event, screen
from micscreen.run.settings import (
    ComputeSettings,
    InputSettings,
    OutputSettings,
    ScreenSettings,
    WatchSettings,
)

WAYS: dict[str, int | None] = {
    "batch": None,
    "stream, `--batch-size -1`": -1,
    "stream, `--batch-size 0`": 0,
    "stream, `--batch-size 4`": 4,
}


def once(work: Path, batch_size: int | None) -> tuple[float, float]:
    """Return the seconds until the first and until the last micrograph was told of."""
    shutil.rmtree(work / "job", ignore_errors=True)
    inputs = InputSettings(
        (str(work / "links"),), (str(work / "picks"),), box_size=200.0, flip_y="no"
    )
    settings = ScreenSettings(
        inputs,
        work / "job",
        outputs=OutputSettings(thumbnails=0),
        compute=ComputeSettings(
            device="cpu", threads=2, batch_size=-1 if batch_size is None else batch_size
        ),
        watch=None if batch_size is None else WatchSettings(idle_timeout=3.0),
    )
    told: list[float] = []
    start = time.perf_counter()

    def tell(event: Event) -> None:
        if event.kind == "micrograph":
            told.append(time.perf_counter() - start)

    backend = open_backend("default", device="cpu")
    outcome = screen(settings, backend=backend, engine=ThreadEngine(2), progress=tell)
    assert outcome.exit_code == 0 and outcome.done == len(told)
    return told[0], told[-1]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micrographs", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mics_bench")
    asked = parser.parse_args()
    files = make_micrographs(asked.folder / "mics4096", 8, 4096, 200)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        work = Path(scratch)
        (work / "links").mkdir()
        names = [f"link_{i:05d}" for i in range(asked.micrographs)]
        for i, name in enumerate(names):
            (work / "links" / f"{name}.mrc").hardlink_to(files[i % len(files)])
        write_picks_for(work / "picks", names, 4096, 300)
        once(work, None)  # reads the files into the page cache, imports what is late
        for _ in range(asked.turns):
            for way, batch_size in WAYS.items():
                found[way].append(once(work, batch_size))
    first = {way: statistics.median(one for one, _ in times) for way, times in found.items()}
    last = {way: statistics.median(one for _, one in times) for way, times in found.items()}
    rows = [
        f"| {way} | {first[way]:.1f} | {last[way]:.1f} | {last[way] / last['batch']:.2f} |"
        for way in WAYS
    ]
    about = (
        f"{asked.micrographs} micrographs (links to 8 files), 4096 x 4096 float32, 300 picks each, "
        f"csv, box 200 px, two threads; medians of {asked.turns} turns, the ways taking turns. "
        "Seconds from the call to the first and the last micrograph."
    )
    head = ["| | first, s | last, s | of the batch |", "|---|---|---|---|"]
    write_table("backlog", "A stream that finds a backlog", [about, "", *head, *rows])


if __name__ == "__main__":
    main()
