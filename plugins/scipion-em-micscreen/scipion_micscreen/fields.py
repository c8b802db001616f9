# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields of view: coordinates, the micrograph they were picked on, and the one that is screened."""

from typing import Dict, Iterator, Optional, Tuple

from pwem.objects import Coordinate
from pyworkflow.object import Float

from .constants import OTHER, SCORE, XMIPP_SCORE
from .inputs import GrowingMicrographs, reopened


class Fields:
    """What belongs together in the inputs of a protocol.

    Parameters
    ----------
    protocol
        A `MicscreenProtDeepMicrographScreen`.
    """

    def __init__(self, protocol) -> None:
        self._protocol = protocol
        self._other = protocol.micsSource.get() == OTHER
        self._anyName = False
        self.micrographs, self.others = GrowingMicrographs(), GrowingMicrographs()

    def look(self) -> None:
        """Take in micrographs that are new."""
        self.micrographs.look(self._protocol.getCoords().getMicrographs(asPointer=True))
        if self._other:
            self.others.look(self._protocol.inputMicrographs)
            if not self._anyName:
                names = self.others.byName.keys()
                self._anyName = not names.isdisjoint(self.micrographs.byName)

    def screened(
        self, micId: int, micName: Optional[str], closed: bool
    ) -> Optional[Tuple[str, str]]:
        """Return name and path of the micrograph that is screened; None while there is none.

        Parameters
        ----------
        micId, micName
            Of the micrograph that was picked; its set may know the name better.
        closed
            Whether the coordinates are complete.
        """
        if not self._other:
            if micId not in self.micrographs:
                return None
            return self.micrographs.name(micId), self.micrographs.path(micId)
        found = self._partnerOf(micId, micName, closed)
        return None if found is None else (self.others.name(found), self.others.path(found))

    def originals(self, micId: int, scores: Dict[int, float]) -> Iterator[Coordinate]:
        """Yield clones of a micrograph's input coordinates, on the scale of the output.

        Parameters
        ----------
        micId
            Of the micrograph that was picked.
        scores
            Goodness by id of coordinate, of those that are wanted; every clone carries its own.
        """
        if not scores:
            return
        other = self._partnerOf(micId, None, True) if self._protocol.scalesOutput() else None
        current = reopened(self._protocol.getCoords())
        # Ids of a micrograph usually follow each other; the primary key finds them at once.
        where = "id >= %d AND id <= %d AND _micId = %d" % (min(scores), max(scores), micId)
        try:
            for coordinate in current.iterItems(where=where):
                goodness = scores.get(coordinate.getObjId())
                if goodness is None:
                    continue
                clone = coordinate.clone()
                if other is not None:
                    self._moveTo(clone, other)
                setattr(clone, SCORE, Float(goodness))
                setattr(clone, XMIPP_SCORE, Float(goodness))
                yield clone
        finally:
            current.close()

    def _partnerOf(self, micId: int, micName: Optional[str], closed: bool) -> Optional[int]:
        """Return the id of the other micrograph of the same field of view."""
        if micId in self.micrographs:
            micName = self.micrographs.name(micId)
        complete = closed and self.others.closed
        return self.others.partnerOf(micId, micName or "", self._anyName, complete)

    def _moveTo(self, coordinate: Coordinate, otherId: int) -> None:
        """Bring a coordinate to the other micrograph, to the nearest pixel of it."""
        scale = self._protocol.getBoxScale()
        coordinate.setPosition(
            round((coordinate.getX() + 0.5) * scale - 0.5),
            round((coordinate.getY() + 0.5) * scale - 0.5),
        )
        coordinate.setMicId(otherId)
        coordinate.setMicName(self.others.name(otherId))
