"""Whether the resident set is flat in the number of micrographs; runs the command itself."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import make_micrographs, write_picks_for, write_table


def run(job: Path, links: Path, picks: Path) -> tuple[float, float, float]:
    """Screen a folder; return seconds, and the largest and the early resident set in MiB."""
    command = [sys.executable, "-m", "micscreen", "screen", str(links), "-c", str(picks)]
    command += ["-o", str(job), "--box-size", "200", "--quiet"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    early = peak = 0.0
    while process.poll() is None:
        time.sleep(0.2)
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        anonymous = sum(
            int(line.split()[1]) / 1024
            for line in status.splitlines()
            if line.startswith(("RssAnon", "RssShmem"))
        )
        peak = max(peak, anonymous)
        if time.perf_counter() - start < 10:
            early = max(early, anonymous)
    if process.returncode not in (0, None):
        raise SystemExit(f"micscreen screen failed with {process.returncode}")
    return time.perf_counter() - start, peak, early


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micrographs", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mics_bench")
    asked = parser.parse_args()
    files = make_micrographs(asked.folder / "mics4096", 8, 4096, 200)
    lines = [
        "4096 x 4096 float32 micrographs (links to 8 files), 300 picks each, csv, box 200 px. "
        "Resident set without the page cache's mapped file pages (RssAnon + RssShmem), and the "
        "largest with them (ru_maxrss).",
        "",
        "| micrographs | seconds | per second | anonymous after 10 s, MiB | peak anonymous, MiB | "
        "peak with file pages, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for count in (asked.micrographs // 10, asked.micrographs):
        with tempfile.TemporaryDirectory(dir=asked.folder) as work:
            links, picks = Path(work) / "links", Path(work) / "picks"
            links.mkdir()
            names = [f"link_{i:05d}" for i in range(count)]
            for i, name in enumerate(names):
                (links / f"{name}.mrc").hardlink_to(files[i % len(files)])
            write_picks_for(picks, names, 4096, 300)
            seconds, peak, early = run(Path(work) / "job", links, picks)
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        lines.append(
            f"| {count} | {seconds:.0f} | {count / seconds:.1f} | {early:.0f} | {peak:.0f} | "
            f"{largest:.0f} |"
        )
    write_table("memory", "Memory over many micrographs", lines)


if __name__ == "__main__":
    main()
