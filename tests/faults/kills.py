"""Kill a run at random moments, continue it, and compare with a run that nothing disturbed.

``python tests/faults/kills.py --kills 100`` writes `kills.md` beside this file; the test
`test_kills.py` does the same with fewer kills.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from micscreen.run.engine import ThreadEngine  # noqa: E402
from micscreen.run.pipeline import Event  # noqa: E402
from micscreen.run.settings import OutputSettings  # noqa: E402
from micscreen.run.store import Store  # noqa: E402
from test_pipeline import asked, data_set, do, outputs, stored  # noqa: E402

MICROGRAPHS = 24
WANTED = OutputSettings(thumbnails=4, save_masks=True)
MOMENTS = ("planning and opening", "screening and committing", "writing sets and tables")


def run(folder: Path, moment: mmap.mmap) -> int:
    """Do the whole job; `moment` says in which of `MOMENTS` it is."""

    def tell(event: Event) -> None:
        if event.kind == "start":
            moment[0] = 1
        elif event.kind == "step" and event.text == "writing the picks":
            moment[0] = 2

    return do(asked(folder, outputs=WANTED), ThreadEngine(2), tell).exit_code


def start(folder: Path, moment: mmap.mmap) -> int:
    """Start the job in a process of its own, which has everything loaded; return its number."""
    moment[0] = 0
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = run(folder, moment)
    finally:
        os._exit(code)


def digests(folder: Path) -> dict[str, str]:
    """Return what tells whether inputs are as they were: content and time of each file."""
    return {
        str(path): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for part in ("mics", "picks")
        for path in sorted((folder / part).rglob("*"))
    }


def differences(folder: Path, calm: tuple[dict[str, bytes], list[object]]) -> list[str]:
    """Return in what a finished job differs from the undisturbed one; nothing, if all is well."""
    files, rows = calm
    found = outputs(folder / "job")
    wrong = sorted(files.keys() ^ found.keys())
    wrong += [name for name in files.keys() & found.keys() if files[name] != found[name]]
    if stored(folder / "job") != rows:
        wrong.append("screen.sqlite")
    with Store(folder / "job") as store:
        names = Counter(row.name for row in store.micrographs() if row.status == "done")
    if names != Counter(f"mic_{number:03d}" for number in range(MICROGRAPHS)):
        wrong.append("micrographs that are not there exactly once")
    return wrong


def kill_often(folder: Path, kills: int, seed: int) -> tuple[Counter[str], int, list[str]]:
    """Kill so many runs, each job continued to its end; return moments, jobs and differences."""
    rng = random.Random(seed)
    data_set(folder, MICROGRAPHS, picks=6, side=96)
    before, moment = digests(folder), mmap.mmap(-1, 1)
    begun = time.monotonic()
    assert run(folder, moment) == 0
    lasts = time.monotonic() - begun
    calm = (outputs(folder / "job"), stored(folder / "job"))
    moments: Counter[str] = Counter()
    jobs, wrong = 0, []
    shutil.rmtree(folder / "job")
    while True:
        child = start(folder, moment)
        if moments.total() < kills:
            time.sleep(rng.uniform(0, lasts))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            moments[MOMENTS[moment[0]]] += 1
            continue
        if os.WEXITSTATUS(status) != 0:
            return moments, jobs, [*wrong, f"a run ended with {os.WEXITSTATUS(status)}"]
        jobs += 1
        wrong += differences(folder, calm)
        if digests(folder) != before:
            wrong.append("inputs were touched")
        if moments.total() >= kills:
            return moments, jobs, wrong
        shutil.rmtree(folder / "job")


def main() -> None:
    """Kill, and write what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        moments, jobs, wrong = kill_often(Path(folder), given.kills, given.seed)
    lines = [
        "# Killed at random moments",
        f"`python tests/faults/kills.py --kills {given.kills} --seed {given.seed}`",
        "",
        f"SIGKILL at a moment that is uniform over the length of an undisturbed run; {MICROGRAPHS} "
        "micrographs, masks and thumbnails on, two threads. Each job was continued until it ended, "
        "then compared in every file and score, and the inputs in content and time.",
        "",
        "| killed while | times |",
        "|---|---|",
        *(f"| {name} | {moments[name]} |" for name in MOMENTS),
        "",
        f"{moments.total()} kills over {jobs} jobs; differences: {len(wrong)}"
        + (f" ({', '.join(wrong[:10])})." if wrong else "."),
        "",
    ]
    (HERE / "kills.md").write_text("\n".join(lines))
    print("\n".join(lines))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
