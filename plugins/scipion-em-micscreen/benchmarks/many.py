# SPDX-License-Identifier: GPL-3.0-or-later
"""Time and memory of the protocol on many coordinates, beside `micscreen screen` on the same files.

    sh scripts/scipion benchmarks/many.py -s

It is a test for pytest only to get its Scipion; nothing is asserted about time.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from conftest import PROGRAM, project, simulated  # noqa: F401
from feeder import BOX, SAMPLING, Feeder, places
from helpers import log_of, protocol_of, rows

MICROGRAPHS = int(os.environ.get("MICROGRAPHS", "500"))
EACH = 200


def resident(process):
    """Return the resident set of a process, MiB; 0 when it has gone."""
    try:
        return process.memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def largest(processes):
    """Return the resident set of processes together, MiB."""
    return sum(map(resident, processes))


def test_many(project, simulated, tmp_path):  # noqa: F811
    """Measure, and write the table."""
    pictures = sorted((simulated / "images").glob("*.mrc"))
    feeder, picks = Feeder(project), tmp_path / "picks"
    picks.mkdir()
    paths = []
    for number in range(MICROGRAPHS):
        path = tmp_path / ("m_%05d.mrc" % number)
        path.symlink_to(pictures[number % len(pictures)])
        drawn = places(number, count=EACH)
        feeder.add(path, drawn)
        rest = "".join("%d,%d\n" % place for place in drawn)
        (picks / (path.stem + ".csv")).write_text("x,y\n" + rest)
        paths.append(str(path))
    feeder.close()
    command = command_alone(paths, picks, tmp_path / "job")
    asked = protocol_of(project, feeder, threshold=0.8, streamingBatchSize=16)
    whole, own, predictor = watched(project, asked)
    assert asked.isFinished(), log_of(asked)
    events = Path(asked._getExtraPath("predictor", "events.jsonl")).read_text()
    lines = [
        "# Many coordinates in Scipion",
        "`sh scripts/scipion benchmarks/many.py -s` on %s, %d cores, Python %s"
        % (cpu(), os.cpu_count(), platform.python_version()),
        "",
        "%s coordinates on %d micrographs of 1024 x 1024 px (links to %d files), batches of "
        "16, one thread." % (format(MICROGRAPHS * EACH, ","), MICROGRAPHS, len(pictures)),
        "",
        "| what | result |",
        "|---|---|",
        "| `micscreen screen` on the same files | %.0f s |" % command,
        "| the protocol, from launch to closed output | %.0f s |" % whole,
        "| networks loaded | %d |" % events.count("opening the network"),
        "| coordinates in the output | %s |" % format(len(rows(asked.getOutput())), ","),
        "| largest resident set: Scipion's process | %.0f MiB |" % own,
        "| largest resident set: micscreen | %.0f MiB |" % predictor,
    ]
    (Path(__file__).parent / "many.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def command_alone(paths, picks, job):
    """Return how long `micscreen screen` takes for the same, s."""
    options = ["-b", str(BOX), "--pixel-size", str(SAMPLING), "-t", "0.8", "--thumbnails", "50"]
    options += ["-c", str(picks), "-o", str(job), "--device", "cpu", "--threads", "1", "-q"]
    began = time.monotonic()
    subprocess.run([PROGRAM, "screen", *paths, *options], check=True)
    return time.monotonic() - began


def watched(home, asked):
    """Launch a protocol; return its time in s, and what it and micscreen held at most, MiB."""
    began, own, predictor = time.monotonic(), 0.0, 0.0
    home.launchProtocol(asked, wait=False)
    while not (asked.isFinished() or asked.isFailed()):
        time.sleep(0.5)
        home._updateProtocol(asked)
        if asked.getPid():
            try:
                children = psutil.Process(asked.getPid()).children(recursive=True)
                children.append(psutil.Process(asked.getPid()))
                screening = [one for one in children if "micscreen" in " ".join(one.cmdline()[1:2])]
            except psutil.Error:
                continue
            own = max(own, largest([one for one in children if one not in screening]))
            predictor = max(predictor, largest(screening))
    return time.monotonic() - began, own, predictor


def cpu():
    """Return the name of this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.split(":", 1)[1].split()[:2])
    return platform.machine()
