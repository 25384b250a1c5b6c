"""Tells the errors of SQLite and of files in semel's words; it knows codes, and nothing of what was attempted."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semel.errors import LogDamaged, LogError, LogReadOnly, LogUnavailable

_NEVER_WRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}
_PRIMARY_CODE = 0xFF  # an extended result code carries its primary one in the low byte


@contextmanager
def faults_told(path: Path) -> Iterator[None]:
    """Raise the errors met on the log file `path` as `LogError`s, told apart by whether they can heal."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise told(error, path) from error


def told(error: sqlite3.Error | OSError, path: Path) -> LogError:
    """Return an error met on the log file `path` as a `LogError`."""
    return _database_fault(error, path) if isinstance(error, sqlite3.Error) else _file_fault(error, path)


def primary_code(error: sqlite3.Error) -> int:
    """Return the primary result code of `error`, 0 if it did not come from the SQLite library."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE


def _database_fault(error: sqlite3.Error, path: Path) -> LogError:
    match primary_code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return LogUnavailable(f"another process holds the log {path} locked; it is tried again")
        case sqlite3.SQLITE_FULL:
            return LogUnavailable(f"the disk that holds the log {path} is full: free space; it is tried again")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return LogReadOnly(f"{path} cannot be written by this user: {error}")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR:
            # SQLITE_ERROR comes of our own fixed statements only if the tables are not as we made them.
            return LogDamaged(f"{path} is damaged ({error}); restore it from a copy")
        case _:
            return LogUnavailable(f"the log {path} cannot be used just now: {error}")


def _file_fault(error: OSError, path: Path) -> LogError:
    place = error.filename or path
    if error.errno in _NEVER_WRITABLE:
        return LogReadOnly(f"the log cannot be written at {place}: {error.strerror}")
    return LogUnavailable(f"the log cannot be used at {place}: {error.strerror}")
