"""`micscreen view` of a large job: how soon it opens, how it scrolls, what the server holds.

A few simulated micrographs are screened for real; their rows, masks and class maps are then
repeated under other names in a store of the wanted size, with drawn goodness. The page is driven by
Debian's Chromium, headless, on the same machine as the server.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common import make_micrographs, write_table

DRAG = """() => new Promise(done => {
  const slider = document.querySelector('#threshold'), times = [];
  const go = (i) => {
    const start = performance.now();
    slider.value = 500 + 5 * i;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    requestAnimationFrame(() => {
      times.push(performance.now() - start);
      i < 80 ? setTimeout(go, 0, i + 1) : done(times);
    });
  };
  go(0);
})"""
SCROLL = """() => new Promise(done => {
  const box = document.querySelector('#tiles'), frames = [], end = performance.now() + 5000;
  let last = performance.now();
  const go = (now) => {
    frames.push(now - last);
    last = now;
    box.scrollTop += 60;
    now < end ? requestAnimationFrame(go) : done(frames.slice(2));
  };
  requestAnimationFrame(go);
})"""


def prepare(work: Path, asked: argparse.Namespace) -> Path:
    """Make the job: a few micrographs screened, then repeated."""
    from micscreen.io import write_picks
    from micscreen.picks import Picks
    from micscreen.run.rows import Scores
    from micscreen.run.store import Store

    files = make_micrographs(work / "micrographs", asked.files, asked.side, 200.0)
    rng = np.random.default_rng(0)
    for path in files:
        x, y = rng.uniform(0, asked.side, (2, asked.picks))
        write_picks(work / "picks" / f"{path.stem}.star", Picks(x, y), format="relion")
    job = work / "job"
    words = ["screen", work / "micrographs", "-c", work / "picks", "-b", 200, "-o", job]
    command = [sys.executable, "-m", "micscreen", *map(str, words), "--save-masks", "--quiet"]
    subprocess.run(command, check=True)
    with Store(job, create=True) as store:
        known = [(row, scores) for row, scores in store.scored() if scores is not None]
        for number in range(asked.micrographs - len(known)):
            row, scores = known[number % len(known)]
            name = f"copy_{number:05d}"
            bad = rng.random(asked.picks) < 0.2
            goodness = np.where(bad, rng.random(asked.picks), 1 - rng.exponential(0.01, len(bad)))
            drawn = np.clip(goodness, 0, 1).astype(np.float32)
            again: Scores = replace(scores, goodness=drawn)
            store.add(replace(row, name=name, position=len(known) + number), again)
            for part, suffix in (("masks", "tif"), ("classes", "png")):
                os.link(job / part / f"{row.name}.{suffix}", job / part / f"{name}.{suffix}")
    return job


def resident(pid: int) -> tuple[float, float]:
    """Return resident set and its peak, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.split(":")[0]: line for line in lines}
    now, peak = (int(found[key].split()[1]) / 1024 for key in ("VmRSS", "VmHWM"))
    return now, peak


def look(job: Path, turns: int) -> dict[str, Any]:
    """Open the job in fresh servers and windows; then drag and scroll in the last one."""
    from playwright.sync_api import sync_playwright

    found: dict[str, Any] = {"start": [], "open": [], "again": []}
    command = [sys.executable, "-u", "-m", "micscreen", "view", str(job), "--no-browser"]
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for _ in range(turns):
            begin = time.perf_counter()
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert server.stdout
            address = server.stdout.readline().split()[1]
            found["start"].append(time.perf_counter() - begin)
            page = browser.new_context(viewport={"width": 1680, "height": 1000}).new_page()
            for kind in ("open", "again"):
                begin = time.perf_counter()
                page.goto(address)
                page.wait_for_selector("#counts tbody tr")
                page.wait_for_selector("#histogram canvas")
                found[kind].append(time.perf_counter() - begin)
            found["opened"] = resident(server.pid)
            if _ == turns - 1:
                found["drag"] = page.evaluate(DRAG)
                page.click("nav a[href='#gallery']")
                page.wait_for_function("() => document.querySelectorAll('.tile').length > 10")
                begin = time.perf_counter()
                page.select_option("select[name=sort]", "rejected")
                page.check("input[name=descending]")
                page.wait_for_function("() => document.querySelector('.tile span').textContent")
                page.wait_for_timeout(1000)
                found["frames"] = page.evaluate(SCROLL)
                page.wait_for_timeout(3000)
                found["scrolled"] = resident(server.pid)
            page.context.close()
            server.terminate()
            server.wait(20)
        browser.close()
    return found


def main() -> None:
    """Make the job, look at it, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--micrographs", type=int, default=20_000)
    parser.add_argument("--picks", type=int, default=250, help="per micrograph")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--note", default="", help="a sentence for the table")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(Path(folder), asked)
        size = (job / "screen.sqlite").stat().st_size / 1e6
        found = look(job, asked.turns)

    def quantiles(values: list[float]) -> str:
        return " / ".join(f"{np.quantile(values, q):.0f}" for q in (0.5, 0.95, 1))

    def seconds(values: list[float]) -> str:
        return " / ".join(f"{value:.2f}" for value in sorted(values))

    lines = [
        f"{asked.micrographs} micrographs ({asked.side} x {asked.side} px, {asked.files} files), "
        f"{asked.micrographs * asked.picks} picks, screen.sqlite {size:.0f} MB. Chromium, "
        f"headless, 1680 x 1000 px, on the same machine. {asked.note}".rstrip(),
        "",
        "| | |",
        "|---|---|",
        f"| from the command to its address, s ({asked.turns} servers) | "
        f"{seconds(found['start'])} |",
        "| from the address to counts and histogram, the server having just started, s | "
        f"{seconds(found['open'])} |",
        f"| the same page opened again, s | {seconds(found['again'])} |",
        "| a step of the threshold with all counts and charts, to the next frame, ms "
        f"(median / 95 % / worst of {len(found['drag'])}) | {quantiles(found['drag'])} |",
        "| between two frames while the gallery scrolls for 5 s, ms "
        f"(median / 95 % / worst of {len(found['frames'])}) | {quantiles(found['frames'])} |",
        "| resident set of the server when opened, and its peak, MiB | "
        f"{found['opened'][0]:.0f}, {found['opened'][1]:.0f} |",
        "| the same after scrolling, MiB | "
        f"{found['scrolled'][0]:.0f}, {found['scrolled'][1]:.0f} |",
    ]
    write_table("view", "A large job in the view", lines)


if __name__ == "__main__":
    main()
