# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts, their scores on disk, and numbers from these; nothing here knows Scipion.

A part is coordinates of one micrograph that were there at one time. Usually a micrograph has one;
coordinates that come later for the same micrograph make another.
"""

import csv
import json
import os
import re
from dataclasses import asdict, dataclass, field
from typing import Container, Dict, Iterator, List, Optional, Tuple

import numpy as np

from .constants import BAD_CLASSES, REASONS

PART = re.compile(r"^mic_(\d+)_(\d+)_")


def inDigits(threshold: float) -> str:
    """Return a threshold in three digits, rounded, for names of outputs: 0.9 is 090."""
    return "%03d" % int(threshold * 100 + 0.5)


def partName(micId: int, number: int, micName: str) -> str:
    """Return a file name without extension, unique by the first two."""
    stem = os.path.splitext(os.path.basename(micName))[0]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:80]
    return "mic_%06d_%d_%s" % (micId, number, readable)


def micIdOf(name: str) -> int:
    """Return the micrograph's id that is in a part's name."""
    found = PART.match(name)
    if not found:
        raise ValueError("%s is not the name of a part" % name)
    return int(found.group(1))


@dataclass
class Scores:
    """What micscreen said of one part; kept as one file.

    Attributes
    ----------
    name
        Of the part.
    ids
        Shape (n,), int64: ids of the coordinates.
    goodness
        Shape (n,), float32, 0 to 1.
    classes
        Shape (n,), uint8: index into BAD_CLASSES of what speaks against a coordinate.
    reasons
        Shape (n,), uint8: index into REASONS.
    about
        status (done or failed), reason, suspect, warnings, contrast, micrograph (its name).
    """

    name: str
    ids: np.ndarray
    goodness: np.ndarray
    classes: np.ndarray
    reasons: np.ndarray
    about: dict = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.about.get("status") != "done"

    def kept(self, threshold: float) -> np.ndarray:
        """Return which coordinates stay, shape (n,), bool: goodness >= threshold; all for -1."""
        if threshold < 0:
            return np.ones(len(self.ids), bool)
        return self.goodness >= np.float32(threshold)


def failure(name: str, reason: str) -> Scores:
    """Return what stands for a part that could not be screened."""
    none = np.zeros(0, np.uint8)
    about = {"status": "failed", "reason": reason}
    return Scores(name, none.astype(np.int64), none.astype(np.float32), none, none, about)


def writeScores(folder: str, scores: Scores) -> str:
    """Write a part's file, whole or not at all, and return its path.

    The first line is a comment with a JSON object, the others are csv.
    """
    path = os.path.join(folder, scores.name + ".csv")
    aside = path + ".part"
    with open(aside, "w", newline="") as handle:
        handle.write("# " + json.dumps(scores.about, sort_keys=True) + "\n")
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(["coordinate", "goodness", "class", "reason"])
        rows = zip(
            scores.ids.tolist(),
            (str(value) for value in scores.goodness),  # the shortest text that is this float32
            (BAD_CLASSES[i] for i in scores.classes.tolist()),
            (REASONS[i] for i in scores.reasons.tolist()),
        )
        table.writerows(rows)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(aside, path)
    return path


def readScores(path: str) -> Scores:
    """Read a part's file.

    Raises
    ------
    ValueError
        When it is not one.
    """
    try:
        with open(path, newline="") as handle:
            about = json.loads(handle.readline()[2:])
            rows = list(csv.DictReader(handle))
        return Scores(
            os.path.basename(path)[: -len(".csv")],
            np.array([row["coordinate"] for row in rows], np.int64),
            np.array([row["goodness"] for row in rows], np.float32),
            np.array([BAD_CLASSES.index(row["class"]) for row in rows], np.uint8),
            np.array([REASONS.index(row["reason"]) for row in rows], np.uint8),
            about,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("%s is no score file of this protocol: %r" % (path, error)) from error


def scoreFiles(folder: str) -> List[str]:
    """Return the paths of all parts' files, in the order of micrographs."""
    if not os.path.isdir(folder):
        return []
    names = [name for name in os.listdir(folder) if PART.match(name) and name.endswith(".csv")]
    keys = {name: tuple(map(int, PART.match(name).groups())) for name in names}
    return [os.path.join(folder, name) for name in sorted(names, key=keys.get)]


def iterScores(folder: str) -> Iterator[Scores]:
    """Yield all parts that were scored."""
    for path in scoreFiles(folder):
        yield readScores(path)


@dataclass
class Numbers:
    """A run in numbers."""

    micrographs: int = 0
    coordinates: int = 0
    kept: int = 0
    rejected: Dict[str, int] = field(default_factory=dict)
    failed: List[Tuple[str, str]] = field(default_factory=list)
    suspect: List[Tuple[str, str]] = field(default_factory=list)
    inverted: int = 0
    device: Optional[str] = None


def addTo(numbers: Numbers, scores: Scores, threshold: float) -> None:
    """Count one part."""
    title = scores.about.get("micrograph", scores.name)
    if scores.failed:
        numbers.failed.append((title, scores.about.get("reason") or "no reason is known"))
        return
    kept = scores.kept(threshold)
    numbers.micrographs += scores.name.split("_")[2] == "1"
    numbers.coordinates += len(kept)
    numbers.kept += int(kept.sum())
    for kind, why in zip(scores.classes[~kept].tolist(), scores.reasons[~kept].tolist()):
        plain = REASONS[why] if why >= 2 else BAD_CLASSES[kind] if kind else "no class"
        numbers.rejected[plain] = numbers.rejected.get(plain, 0) + 1
    if scores.about.get("suspect"):
        numbers.suspect.append((title, "; ".join(scores.about["suspect"])))
    numbers.inverted += scores.about.get("contrast") == "bright"


def writeNumbers(path: str, numbers: Numbers) -> None:
    """Write them as JSON, whole or not at all."""
    with open(path + ".part", "w") as handle:
        json.dump(asdict(numbers), handle, indent=1, sort_keys=True)
    os.replace(path + ".part", path)


def readNumbers(path: str) -> Numbers:
    """Read what `writeNumbers` wrote; zeros when there is nothing."""
    if not os.path.exists(path):
        return Numbers()
    with open(path) as handle:
        return Numbers(**json.load(handle))


def partner(
    micId: int,
    micName: str,
    byName: Dict[str, int],
    ids: Container[int],
    anyName: bool,
    complete: bool,
) -> Optional[int]:
    """Return the id of the other micrograph of the same field of view; None while there is none.

    Names decide. Ids do only when not one name is in both sets, and this is known for certain when
    both sets are complete: otherwise a micrograph that is missing would be taken for another.
    """
    if micName in byName:
        return byName[micName]
    if anyName or not complete:
        return None
    return micId if micId in ids else None
