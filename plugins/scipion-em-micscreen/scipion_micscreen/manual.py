# SPDX-License-Identifier: GPL-3.0-or-later
"""Another threshold for a run that is over: a new set from stored scores, without the network."""

import os

import numpy as np
from pyworkflow.object import Set

from .fields import Fields
from .parts import inDigits, iterScores, micIdOf


def manualName(threshold: float) -> str:
    """Return the name of the output for a threshold that was chosen by hand."""
    return "outputCoordinates_Manual_" + inDigits(threshold)


def goodnessOf(protocol) -> np.ndarray:
    """Return the goodness of all scored coordinates of a run, shape (n,), float32."""
    found = [scores.goodness for scores in iterScores(protocol.scoresFolder())]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def thresholded(protocol, threshold: float, path: str):
    """Write the coordinates with at least a goodness into a new set, with their scores.

    They are taken from the input, so that the threshold may be lower than that of the run.

    Parameters
    ----------
    protocol
        Whose scores are used.
    threshold
        0 to 1.
    path
        Of the set's file; replaced when it is there.
    """
    if os.path.exists(path):
        os.remove(path)
    fields = Fields(protocol)
    fields.look()
    made = protocol.newCoordinates(path)
    for scores in iterScores(protocol.scoresFolder()):
        kept = scores.kept(threshold)
        wanted = dict(zip(scores.ids[kept].tolist(), scores.goodness[kept].tolist()))
        for coordinate in fields.originals(micIdOf(scores.name), wanted):
            made.append(coordinate)
    made.setStreamState(Set.STREAM_CLOSED)
    made.write()
    return made


def registerManual(protocol, threshold: float):
    """Add the set of a threshold to the outputs of a run, and return its name.

    The same threshold once more changes nothing.
    """
    name = manualName(threshold)
    if getattr(protocol, name, None) is None:
        path = protocol._getPath("coordinates_manual_%s.sqlite" % name[-3:])
        made = thresholded(protocol, threshold, path)
        protocol._defineOutputs(**{name: made})
        protocol._defineSourceRelation(protocol.inputCoordinates, made)
        protocol._store()
        made.close()
    return name
