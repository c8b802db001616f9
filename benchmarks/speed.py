"""How far from the floor one micrograph is, and where the time goes.

The floor is what nobody can avoid: memory-map the file and resample it by area once (OpenCV), and
one forward pass with one thread on what was resampled. Everything is measured in this one process,
with the files in the page cache, on the same files in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import mrcfile
import numpy as np

from common import make_micrographs, write_picks_for, write_table
from micscreen.cleaning import CleanSettings, clean
from micscreen.io import read_micrograph, read_picks
from micscreen.model.backend import open_backend
from micscreen.preprocess import prepare


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--box-size", type=float, default=200.0)
    parser.add_argument("--micrographs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mics_bench")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    paths = make_micrographs(asked.folder / f"mics{asked.side}", asked.micrographs, asked.side, 200)
    write_picks_for(asked.folder / "picks", [p.stem for p in paths], asked.side, 500)
    backend = open_backend("default", device="cpu", threads=1)
    settings = CleanSettings(box_size=asked.box_size)

    def whole(path: Path) -> dict[str, float]:
        start = time.perf_counter()
        micrograph = read_micrograph(path)
        picks = read_picks(asked.folder / "picks" / f"{path.stem}.csv")
        read = time.perf_counter() - start
        cleaned = clean(micrograph, picks, backend, settings)
        return {"read": read, **cleaned.timings}

    side = round(asked.side * backend.spec.box_px / asked.box_size)
    times: dict[str, list[float]] = defaultdict(list)
    steps: dict[str, list[float]] = defaultdict(list)
    batch = prepare(
        read_micrograph(paths[0]).image, asked.box_size, backend.spec.box_px,
        margin=backend.spec.margin, multiple=backend.spec.multiple,
    ).channels[None]  # fmt: skip
    for path in paths:
        whole(path)  # page cache, first-use costs
    for _ in range(asked.repeats):
        for path in paths:
            start = time.perf_counter()
            with mrcfile.mmap(path, permissive=True) as file:
                cv2.resize(np.asarray(file.data), (side, side), interpolation=cv2.INTER_AREA)
            times["map and resample once"].append(time.perf_counter() - start)
            start = time.perf_counter()
            backend.predict(batch)
            times["one forward pass"].append(time.perf_counter() - start)
            start = time.perf_counter()
            for name, seconds in whole(path).items():
                steps[name].append(seconds)
            times["micscreen, whole"].append(time.perf_counter() - start)
    rates = {1: [], 2: []}
    for _ in range(asked.repeats):
        for threads in rates:
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                list(pool.map(whole, paths * 3))
                rates[threads].append(3 * len(paths) / (time.perf_counter() - start))
    ms = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    floor = ms["map and resample once"] + ms["one forward pass"]
    one, two = (statistics.median(rates[n]) for n in (1, 2))
    lines = [
        f"{asked.side} x {asked.side} float32, box {asked.box_size:g} px, {len(paths)} files in "
        f"the page cache, 500 picks each, network input {batch.shape[3]} x {batch.shape[2]}, "
        f"{backend.device}; medians of {asked.repeats} turns.",
        "",
        "| per micrograph, one thread | ms | of the floor |",
        "|---|---|---|",
        *(f"| {name} | {value:.1f} | {value / floor:.2f} |" for name, value in ms.items()),
        f"| **floor** (the first two) | {floor:.1f} | 1.00 |",
        "",
        "| where the time goes | ms |",
        "|---|---|",
        *(f"| {name} | {1e3 * statistics.median(v):.1f} |" for name, v in steps.items()),
        "",
        f"Two threads against one: {two:.1f} against {one:.1f} micrographs per second, "
        f"**{two / one:.2f} times**.",
    ]
    write_table("speed", "Speed per micrograph", lines)


if __name__ == "__main__":
    main()
