"""Which coordinates belong to which micrograph: pairing by name, never by guess.

Programs change names on the way: they add what they did (`_DW`, `_patch_aligned`, `_autopick`), put
numbers in front, add extensions. Names are therefore compared in steps, from the very text to what
is left without additions. A step pairs only what is unique on both sides; names that occur in
several folders are told apart by the folders that they share. What stays ambiguous is an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from micscreen.errors import MatchError

SHOWN: Final = 10

Key = TypeVar("Key", bound=Hashable)

_EXTENSION: Final = re.compile(
    r"\.(?:mrcs?|map|rec|st|tiff?|png|jpe?g|eer|dm[34]|hdf5?|spi|gz|bz2|xz|zst"
    r"|star|box|cbox|json|pos|txt|csv|tsv|cs|csg|coords?|npy)$",
    re.IGNORECASE,
)
_PICKER: Final = re.compile(
    r"[_-](?:autopick(?:ed|s)?|manualpick(?:ed|s)?|extract(?:ed)?|topaz[a-z]*|cryolo|automatch"
    r"|gautomatch|boxnet[a-z0-9_]*|info|box(?:es)?|coord(?:s|inates?)?|pick(?:s|ed)?|particles?|pos)$",
    re.IGNORECASE,
)
_PROCESSED: Final = re.compile(
    r"[_-](?:dw|dws|dose[_-]?weighted|(?:patch|rigid|full)[_-]aligned|aligned(?:[_-]mic)?|denoised"
    r"|motion[_-]?corrected)$",
    re.IGNORECASE,
)
_LONG_NUMBER: Final = re.compile(r"^\d{15,}_(?=.)")
_NUMBER: Final = re.compile(r"^\d{6,}_(?=.)")


@dataclass(frozen=True, slots=True)
class Matching:
    """What belongs together.

    Attributes
    ----------
    pairs
        (index of the micrograph, index of the coordinates), by micrograph.
    micrographs_alone, coordinates_alone
        Indices for which the other side has nothing.
    """

    pairs: tuple[tuple[int, int], ...]
    micrographs_alone: tuple[int, ...]
    coordinates_alone: tuple[int, ...]


def pick_stem(name: str) -> str:
    """Return what a name is without folders, extensions and all that programs add to it.

    >>> pick_stem("J7/motioncorrected/012345678901234567890_mic_01_DW_autopick.mrc.star")
    'mic_01'
    """
    return _NUMBER.sub("", _plain(name))


def match(micrographs: Sequence[str], coordinates: Sequence[str]) -> Matching:
    """Pair micrographs with coordinates by name; the order of the names makes no difference.

    Names are compared, in this order, as they are; without folders; without extensions; without
    what pickers add to the coordinates' names; without what programs add on either side and
    without numbers of 15 and more digits in front; and, on one side only, without a shorter
    number (6 digits and more, which may be a date) in front.

    Parameters
    ----------
    micrographs, coordinates
        Names or paths, as they are in files or on the disk.

    Returns
    -------
    Matching
        The pairs, and what is alone on either side.

    Raises
    ------
    MatchError
        When a name fits several on the other side; all such names of both sides are in it.
    """
    found = _Search(micrographs, coordinates)
    for mine, theirs in (
        (str, str),
        (_file_name, _file_name),
        (_stem, _stem),
        (_stem, _without_picker),
        (_plain, _plain),
        (_plain, pick_stem),
        (pick_stem, _plain),
    ):
        found.step(mine, theirs)
    if found.unclear:
        raise _ambiguous(found)
    left = set(range(len(micrographs))) - {i for i, _ in found.pairs}
    right = set(range(len(coordinates))) - {j for _, j in found.pairs}
    return Matching(tuple(sorted(found.pairs)), tuple(sorted(left)), tuple(sorted(right)))


class _Search:
    """What is paired so far, what is still open, and what cannot be told apart."""

    def __init__(self, micrographs: Sequence[str], coordinates: Sequence[str]) -> None:
        self.micrographs = micrographs
        self.coordinates = coordinates
        self.left = list(range(len(micrographs)))
        self.right = list(range(len(coordinates)))
        self.pairs: list[tuple[int, int]] = []
        self.unclear: list[tuple[list[int], list[int]]] = []

    def step(self, mine: Callable[[str], str], theirs: Callable[[str], str]) -> None:
        """Pair what has the same key on both sides and on no other name."""
        if not (self.left and self.right):
            return
        settled_left: set[int] = set()
        settled_right: set[int] = set()
        for left, right in _shared(
            ((mine(self.micrographs[i]), i) for i in self.left),
            ((theirs(self.coordinates[j]), j) for j in self.right),
        ):
            settled_left.update(left)
            settled_right.update(right)
            if len(left) == len(right) == 1:
                self.pairs.append((left[0], right[0]))
            else:
                self._by_folders(left, right)
        self.left = [i for i in self.left if i not in settled_left]
        self.right = [j for j in self.right if j not in settled_right]

    def _by_folders(self, left: list[int], right: list[int]) -> None:
        """Pair equal names by the longest tail of folders that they share.

        Names without a partner in the same folders stay alone: that no other is left is no
        reason to pair them.
        """
        folders = {i: _folders(self.micrographs[i]) for i in left}
        others = {j: _folders(self.coordinates[j]) for j in right}
        depth = max(map(len, (*folders.values(), *others.values())))
        settled = False
        while depth and folders and others:
            for some, their in _shared(
                ((path[-depth:], i) for i, path in folders.items()),
                ((path[-depth:], j) for j, path in others.items()),
            ):
                settled = True
                if len(some) == len(their) == 1:
                    self.pairs.append((some[0], their[0]))
                else:
                    self.unclear.append((some, their))
                for i in some:
                    del folders[i]
                for j in their:
                    del others[j]
            depth -= 1
        if not settled:
            self.unclear.append((left, right))


def _shared(
    left: Iterable[tuple[Key, int]], right: Iterable[tuple[Key, int]]
) -> list[tuple[list[int], list[int]]]:
    """Return the numbers on both sides for every key that both sides have."""
    mine: defaultdict[Key, list[int]] = defaultdict(list)
    theirs: defaultdict[Key, list[int]] = defaultdict(list)
    for key, i in left:
        mine[key].append(i)
    for key, j in right:
        if key in mine:
            theirs[key].append(j)
    return [(numbers, theirs[key]) for key, numbers in mine.items() if key in theirs]


def _folders(name: str) -> tuple[str, ...]:
    parts = name.replace("\\", "/").split("/")[:-1]
    return tuple(part for part in parts if part not in ("", "."))


def _file_name(name: str) -> str:
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return last if last.isascii() else unicodedata.normalize("NFC", last)


def _stem(name: str) -> str:
    return _stripped(_file_name(name), _EXTENSION)


def _without_picker(name: str) -> str:
    return _stripped(_file_name(name), _EXTENSION, _PICKER)


@lru_cache(maxsize=1 << 17)
def _plain(name: str) -> str:
    stem = _stripped(_file_name(name), _EXTENSION, _PICKER, _PROCESSED)
    return _LONG_NUMBER.sub("", stem)


def _stripped(name: str, *endings: re.Pattern[str]) -> str:
    """Take endings off a name, again and again, as long as something is left of it."""
    again = True
    while again:
        again = False
        for ending in endings:
            shorter = ending.sub("", name)
            if shorter and shorter != name:
                name, again = shorter, True
    return name


def _ambiguous(found: _Search) -> MatchError:
    left = sorted({found.micrographs[i] for some, _ in found.unclear for i in some})
    right = sorted({found.coordinates[j] for _, some in found.unclear for j in some})
    return MatchError(
        f"{len(left)} micrographs and {len(right)} coordinates have names that fit more than once\n"
        f"micrographs: {_listing(left)}\n"
        f"coordinates: {_listing(right)}",
        hint="Name fewer files, or put those of each micrograph into folders of the same names.",
    )


def _listing(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f", and {rest} more" if rest > 0 else "")
