"""What one look of a stream costs over 50,000 known files, beside one plain listing of them.

    python benchmarks/poll.py [--files 50000]

Writes benchmarks/poll.md. Every cost is the median over several looks in one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import write_table
from micscreen.run.poll import Lookout

NEW = (0, 1, 10, 100, 1000)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(count):
            (folder / f"mic_{i:06d}.mrc").write_bytes(b"1")
            os.utime(folder / f"mic_{i:06d}.mrc", (1, 1))
        time.sleep(2.5)  # beyond the grain of the file system's clock
        eye = Lookout([name], lambda path: path.suffix == ".mrc", quiet=0.0)
        clock = 0.0
        start = time.perf_counter()
        first = len(eye.poll(clock, time.time()))
        rows = [(f"first look, {first:,} new", time.perf_counter() - start)]
        listing = median(lambda: [entry.stat() for entry in os.scandir(name)], 5)
        serial = 0
        for new in NEW:
            costs = []
            for _ in range(7):
                for _ in range(new):
                    path = folder / f"new_{serial:07d}.mrc"
                    path.write_bytes(b"1")
                    os.utime(path, (1, 1))
                    serial += 1
                if not new:
                    time.sleep(2.2)
                clock += 5.0
                start = time.perf_counter()
                told = len(eye.poll(clock, time.time()))
                costs.append(time.perf_counter() - start)
                assert told == new, (told, new)
            rows.append((f"a look, {new:,} new", statistics.median(costs)))
        lines = ["| | ms | of one listing with times |", "|---|---|---|"]
        lines += [
            f"| {what} | {seconds * 1e3:.1f} | {seconds / listing:.3f} |" for what, seconds in rows
        ]
    write_table(
        "poll",
        f"A look over {count:,} known files",
        [
            f"Medians of 7 in one run. One listing of the folder with every file's size and time: "
            f"{listing * 1e3:.0f} ms.",
            "",
            *lines,
            "",
            "Without anything new the folder is not listed. When something is new it is listed",
            "once, without sizes and times, and the new files are looked at.",
        ],
    )


def median(work: Callable[[], object], times: int) -> float:
    """Return the median time of some work in seconds."""
    costs = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        costs.append(time.perf_counter() - start)
    return statistics.median(costs)


if __name__ == "__main__":
    main()
