# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs over sets that are whole, each launched as Scipion launches it: in a process of its own."""

import csv
import subprocess

import numpy as np
import pytest
from conftest import PROGRAM
from feeder import BOX, PICKS, SAMPLING, Feeder, places, pointer
from pwem.objects import SetOfCoordinates

from scipion_micscreen.protocols import MicscreenProtDeepMicrographScreen

SCORES = "_goodRegionScore", "_xmipp_goodRegionScore"


def fed(project, simulated, count=3, picks=places):
    """Return a feeder with the first simulated micrographs, closed."""
    feeder = Feeder(project)
    for number, path in enumerate(sorted((simulated / "images").glob("*.mrc"))[:count]):
        feeder.add(path, picks(number))
    feeder.close()
    return feeder


def protocol_of(project, feeder, **given):
    """Return the protocol with the feeder's coordinates as input."""
    given.setdefault("useGpu", False)
    made = project.newProtocol(MicscreenProtDeepMicrographScreen, **given)
    made.inputCoordinates.copy(pointer(feeder.protocol, "outputCoordinates"))
    return made


def launched(project, protocol, timeout=120):
    """Run a protocol to its end, and return it as the project has it then."""
    project.launchProtocol(protocol, wait=False)
    return ended(project, protocol, timeout)


def ended(project, protocol, timeout=120):
    """Wait for the end of a protocol."""
    import time

    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        project._updateProtocol(protocol)
        if protocol.isFinished() or protocol.isFailed() or protocol.isAborted():
            return protocol
        time.sleep(0.5)
    raise AssertionError("no end after %d s: %s" % (timeout, log_of(protocol)))


def log_of(protocol):
    """Return the end of what a protocol wrote."""
    return "".join(open(path).read()[-3000:] for path in protocol.getLogPaths()[:2])


def rows(output):
    """Return id -> (x, y, micId, micName, score, Xmipp's score) of a set as it is on disk."""
    fresh = SetOfCoordinates(filename=output.getFileName())
    found = {}
    for one in fresh.iterItems():
        scores = [getattr(one, name).get() for name in SCORES]
        found[one.getObjId()] = (*one.getPosition(), one.getMicId(), one.getMicName(), *scores)
    fresh.close()
    return found


def by_command(simulated, tmp_path, count=3):
    """Return the goodness that `micscreen screen` gives the same picks, in order."""
    folder = tmp_path / "command"
    (folder / "picks").mkdir(parents=True)
    paths = sorted((simulated / "images").glob("*.mrc"))[:count]
    for number, path in enumerate(paths):
        with open(folder / "picks" / (path.stem + ".csv"), "w") as handle:
            handle.write("x,y\n" + "".join("%d,%d\n" % place for place in places(number)))
    options = ["-b", str(BOX), "--pixel-size", str(SAMPLING), "-t", "-1", "--thumbnails", "0", "-q"]
    options += ["-c", str(folder / "picks"), "-o", str(folder / "job"), "--device", "cpu"]
    subprocess.run([PROGRAM, "screen", *map(str, paths), *options], check=True)
    goodness = []
    for path in paths:
        with open(folder / "job" / "picks_full" / (path.stem + ".csv"), newline="") as handle:
            goodness += [float(row["goodness"]) for row in csv.DictReader(handle)]
    return goodness


def test_static_run(project, simulated, tmp_path):
    """A finished set: every kept coordinate is the one that came in, with both scores, which are
    those of `micscreen screen`; numbers, sentence for a paper and thumbnails are there."""
    feeder = fed(project, simulated)
    done = launched(project, protocol_of(project, feeder, threshold=0.8))
    assert done.isFinished(), log_of(done)
    output = done.outputCoordinates_Auto_080
    found = rows(output)
    expected = by_command(simulated, tmp_path)
    assert len(expected) == 3 * PICKS
    kept = {key: value for key, value in enumerate(expected, 1) if np.float32(value) >= 0.8}
    assert found.keys() == kept.keys()
    assert 0 < len(kept) < len(expected)
    for key, (x, y, micId, micName, score, xmipp) in found.items():
        number = (key - 1) // PICKS
        assert (x, y) == places(number)[(key - 1) % PICKS]
        assert (micId, micName) == (number + 1, feeder.names[number + 1])
        assert score == xmipp == pytest.approx(kept[key], abs=1e-6)
    assert output.isStreamClosed()
    assert output.getBoxSize() == BOX
    assert output.getMicrographs().getSize() == 3
    text = "\n".join(done._summary())
    assert "180 coordinates on 3 micrographs" in text
    assert "%d are kept, %d rejected" % (len(kept), 180 - len(kept)) in text
    assert "cpu" in text
    assert "0.8" in done._methods()[0]
    from pathlib import Path

    assert len(list(Path(done._getExtraPath("predictor", "job", "thumbnails")).glob("*.png"))) == 3
