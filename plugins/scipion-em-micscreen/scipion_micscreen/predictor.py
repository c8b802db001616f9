# SPDX-License-Identifier: GPL-3.0-or-later
"""The one micscreen command of a run: what it is fed, and what it has answered.

It watches two folders, in which links to micrographs and csv files with coordinates appear, and
loads its network once. Nothing here knows Scipion.
"""

import fcntl
import json
import os
import shlex
import sqlite3
import time
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple
from urllib.parse import quote

import numpy as np

from .parts import PART, Scores, failure

DONE, SOME_FAILED = 0, 3
"""Exit codes of micscreen after which its results count."""

RUNS_ON = "the network runs on "
"""What an event begins with that tells the device."""


@dataclass(frozen=True)
class Wish:
    """What micscreen is to do.

    Attributes
    ----------
    boxSize
        px of the micrographs that are screened.
    samplingRate
        Å/px of the same.
    threshold
        0 to 1, or -1.
    batchSize
        -1 automatic, 0 all, or so many micrographs.
    saveMasks
        Whether masks are kept.
    thumbnails
        At most so many.
    gpus
        Numbers of the GPUs to use; none: the CPU.
    threads
        Of the CPU.
    idle
        s without anything new after which the command ends; it is started again when needed.
    """

    boxSize: float
    samplingRate: float
    threshold: float = -1.0
    batchSize: int = -1
    saveMasks: bool = False
    thumbnails: int = 50
    gpus: Tuple[int, ...] = ()
    threads: int = 1
    idle: float = 600.0


