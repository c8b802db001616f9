# SPDX-License-Identifier: GPL-3.0-or-later
"""Launching the protocol as Scipion does, and reading its output back from disk."""

import time

from feeder import Feeder, places, pointer
from pwem.objects import SetOfCoordinates
from pyworkflow.protocol import executor

from scipion_micscreen.protocols import MicscreenProtDeepMicrographScreen

SCORES = "_goodRegionScore", "_xmipp_goodRegionScore"


def images(simulated, count=3):
    """Return the paths of the first simulated micrographs."""
    return sorted((simulated / "images").glob("*.mrc"))[:count]


def fed(project, simulated, count=3, picks=places):
    """Return a feeder with the first simulated micrographs, closed."""
    feeder = Feeder(project)
    for number, path in enumerate(images(simulated, count)):
        feeder.add(path, picks(number))
    feeder.close()
    return feeder


def protocol_of(project, feeder, others=None, **given):
    """Return the protocol with the feeder's coordinates, and other micrographs, as input."""
    given.setdefault("useGpu", False)
    given.setdefault("streamingSleepOnWait", 1)
    made = project.newProtocol(MicscreenProtDeepMicrographScreen, **given)
    made.inputCoordinates.copy(pointer(feeder.protocol, "outputCoordinates"))
    if others is not None:
        made.micsSource.set(1)
        made.inputMicrographs.copy(pointer(others.protocol, "outputMicrographs"))
    return made


def launched(project, protocol, timeout=120):
    """Run a protocol to its end, and return it as the project has it then."""
    project.launchProtocol(protocol, wait=False)
    return ended(project, protocol, timeout)


class Quick:
    """The module `time` for Scipion's executor, with naps that are short."""

    def __getattr__(self, name):
        return getattr(time, name)

    @staticmethod
    def sleep(seconds):
        time.sleep(min(seconds, 0.05))


def ran(project, protocol, monkeypatch):
    """Run a protocol to its end in this process, and return it as the project has it then."""
    monkeypatch.setattr(executor, "time", Quick())
    project.saveProtocol(protocol)
    protocol.setHostConfig(project.getHostConfig("localhost"))
    protocol.makePathsAndClean()
    threads = protocol.numberOfThreads.get() - 1
    gpus = protocol.getGpuList() if protocol.usesGpu() else []
    steps = executor.ThreadStepExecutor(protocol.getHostConfig(), threads, gpuList=gpus)
    protocol.setStepsExecutor(steps)
    protocol.run()
    return protocol


def until(project, protocol, true, timeout=120):
    """Wait until something is true of a protocol as it is on disk."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        project._updateProtocol(protocol)
        if true(protocol):
            return protocol
        time.sleep(0.3)
    raise AssertionError("not within %d s; the log ends: %s" % (timeout, log_of(protocol)))


def ended(project, protocol, timeout=120):
    """Wait for the end of a protocol."""
    return until(
        project, protocol, lambda p: p.isFinished() or p.isFailed() or p.isAborted(), timeout
    )


def log_of(protocol):
    """Return the end of what a protocol wrote."""
    text = ""
    for path in protocol.getLogPaths()[:2]:
        with open(path) as handle:
            text += handle.read()[-3000:]
    return text


def rows(output):
    """Return id -> (x, y, micId, micName, score, Xmipp's score) of a set as it is on disk."""
    fresh = SetOfCoordinates(filename=output.getFileName())
    found = {}
    for one in fresh.iterItems():
        scores = [getattr(one, name).get() for name in SCORES]
        found[one.getObjId()] = (*one.getPosition(), one.getMicId(), one.getMicName(), *scores)
    fresh.close()
    return found
