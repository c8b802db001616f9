"""The job folder's database, `JOB/screen.sqlite`: every score, and the marker of what is done.

One writer, a rollback journal and full syncing, so that it is safe on network file systems and
against power cuts. A micrograph's row is committed after its files are in place: the row says that
the micrograph is done. The tables are described in `docs/store.md`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from micscreen.errors import JobError
from micscreen.picks import CLASS_NAMES
from micscreen.run.rows import MicrographRow, Scores, Source, SourceFile, Status
from micscreen.run.trouble import database_trouble

STORE_NAME: Final = "screen.sqlite"
SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x6D696373
"""`mics` in ASCII: tells our files from other programs' databases."""

COMMIT_ROWS: Final = 16
COMMIT_SECONDS: Final = 0.5

BUSY_SECONDS: Final = 120.0
"""How long another program may hold the database before it is an error."""

AREA_COLUMNS: Final = tuple(f"area_{name}" for name in CLASS_NAMES)

SCHEMA: Final = f"""
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sources (id INTEGER PRIMARY KEY, format TEXT NOT NULL, path TEXT NOT NULL);
CREATE TABLE source_files (
    source INTEGER NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL);
CREATE TABLE micrographs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, position INTEGER NOT NULL,
    path TEXT NOT NULL, picked_path TEXT NOT NULL, source INTEGER, micrograph_index INTEGER,
    picks_in INTEGER NOT NULL, fingerprint TEXT NOT NULL, picks_digest TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'done', 'failed')), reason TEXT,
    height INTEGER, width INTEGER, picked_height INTEGER, picked_width INTEGER,
    pixel_size REAL, screened_pixel_size REAL, box_size REAL, box_scale REAL, contrast TEXT,
    contamination REAL, {", ".join(f"{name} REAL" for name in AREA_COLUMNS)},
    suspect TEXT NOT NULL, warnings TEXT NOT NULL, timings TEXT NOT NULL);
CREATE TABLE picks (
    micrograph INTEGER PRIMARY KEY, n INTEGER NOT NULL, rows BLOB NOT NULL, x BLOB NOT NULL,
    y BLOB NOT NULL, goodness BLOB NOT NULL, class_index BLOB NOT NULL, distance BLOB NOT NULL,
    reason BLOB NOT NULL);
"""

SCORE_TYPES: Final = {
    "rows": "<i8",
    "x": "<f4",
    "y": "<f4",
    "goodness": "<f4",
    "class_index": "u1",
    "distance": "<f4",
    "reason": "u1",
}
JSON_COLUMNS: Final = ("suspect", "warnings", "timings")
PLAIN_COLUMNS: Final = tuple(
    f.name for f in fields(MicrographRow) if f.name not in (*JSON_COLUMNS, "area")
)
ROW_COLUMNS: Final = (*PLAIN_COLUMNS, *JSON_COLUMNS, *AREA_COLUMNS)


class NoJobError(JobError):
    """A folder in which no job was begun, or one that was killed before it had begun."""


