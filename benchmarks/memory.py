"""Memory over many micrographs and picks; runs the commands themselves.

First `micscreen screen` over two numbers of micrographs, to see whether the resident set is flat;
then `micscreen rethreshold` of the job with the larger number. The micrographs are links to eight
files; the picks lie in a folder with one csv each, or in one particles.star of 25 columns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from common import make_micrographs, write_picks_for, write_table
from rethreshold import write_particles


class Seen(NamedTuple):
    """Seconds, and resident sets in MiB: anonymous in the middle, its peak, and the whole peak."""

    seconds: float
    middle: float
    peak: float
    with_files: float


def watch(*arguments: object) -> Seen:
    """Run one micscreen command and look at its memory five times a second."""
    command = [sys.executable, "-m", "micscreen", *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    anonymous = []
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        kib = [
            int(line.split()[1])
            for line in status.splitlines()
            if line.startswith(("RssAnon", "RssShmem"))
        ]
        anonymous.append(sum(kib) / 1024)
        time.sleep(0.2)
    _, code, usage = os.wait4(process.pid, 0)
    if code != 0:
        raise SystemExit(f"micscreen {arguments[0]} failed with {os.waitstatus_to_exitcode(code)}")
    seconds = time.perf_counter() - start
    middle = anonymous[len(anonymous) // 2]
    return Seen(seconds, middle, max(anonymous), usage.ru_maxrss / 1024)


def prepare(work: Path, files: list[Path], asked: argparse.Namespace, count: int) -> Path:
    """Link `count` micrographs, write their picks, and return where the picks are."""
    links = work / "links"
    links.mkdir()
    names = [f"link_{i:05d}" for i in range(count)]
    for i, name in enumerate(names):
        (links / f"{name}.mrc").hardlink_to(files[i % len(files)])
    if asked.star:
        picks = work / "particles.star"
        write_particles(picks, names, asked.picks, asked.side)
        return picks
    write_picks_for(work / "picks", names, asked.side, asked.picks)
    return work / "picks"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micrographs", type=int, default=2000)
    parser.add_argument("--picks", type=int, default=300, help="of each micrograph")
    parser.add_argument("--side", type=int, default=4096, help="px")
    parser.add_argument("--star", action="store_true", help="one particles.star")
    parser.add_argument("--name", default="memory", help="of the table")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mics_bench")
    asked = parser.parse_args()
    files = make_micrographs(asked.folder / f"mics{asked.side}", 8, asked.side, 200)
    lines = [
        f"{asked.side} x {asked.side} float32 micrographs (links to 8 files), {asked.picks} picks "
        f"each, {'one particles.star of 25 columns' if asked.star else 'a csv each'}, box 200 px. "
        "Anonymous: RssAnon + RssShmem, without mapped files; the last column has them "
        "(ru_maxrss).",
        "",
        "| command | micrographs | picks | seconds | anonymous half-way, MiB | at most, MiB | "
        "with mapped files, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for count in (asked.micrographs // 10, asked.micrographs):
        with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
            work = Path(scratch)
            picks, job = prepare(work, files, asked, count), work / "job"
            box = ("--box-size", 200, "--flip-y", "no", "--quiet")
            seen = {"screen": watch("screen", work / "links", "-c", picks, "-o", job, *box)}
            if count == asked.micrographs:
                seen["rethreshold"] = watch("rethreshold", job, "--threshold", 0.9)
        for command, (seconds, middle, peak, with_files) in seen.items():
            lines.append(
                f"| `{command}` | {count:,} | {count * asked.picks:,} | {seconds:.0f} | "
                f"{middle:.0f} | {peak:.0f} | {with_files:.0f} |"
            )
    write_table(asked.name, "Memory over many micrographs", lines)


if __name__ == "__main__":
    main()
