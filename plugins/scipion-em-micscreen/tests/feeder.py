# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets in a project, whole or growing, as imports and pickers leave them."""

import random
from pathlib import Path

from pwem.objects import Acquisition, Coordinate, Micrograph, SetOfCoordinates, SetOfMicrographs
from pwem.protocols import EMProtocol
from pyworkflow.object import Set

BOX = 64
SAMPLING = 2.0
PICKS = 60


class ProtFeeder(EMProtocol):
    """Stands for imports and pickers: holds sets that a test fills."""

    _label = "feeder"

    def _defineParams(self, form):
        form.addSection("Input")

    def _insertAllSteps(self):
        pass


def places(number, side=1024, count=PICKS):
    """Return whole-number places (x, y) for the micrograph of a number, some near its border."""
    drawn = random.Random(number)
    return [(drawn.randrange(0, side), drawn.randrange(0, side)) for _ in range(count)]


class Feeder:
    """A protocol in a project with `outputMicrographs` and `outputCoordinates`.

    Parameters
    ----------
    project
        Of Scipion.
    sampling
        Å/px.
    coordinates
        Whether there are coordinates.
    """

    def __init__(self, project, sampling=SAMPLING, coordinates=True):
        self.project = project
        self.protocol = project.newProtocol(ProtFeeder)
        project.saveProtocol(self.protocol)
        self.protocol.makePathsAndClean()
        self.micrographs = SetOfMicrographs(filename=self.protocol._getPath("micrographs.sqlite"))
        self.micrographs.setSamplingRate(sampling)
        self.micrographs.setAcquisition(Acquisition(voltage=300, magnification=50000))
        self.micrographs.setStreamState(Set.STREAM_OPEN)
        self.coordinates = None
        if coordinates:
            path = self.protocol._getPath("coordinates.sqlite")
            self.coordinates = SetOfCoordinates(filename=path)
            self.coordinates.setBoxSize(BOX)
            self.coordinates.setMicrographs(pointer(self.protocol, "outputMicrographs"))
            self.coordinates.setStreamState(Set.STREAM_OPEN)
        self.names = {}

    def add(self, path, picks=None, micId=None, name=None):
        """Add a micrograph, with picks (x, y) if there are any; write both sets."""
        micrograph = Micrograph(location=str(path))
        micrograph.setMicName(name or Path(path).name)
        micrograph.setSamplingRate(self.micrographs.getSamplingRate())
        micrograph.setAcquisition(self.micrographs.getAcquisition())
        if micId is not None:
            micrograph.setObjId(micId)
        self.micrographs.append(micrograph)
        self.names[micrograph.getObjId()] = micrograph.getMicName()
        if picks is not None:
            self.pick(micrograph, picks)
        self.write()
        return micrograph

    def pick(self, micrograph, picks):
        """Add coordinates to a micrograph."""
        for x, y in picks:
            coordinate = Coordinate(x=x, y=y)
            coordinate.setMicrograph(micrograph)
            self.coordinates.append(coordinate)

    def write(self, state=Set.STREAM_OPEN):
        """Commit both sets."""
        with_coordinates = [] if self.coordinates is None else [self.coordinates]
        for one in [self.micrographs, *with_coordinates]:
            one.setStreamState(state)
            one.write()
        if not self.protocol.hasAttribute("outputMicrographs"):
            self.protocol._defineOutputs(outputMicrographs=self.micrographs)
            if self.coordinates is not None:
                self.protocol._defineOutputs(outputCoordinates=self.coordinates)
        for one in [self.micrographs, *with_coordinates]:
            self.protocol._store(one)

    def close(self):
        """Say that nothing more comes."""
        self.write(Set.STREAM_CLOSED)
        self.protocol.setStatus("finished")
        self.protocol._store(self.protocol)
        self.micrographs.close()
        if self.coordinates is not None:
            self.coordinates.close()


def pointer(protocol, output):
    """Return a pointer to an output by way of its protocol."""
    from pyworkflow.object import Pointer

    made = Pointer(protocol)
    made.setExtended(output)
    return made
