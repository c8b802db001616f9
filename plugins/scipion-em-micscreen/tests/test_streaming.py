# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets that grow while the protocol runs, and runs that are stopped in the middle."""

import signal
from pathlib import Path

import mrcfile
import numpy as np
import psutil
from feeder import PICKS, Feeder, places
from helpers import ended, images, launched, log_of, protocol_of, rows, until
from pyworkflow.protocol import MODE_RESUME


def children_of(protocol):
    """Return the processes of a protocol, the micscreen below it among them."""
    found = psutil.Process(protocol.getPid())
    return [found, *found.children(recursive=True)]


def events_of(protocol):
    """Return what micscreen told, as text."""
    return Path(protocol._getExtraPath("predictor", "events.jsonl")).read_text()


def test_growing_input(project, simulated):
    """Partial outputs can be used while the input is open, coordinates that come later for the same
    micrograph are screened too, the network is loaded once, and the output is closed in the end."""
    feeder = Feeder(project)
    first = feeder.add(images(simulated)[0], places(0))
    protocol = protocol_of(project, feeder)
    project.launchProtocol(protocol, wait=False)
    half = until(project, protocol, lambda p: p.getOutput() and len(rows(p.getOutput())) == PICKS)
    assert half.getOutput().isStreamOpen()
    feeder.add(images(simulated)[1], places(1))
    until(project, protocol, lambda p: len(rows(p.getOutput())) == 2 * PICKS)
    feeder.pick(first, places(7, count=5))
    feeder.add(images(simulated)[2], places(2))
    feeder.close()
    done = ended(project, protocol)
    assert done.isFinished(), log_of(done)
    found = rows(done.outputCoordinates_Full)
    expected = [(n + 1, place) for n in range(2) for place in places(n)]
    expected += [(1, place) for place in places(7, count=5)] + [(3, place) for place in places(2)]
    assert [(row[2], row[:2]) for row in found.values()] == expected
    assert all(row[4] == row[5] is not None for row in found.values())
    assert done.outputCoordinates_Full.isStreamClosed()
    assert events_of(done).count("opening the network") == 1


def test_first_all_rejected_then_some(project, simulated):
    """An output that was stored empty, because all of the first micrograph's coordinates were
    rejected, takes those of the next."""
    feeder = Feeder(project)
    feeder.add(images(simulated)[0], [(-500, -500)])
    protocol = protocol_of(project, feeder, threshold=0.1)
    project.launchProtocol(protocol, wait=False)
    until(project, protocol, lambda p: p.getOutput() is not None)
    feeder.add(images(simulated)[2], places(2))
    feeder.close()
    done = ended(project, protocol)
    assert done.isFinished(), log_of(done)
    assert len(rows(done.outputCoordinates_Auto_010)) > PICKS / 2


def test_an_open_set_that_stays_empty(project, simulated):
    """A picker that ends without a single coordinate ends the protocol too."""
    feeder = Feeder(project)
    feeder.add(images(simulated)[0], [])
    feeder.protocol.setStatus("running")
    feeder.protocol._store(feeder.protocol)
    protocol = protocol_of(project, feeder)
    project.launchProtocol(protocol, wait=False)
    until(project, protocol, lambda p: p.isActive())
    feeder.close()
    assert ended(project, protocol).isFinished(), log_of(protocol)


def test_stop_and_continue(project, simulated):
    """Stopped in the middle, with the input still growing, and continued: every coordinate is there
    once, and what was scored is not scored again."""
    feeder = Feeder(project)
    feeder.add(images(simulated)[0], places(0))
    protocol = protocol_of(project, feeder)
    project.launchProtocol(protocol, wait=False)
    until(project, protocol, lambda p: p.getOutput() and len(rows(p.getOutput())) == PICKS)
    project.stopProtocol(protocol)
    until(project, protocol, lambda p: p.isAborted())
    feeder.add(images(simulated)[1], places(1))
    feeder.add(images(simulated)[2], places(2))
    feeder.close()
    protocol.runMode.set(MODE_RESUME)
    done = launched(project, protocol)
    assert done.isFinished(), log_of(done)
    found = rows(done.outputCoordinates_Full)
    assert [row[:2] for row in found.values()] == places(0) + places(1) + places(2)
    assert "%d coordinates on 3 micrographs" % (3 * PICKS) in done._summary()[0]
    assert events_of(done).count('"event": "micrograph"') == 3


def test_killed_and_continued(project, simulated):
    """Scipion's process is killed outright and its micscreen lives on: continuing waits for
    that one to finish, and loses nothing."""
    feeder = Feeder(project)
    feeder.add(images(simulated)[0], places(0))
    protocol = protocol_of(project, feeder)
    project.launchProtocol(protocol, wait=False)
    until(project, protocol, lambda p: p.getOutput() and len(rows(p.getOutput())) == PICKS)
    processes = children_of(protocol)
    orphan = [one for one in processes if "screen" in one.cmdline()][-1]
    for one in processes:
        if "micscreen" not in " ".join(one.cmdline()[:2]):
            one.send_signal(signal.SIGKILL)
    assert orphan.is_running()
    feeder.add(images(simulated)[1], places(1))
    feeder.close()
    protocol.setAborted()
    project._storeProtocol(protocol)
    protocol.runMode.set(MODE_RESUME)
    done = launched(project, protocol)
    assert done.isFinished(), log_of(done)
    assert [row[:2] for row in rows(done.outputCoordinates_Full).values()] == places(0) + places(1)
    assert not orphan.is_running()


def test_what_failed_is_tried_again(project, simulated, tmp_path):
    """A micrograph that could not be used fails alone; continued after it was mended, its
    coordinates are added, once, and those of the other are not screened again."""
    mended = tmp_path / "mended.mrc"
    with mrcfile.new(mended) as constant:
        constant.set_data(np.ones((1024, 1024), np.float32))
    feeder = Feeder(project)
    feeder.add(images(simulated)[0], places(0))
    feeder.add(mended, places(1))
    feeder.close()
    done = launched(project, protocol_of(project, feeder))
    assert done.isFinished(), log_of(done)
    assert len(rows(done.outputCoordinates_Full)) == PICKS
    assert "mended.mrc: " in "\n".join(done._summary())
    mended.write_bytes(images(simulated)[1].read_bytes())
    done.runMode.set(MODE_RESUME)
    again = launched(project, done)
    assert again.isFinished(), log_of(again)
    found = rows(again.outputCoordinates_Full)
    assert [row[:2] for row in found.values()] == places(0) + places(1)
    assert "failed" not in "\n".join(again._summary())
    assert events_of(again).count('"name": "mic_000001_1_') == 1