class Store:
    """An open `screen.sqlite`.

    Parameters
    ----------
    folder
        The job folder.
    create
        Make the folder and the database when they are missing, and allow writing; otherwise the
        database is opened for reading.

    Raises
    ------
    JobError
        When the folder is no job, or one that a newer micscreen wrote.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self.folder = folder
        self.path = folder / STORE_NAME
        if not create and not self.path.is_file():
            raise NoJobError(
                f"this is no job folder: it has no {STORE_NAME}",
                where=folder,
                hint="Give the folder that `micscreen screen --output` wrote.",
            )
        self._connection = _connect(self.path, writable=create)
        self._waiting = 0
        self._committed = time.monotonic()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is waiting and close."""
        self.flush()
        self._connection.close()

    def flush(self) -> None:
        """Commit what is waiting."""
        self._connection.commit()
        self._waiting = 0
        self._committed = time.monotonic()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See the job in one state, whatever a run writes meanwhile; it waits to commit."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.rollback()

    def select(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT of one's own, read at once so that a writer need not wait."""
        return self._connection.execute(query, values).fetchall()

    def info(self) -> dict[str, Any]:
        """Return what the run has noted about itself."""
        rows = self._connection.execute("SELECT key, value FROM run")
        return {key: json.loads(value) for key, value in rows}

    def note(self, **values: Any) -> None:
        """Note something about the run, as JSON values; committed at once."""
        pairs = [(key, json.dumps(value, sort_keys=True)) for key, value in values.items()]
        self._connection.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", pairs)
        self.flush()

    def sources(self) -> Iterator[Source]:
        """Yield the coordinate tables; `MicrographRow.source` counts them from 0."""
        found = self._connection.execute(
            "SELECT id, format, sources.path, source_files.path, size, mtime_ns, sha256 "
            "FROM sources LEFT JOIN source_files ON source = id ORDER BY id, source_files.rowid"
        )
        for (_, name, path), rows in groupby(found, key=itemgetter(0, 1, 2)):
            files = [SourceFile(*map(_restored, row[3:])) for row in rows if row[3] is not None]
            yield Source(name, _restored(path), tuple(files))

    def register(self, rows: Sequence[MicrographRow], sources: Sequence[Source]) -> list[str]:
        """Make the store hold exactly these micrographs, in one transaction.

        Pending rows replace what was known. Other rows keep what was found, and get their new
        place in the plan and in the tables.

        Returns
        -------
        Names of micrographs that were in the job and are no longer among its inputs.
        """
        gone = sorted(self.names() - {row.name for row in rows})
        for name in gone:
            self._forget(name)
        for row in rows:
            self.place(row)
        self._connection.execute("DELETE FROM sources")
        self._connection.execute("DELETE FROM source_files")
        for number, source in enumerate(sources):
            self.place_source(number, source)
        self.flush()
        return gone

    def unplace(self) -> None:
        """Forget in which tables the picks lie, as a stream does that begins to read them anew."""
        self._connection.execute("UPDATE micrographs SET source = NULL, micrograph_index = NULL")
        self._connection.execute("DELETE FROM sources")
        self._connection.execute("DELETE FROM source_files")

    def place_source(self, number: int, source: Source) -> None:
        """Add a coordinate file, or put another state of it in the old one's place."""
        execute = self._connection.execute
        execute("DELETE FROM source_files WHERE source = ?", (number,))
        values = (number, source.format, _stored(source.path))
        execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", values)
        self._connection.executemany(
            "INSERT INTO source_files VALUES (?, ?, ?, ?, ?)",
            [(number, _stored(f.path), f.size, f.mtime_ns, f.sha256) for f in source.files],
        )

    def place(self, row: MicrographRow) -> None:
        """Register one micrograph: a pending row replaces what was known, another keeps it."""
        place = (row.position, _stored(row.path), _stored(row.picked_path), row.source)
        known = (
            row.status != "pending"
            and self._connection.execute(
                "UPDATE micrographs SET position = ?, path = ?, picked_path = ?, source = ?, "
                "micrograph_index = ? WHERE name = ?",
                (*place, row.micrograph_index, row.name),
            ).rowcount
        )
        if not known:
            self._forget(row.name)
            self._insert(row)

    def add(self, row: MicrographRow, scores: Scores | None) -> None:
        """Record a micrograph that is done (with scores) or failed (without).

        Committed at once when the last commit is half a second ago, else together with the next
        ones: at most sixteen.
        """
        self._forget(row.name)
        id_ = self._insert(row)
        if scores is not None:
            stored = replace(scores, distance=scores.distance * (row.pixel_size or 1.0))  # Å
            blobs = [
                np.ascontiguousarray(getattr(stored, name), dtype).tobytes()
                for name, dtype in SCORE_TYPES.items()
            ]
            self._connection.execute(
                f"INSERT INTO picks VALUES (?, ?, {', '.join('?' * len(blobs))})",
                (id_, len(scores.rows), *blobs),
            )
        self._waiting += 1
        late = time.monotonic() - self._committed >= COMMIT_SECONDS
        if late or self._waiting >= COMMIT_ROWS:
            self.flush()

    def micrographs(self) -> Iterator[MicrographRow]:
        """Yield the micrographs in the order of the plan."""
        columns = ", ".join(ROW_COLUMNS)
        query = f"SELECT {columns} FROM micrographs ORDER BY position, name"
        for values in self._connection.execute(query):
            yield _row(values)

    def names(self, status: Status | None = None) -> set[str]:
        """Return the names of the micrographs, of all or of those with one status."""
        query = "SELECT name FROM micrographs WHERE status = ifnull(?, status)"
        return {_restored(name) for (name,) in self._connection.execute(query, (status,))}

    def micrograph(self, name: str) -> MicrographRow | None:
        """Return one micrograph; None when the job does not know it."""
        query = f"SELECT {', '.join(ROW_COLUMNS)} FROM micrographs WHERE name = ?"
        values = self._connection.execute(query, (name,)).fetchone()
        return None if values is None else _row(values)

    def scored(self) -> Iterator[tuple[MicrographRow, Scores | None]]:
        """Yield the micrographs in the order of the plan, with their scores when they are done."""
        columns = [f"micrographs.{name}" for name in ROW_COLUMNS]
        columns += [f"picks.{name}" for name in SCORE_TYPES]
        query = (
            f"SELECT {', '.join(columns)} FROM micrographs "
            "LEFT JOIN picks ON picks.micrograph = micrographs.id ORDER BY position, name"
        )
        count = len(ROW_COLUMNS)
        for values in self._connection.execute(query):
            row = _row(values[:count])
            yield row, _scores(values[count:], row.pixel_size)

    def _forget(self, name: str) -> None:
        """Remove a micrograph and its scores."""
        self._connection.execute(
            "DELETE FROM picks WHERE micrograph = (SELECT id FROM micrographs WHERE name = ?)",
            (name,),
        )
        self._connection.execute("DELETE FROM micrographs WHERE name = ?", (name,))

    def _insert(self, row: MicrographRow) -> int | None:
        """Insert a micrograph and return its id."""
        values = [_stored(getattr(row, name)) for name in PLAIN_COLUMNS]
        values += [json.dumps(getattr(row, name)) for name in JSON_COLUMNS]
        values += row.area if row.area is not None else [None] * len(AREA_COLUMNS)
        return self._connection.execute(
            f"INSERT INTO micrographs ({', '.join(ROW_COLUMNS)}) "
            f"VALUES ({', '.join('?' * len(ROW_COLUMNS))})",
            values,
        ).lastrowid


def prepare_folder(folder: Path) -> None:
    """Make a job folder, or accept one that is empty or a job already.

    Raises
    ------
    JobError
        When it is a file, or holds something and is no job.
    """
    if folder.exists() and not folder.is_dir():
        raise JobError("this is a file, not a folder", where=folder, hint="Give another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    inside = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if inside and STORE_NAME not in inside:
        raise JobError(
            f"the folder holds {len(inside)} files that are not of micscreen "
            f"(the first is {inside[0]})",
            where=folder,
            hint="Give a new or an empty folder as --output.",
        )


def _connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the database, make its tables when it is new, and check that it is ours."""
    # Reading needs write access too where a killed run left a journal to be rolled back.
    allowed = writable or os.access(path, os.W_OK)
    mode = "rwc" if writable else "rw" if allowed else "ro"
    address = f"file:{quote(str(path.absolute()))}?mode={mode}"
    try:
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)
    except sqlite3.Error as error:
        raise database_trouble(error, path) from error
    try:
        connection.execute("PRAGMA journal_mode = DELETE" if allowed else "PRAGMA query_only = 1")
        connection.execute("PRAGMA synchronous = FULL")
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables and writable:
            _create(connection)
        elif not tables and not connection.execute("PRAGMA application_id").fetchone()[0]:
            raise NoJobError("the job has not begun yet", where=path, hint="Screen into it first.")
        _check_version(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise database_trouble(error, path) from error
    except JobError:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.commit()


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise unless the database is of micscreen and of a version that this one knows."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise JobError("this database is not of micscreen", where=path, hint="Give another folder.")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise JobError(
            f"a newer micscreen wrote this job (store version {version}, this one knows "
            f"{SCHEMA_VERSION})",
            where=path,
            hint="Update micscreen: pip install --upgrade micscreen",
        )
    if version < SCHEMA_VERSION:
        raise JobError(
            f"an unreleased micscreen wrote this job (store version {version}, this one knows "
            f"{SCHEMA_VERSION})",
            where=path,
            hint="Screen again into another folder.",
        )


def _stored(value: Any) -> Any:
    """Return a value for the database: a path that is no UTF-8 becomes its bytes."""
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return os.fsencode(value)
    return value


def _restored(value: Any) -> Any:
    """Return what `_stored` was given."""
    return os.fsdecode(value) if isinstance(value, bytes) else value


def _row(values: Sequence[Any]) -> MicrographRow:
    """Make a row from the values of `ROW_COLUMNS`."""
    known: dict[str, Any] = dict(zip(ROW_COLUMNS, map(_restored, values), strict=True))
    area = tuple(known.pop(name) for name in AREA_COLUMNS)
    known["suspect"] = tuple(json.loads(known["suspect"]))
    known["warnings"] = tuple(json.loads(known["warnings"]))
    known["timings"] = tuple((name, seconds) for name, seconds in json.loads(known["timings"]))
    return MicrographRow(**known, area=None if area[0] is None else area)


def _scores(values: Sequence[bytes | None], pixel_size: float | None) -> Scores | None:
    """Make scores from the values of `SCORE_TYPES`, distances in px; None where there are none."""
    arrays = {
        name: np.frombuffer(blob, dtype)
        for (name, dtype), blob in zip(SCORE_TYPES.items(), values, strict=True)
        if blob is not None
    }
    if not arrays:
        return None
    arrays["distance"] = (arrays["distance"] / (pixel_size or 1.0)).astype(np.float32)
    return Scores(**arrays)