class Predictor:
    """A folder in which one micscreen job lives.

    Parameters
    ----------
    folder
        Is made when it is not there.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.micrographs = os.path.join(folder, "micrographs")
        self.coordinates = os.path.join(folder, "coordinates")
        self.job = os.path.join(folder, "job")
        self.finish = os.path.join(folder, "finish")
        self.events = os.path.join(folder, "events.jsonl")
        self.device: Optional[str] = None
        self._read = 0
        for path in (self.micrographs, self.coordinates):
            os.makedirs(path, exist_ok=True)

    def feed(
        self, name: str, micrograph: str, ids: Sequence[int], x: Sequence[float], y: Sequence[float]
    ) -> None:
        """Hand a part over; the same part may be handed over again.

        Parameters
        ----------
        name
            Of the part.
        micrograph
            Path of the micrograph that is screened.
        ids
            Of the coordinates.
        x, y
            Centres, px of that micrograph.
        """
        self.link(name, micrograph)
        path = os.path.join(self.coordinates, name + ".csv")
        if os.path.exists(path):
            return
        aside = path + ".part"
        with open(aside, "w") as handle:
            handle.write("coordinate,x,y\n")
            handle.writelines("%d,%.9g,%.9g\n" % row for row in zip(ids, x, y))
        os.replace(aside, path)

    def link(self, name: str, micrograph: str) -> None:
        """Let a part's micrograph be found; a link that points elsewhere is mended."""
        link = os.path.join(self.micrographs, name + _extension(micrograph))
        _link(os.path.abspath(micrograph), link)

    def fed(self) -> Dict[str, List[int]]:
        """Return the ids of the coordinates of every part that was handed over."""
        found = {}
        for name in sorted(os.listdir(self.coordinates)):
            if PART.match(name) and name.endswith(".csv"):
                found[name[: -len(".csv")]] = self._ids(name[: -len(".csv")])
        return found

    def close(self, nothingMore: bool) -> None:
        """Tell the command whether to end when it has done all that is there."""
        if nothingMore:
            with open(self.finish, "w"):
                pass
        elif os.path.exists(self.finish):
            os.remove(self.finish)

    def closed(self) -> bool:
        """Return whether the command was told that nothing more comes."""
        return os.path.exists(self.finish)

    def arguments(self, wish: Wish) -> str:
        """Return the arguments of the command, as shell text."""
        arguments = ["screen", os.path.join(self.micrographs, "*")]
        options = {
            "--coordinates": self.coordinates,
            "--coordinate-format": "csv",
            "--output": self.job,
            "--box-size": "%.9g" % wish.boxSize,
            "--pixel-size": "%.9g" % wish.samplingRate,
            "--threshold": "%.9g" % (wish.threshold if wish.threshold >= 0 else -1),
            "--batch-size": str(wish.batchSize),
            "--thumbnails": str(wish.thumbnails),
            "--threads": str(wish.threads),
            "--flip-y": "no",  # Scipion's y counts from the first row
            "--poll": "1",
            "--quiet-time": "0",  # what is handed over is whole
            "--idle-timeout": "%g" % wish.idle,
            "--finish-file": self.finish,
            "--events": self.events,
            "--device": "cpu",
        }
        if len(wish.gpus) == 1:
            options["--device"] = "auto"  # among the visible ones, of which there is one
        elif wish.gpus:
            options["--device"] = "cuda:" + ",".join(map(str, range(len(wish.gpus))))
        for option, value in options.items():
            arguments += [option, value]
        arguments += ["--watch", "--no-tiff-flip"] + ["--save-masks"] * wish.saveMasks
        return " ".join(shlex.quote(argument) for argument in arguments)

    @staticmethod
    def environment(environ: Dict[str, str], wish: Wish) -> Dict[str, str]:
        """Return an environment in which only the wished GPUs can be seen."""
        return {**environ, "CUDA_VISIBLE_DEVICES": ",".join(map(str, wish.gpus))}

    def news(self) -> Iterator[Scores]:
        """Yield the parts that were done or failed since this was last asked."""
        if not os.path.exists(self.events):
            return
        with open(self.events, "rb") as handle:
            handle.seek(self._read)
            fresh = handle.read()
        whole = fresh.rfind(b"\n") + 1
        self._read += whole
        last = {}
        for line in fresh[:whole].splitlines():
            event = json.loads(line)
            if event["event"] == "micrograph":
                last[event["name"]] = event
            elif event.get("text", "").startswith(RUNS_ON):
                self.device = event["text"][len(RUNS_ON) :]
        for name, event in last.items():
            scores = self._scores(name, event)
            if scores is not None:
                yield scores

    def skipNews(self) -> None:
        """Take what was told so far as known: a run before has told it."""
        if os.path.exists(self.events):
            self._read = os.path.getsize(self.events)

    def everything(self) -> Iterator[Scores]:
        """Yield all parts that the job has, whatever was asked before."""
        store = os.path.join(self.job, "screen.sqlite")
        if not os.path.exists(store):
            return
        query = "SELECT name, status, reason FROM micrographs WHERE status <> 'pending'"
        with _opened(store) as connection:
            rows = connection.execute(query).fetchall()
        for name, status, reason in rows:
            scores = self._scores(name, {"status": status, "reason": reason})
            if scores is not None:
                yield scores

    def waitForOrphan(self, patience: float = 300.0) -> None:
        """Let a command that outlived its protocol finish what it has, and wait for its end.

        Raises
        ------
        RuntimeError
            When it still works after `patience` s.
        """
        deadline = time.monotonic() + patience
        while self._locked():
            self.close(True)
            if time.monotonic() > deadline:
                raise RuntimeError(
                    "Another micscreen still works in %s, left by the run before. Wait for its "
                    "end, or end it, and continue." % self.job
                )
            time.sleep(1)
        self.close(False)

    def _locked(self) -> bool:
        """Return whether a command holds the lock of the job."""
        try:
            with open(os.path.join(self.job, ".lock"), "rb+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return False
        return False

    def _ids(self, name: str) -> List[int]:
        with open(os.path.join(self.coordinates, name + ".csv")) as handle:
            next(handle)
            return [int(line.split(",", 1)[0]) for line in handle]

    def _scores(self, name: str, event: dict) -> Optional[Scores]:
        """Return a part as the store has it; None when it is not one, or not there yet."""
        if not PART.match(name) or not os.path.exists(self._csv(name)):
            return None
        if event["status"] == "failed":
            return failure(name, event.get("reason"))
        columns = "rows, goodness, class_index, reason, suspect, warnings, contrast"
        query = (
            "SELECT p.rows, p.goodness, p.class_index, p.reason, m.suspect, m.warnings, m.contrast"
            " FROM micrographs m JOIN picks p ON p.micrograph = m.id"
            " WHERE m.name = ? AND m.status = 'done'"
        )
        with _opened(os.path.join(self.job, "screen.sqlite")) as connection:
            row = connection.execute(query, (name,)).fetchone()
        if row is None:
            return None
        found = dict(zip(columns.split(", "), row))
        ids = np.array(self._ids(name), np.int64)
        order = np.frombuffer(found["rows"], "<i8")
        about = {
            "status": "done",
            "suspect": json.loads(found["suspect"] or "[]"),
            "warnings": json.loads(found["warnings"] or "[]"),
            "contrast": found["contrast"],
        }
        return Scores(
            name,
            ids[order],
            np.frombuffer(found["goodness"], "<f4"),
            np.frombuffer(found["class_index"], "u1"),
            np.frombuffer(found["reason"], "u1"),
            about,
        )

    def _csv(self, name: str) -> str:
        return os.path.join(self.coordinates, name + ".csv")


class _opened:
    """The store, read only; nothing is kept open between questions."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        uri = "file:%s?mode=ro" % quote(os.path.abspath(self._path))
        self._connection = sqlite3.connect(uri, uri=True, timeout=60)
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _extension(path: str) -> str:
    """Return the extension of a micrograph, of a compressed one both."""
    root, extension = os.path.splitext(path)
    if extension.lower() in (".gz", ".bz2"):
        return os.path.splitext(root)[1] + extension
    return extension


def _link(target: str, link: str) -> None:
    """Make or correct a link."""
    if os.path.islink(link):
        if os.readlink(link) == target:
            return
        os.remove(link)
    os.symlink(target, link)
