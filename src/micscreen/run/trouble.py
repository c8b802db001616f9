"""What the disk or the database says while a job is written, as errors for people."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from micscreen.errors import JobError, PicksError

CONTINUES: Final = "then start the same command again: it continues."
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
DISK: Final = (
    errno.EIO,
    errno.ESTALE,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EMFILE,
    errno.ENFILE,
)


@contextmanager
def told(folder: Path, database: Path) -> Iterator[None]:
    """Turn what goes wrong while a job is written into one error that says what to do.

    Parameters
    ----------
    folder
        The job folder, named where the system names no file.
    database
        The job's.

    Raises
    ------
    JobError
        In place of errors of the disk and of the database; others pass.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise database_trouble(error, database) from error
    except PicksError as error:
        cause = error.__cause__
        if not (isinstance(cause, OSError) and cause.errno in (*FULL, errno.EROFS)):
            raise
        raise _disk_trouble(cause, folder) from error  # the picks were read well: it is the output
    except OSError as error:
        if error.errno not in (*FULL, *FORBIDDEN, *DISK):
            raise
        raise _disk_trouble(error, folder) from error


def database_trouble(error: sqlite3.Error, path: Path) -> JobError:
    """Return the error for what SQLite says about the database at `path`."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        hint = f"Another program has it open for writing: close that one, {CONTINUES}"
        return JobError(f"the job's database is locked ({error})", where=path, hint=hint)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        hint = f"Make room on the disk, or see what is wrong with it, {CONTINUES}"
        return JobError(f"the job's database cannot be written ({error})", where=path, hint=hint)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        hint = "Give an --output where you may write, and on a disk that has room."
        return JobError(f"the job's database cannot be opened ({error})", where=path, hint=hint)
    return JobError(
        f"this is not a database that can be read ({error})",
        where=path,
        hint="Give another --output, or remove the folder if nothing in it is needed.",
    )


def _disk_trouble(error: OSError, folder: Path) -> JobError:
    """Return the error for what the operating system says."""
    says = error.strerror or str(error)
    where = error.filename if isinstance(error.filename, str | Path) else folder
    if error.errno in FULL:
        hint = f"Make room on the disk (or in the quota), {CONTINUES}"
        return JobError(f"the disk is full ({says})", where=where, hint=hint)
    if error.errno in FORBIDDEN:
        hint = "Give an --output where you may write, or ask for the right to."
        return JobError(f"writing or reading is not permitted ({says})", where=where, hint=hint)
    return JobError(
        f"the file system refuses ({says})",
        where=where,
        hint=f"See whether the disk and its folders are there, {CONTINUES}",
    )
