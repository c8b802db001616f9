# SPDX-License-Identifier: GPL-3.0-or-later
"""What has come in since the last look, in sets that may still grow."""

import os
from dataclasses import dataclass
from sqlite3 import OperationalError
from typing import Dict, Iterable, Iterator, List, Optional

from pwem.objects import Coordinate, Micrograph
from pyworkflow.constants import PROJECT_DBNAME
from pyworkflow.object import Set
from pyworkflow.protocol import Protocol
from pyworkflow.protocol.protocol import getProtocolFromDb

from .parts import partner


def reopened(aSet, pointer=None):
    """Return a set as it is on disk now: another process may have added to it.

    A set into which nothing was ever put has no tables, and its file does not say whether more is
    to come; then the protocol that `pointer` names is asked.
    """
    fresh = type(aSet)(filename=aSet.getFileName())
    try:
        fresh.loadAllProperties()
    except OperationalError as error:
        if "no such table" not in str(error):
            raise
        fresh.setStreamState(_stateOfEmpty(aSet, pointer))
    return fresh


def _stateOfEmpty(aSet, pointer):
    """Return the stream state of a set without tables."""
    parent = pointer.getObjValue() if pointer is not None else None
    if not isinstance(parent, Protocol):
        return aSet.getStreamState()
    # The run's own database, or the project's for what was never launched; cwd is the project.
    path = parent.getDbPath() if os.path.exists(parent.getDbPath()) else PROJECT_DBNAME
    updated = getProtocolFromDb(os.getcwd(), path, parent.getObjId())
    output = getattr(updated, pointer.getExtended(), aSet)
    state = output.getStreamState() if updated.isActive() else Set.STREAM_CLOSED
    updated.getProject().closeMapper()
    updated.closeMappers()
    return state


@dataclass
class Fresh:
    """Coordinates of one micrograph that were not seen before."""

    micId: int
    micName: str
    coordinates: List[Coordinate]


class GrowingCoordinates:
    """A set of coordinates of which every look returns what is new."""

    def __init__(self, seen: Optional[Iterable[int]] = None) -> None:
        self.seen = set(seen or ())
        self._last = 0
        self.closed = False

    def look(self, pointer) -> List[Fresh]:
        """Return what is new, by micrograph, in the order of ids."""
        current = reopened(pointer.get(), pointer)
        try:
            self.closed = current.isStreamClosed()
            # Ids usually grow; when some were seen too early or too late, all are looked at.
            found = self._new(current, "id > %d" % self._last)
            if len(self.seen) != current.getSize():
                more = self._new(current, "id <= %d" % self._last)
                found = {key: more.get(key, []) + found.get(key, []) for key in [*more, *found]}
        finally:
            current.close()
        return [
            Fresh(micId, coordinates[0].getMicName() or "", coordinates)
            for micId, coordinates in sorted(found.items())
        ]

    def _new(self, current, where: str) -> Dict[int, List[Coordinate]]:
        found: Dict[int, List[Coordinate]] = {}
        for coordinate in current.iterItems(where=where):
            key = coordinate.getObjId()
            self._last = max(self._last, key)
            if key not in self.seen:
                self.seen.add(key)
                found.setdefault(coordinate.getMicId(), []).append(coordinate.clone())
        return found


class GrowingMicrographs:
    """A set of micrographs that can be asked for one, by name or id."""

    def __init__(self) -> None:
        self.closed = False
        self.byName: Dict[str, int] = {}
        self._files: Dict[int, str] = {}
        self._names: Dict[int, str] = {}
        self._last = 0

    def look(self, pointer) -> None:
        """Take in what is new."""
        current = reopened(pointer.get(), pointer)
        try:
            self.closed = current.isStreamClosed()
            for micrograph in self._new(current):
                key = micrograph.getObjId()
                self._last = max(self._last, key)
                index, path = micrograph.getLocation()
                self._files[key] = "%d@%s" % (index, path) if index else path
                self._names[key] = micrograph.getMicName() or os.path.basename(path)
                self.byName[self._names[key]] = key
        finally:
            current.close()

    def _new(self, current) -> Iterator[Micrograph]:
        yield from current.iterItems(where="id > %d" % self._last)
        if len(self._files) != current.getSize():
            for micrograph in current.iterItems(where="id <= %d" % self._last):
                if micrograph.getObjId() not in self._files:
                    yield micrograph

    def path(self, micId: int) -> str:
        """Return a micrograph's path; for one in a stack, with number and @ before it."""
        return self._files[micId]

    def name(self, micId: int) -> str:
        """Return a micrograph's micName."""
        return self._names[micId]

    def __contains__(self, micId: int) -> bool:
        return micId in self._files

    def partnerOf(self, micId: int, micName: str, anyName: bool, complete: bool) -> Optional[int]:
        """Return the id of the micrograph of the same field of view; None while there is none."""
        return partner(micId, micName, self.byName, self._files, anyName, complete)
