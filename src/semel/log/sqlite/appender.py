"""The one way to write to the log's file; it knows SQLite and the lock, and nothing of asyncio.

SQLite up to 3.51.2 can corrupt a file in WAL mode when two connections write and checkpoint at the same moment
(sqlite.org/wal.html#walresetbug). So SQLite's own checkpoints are off, and the appends and checkpoints of all
processes exclude one another by a lock on the file `<log>-lock`.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from semel.errors import Conflict, LogDamaged, LogError, LogUnavailable
from semel.log.sqlite.faults import faults_told, told
from semel.log.sqlite.lock import FileLock
from semel.log.sqlite.opening import PATIENCE_S, connect_to_write, first_position, last_position
from semel.rows import Insert

_CHECKPOINT_BYTES = 4 * 1024 * 1024  # what is appended between checkpoints; SQLite's own habit is 1000 pages of 4 KiB
_COMMIT_BYTES = 2 * 4096  # what a commit writes besides its entries, about: the pages that others share
_TRIM_ENTRIES_MAX = 1000  # forgotten by one transaction, so that appends get their turn between

_INSERT = Insert("entries", values=2)

_Result = TypeVar("_Result")


class Appender:
    """The writing connection of one process; for one thread at a time.

    Raises:
        LogError: the file cannot be used as a log, by its kind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unsaved_bytes = 0  # appended by us since our last checkpoint
        with ExitStack() as undo:
            self._lock = FileLock(path.with_name(f"{path.name}-lock"))
            undo.callback(self._lock.close)
            with self._lock.held(PATIENCE_S):
                self._connection = connect_to_write(path)
                self._identity = path.stat()
            undo.pop_all()
        # Processes that are killed again and again would never checkpoint otherwise.
        self.checkpoint()

    def append(self, after: int, entries: Sequence[bytes]) -> int:
        """Commit `entries` after the position `after`, durably; return the last position written."""
        self._transact(partial(_insert, after, entries))
        self._unsaved_bytes += sum(map(len, entries)) + _COMMIT_BYTES
        return after + len(entries)

    def trim(self, before: int) -> bool:
        """Forget some of the entries below `before`; return whether there are more."""

        def forget(connection: sqlite3.Connection) -> bool:
            first = first_position(connection, self._path)
            goal = min(before, last_position(connection))
            if goal <= first:
                return False
            next_first = min(goal, first + _TRIM_ENTRIES_MAX)
            connection.execute("DELETE FROM entries WHERE position > 1 AND position < ?", (next_first,))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'first'", (next_first,))
            self._unsaved_bytes += _COMMIT_BYTES
            return next_first < goal

        return self._transact(forget)

    def begin_after(self, first: bytes, after: int, entry: bytes) -> None:
        """Make an empty log go on with `entry` after the position `after`, durably."""

        def begin(connection: sqlite3.Connection) -> None:
            if tail := last_position(connection):
                raise Conflict(f"{self._path} is not empty: it ends at position {tail}")
            _INSERT.write(connection, ((1, first), (after + 1, entry)))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'first'", (after + 1,))

        self._transact(begin)
        self._unsaved_bytes += len(first) + len(entry) + _COMMIT_BYTES

    @property
    def checkpoint_due(self) -> bool:
        """Whether enough was appended to make a checkpoint worth its while."""
        return self._unsaved_bytes >= _CHECKPOINT_BYTES

    def checkpoint(self) -> None:
        """Move what was appended from the write-ahead file into the log's own, as far as readers let it."""
        self._unsaved_bytes = 0
        # What was appended is durable without it, and a fault that lasts will meet the next append.
        with suppress(LogError), faults_told(self._path), self._lock.held(PATIENCE_S):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        """Close the connection; the last of all processes thereby saves and removes the write-ahead file."""
        # Without the lock a close is safe too, only less polite: SQLite removes the file only if it is alone.
        with suppress(LogUnavailable, OSError), self._lock.held(PATIENCE_S):
            self._connection.close()
        self._connection.close()
        self._lock.close()

    def _transact(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Return what `work` gives, in one transaction under the lock; written out, since every append is one."""
        try:
            self._lock.take(PATIENCE_S)
            try:
                self._check_in_place()
                self._connection.execute("BEGIN IMMEDIATE")
                result = work(self._connection)
                self._connection.execute("COMMIT")
                return result
            finally:
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                self._lock.give_back()
        except (sqlite3.Error, OSError) as error:
            raise told(error, self._path) from error

    def _check_in_place(self) -> None:
        # SQLite would go on writing to a deleted file, and every acknowledged entry would be lost.
        try:
            in_place = os.path.samestat(self._identity, self._path.stat())
        except FileNotFoundError:
            in_place = False
        if not in_place:
            raise LogDamaged(f"{self._path} was removed or replaced while it was in use")


def _insert(after: int, entries: Sequence[bytes], connection: sqlite3.Connection) -> None:
    """Write entries after a position, unless they stand there already."""
    tail = last_position(connection)
    if tail == after:
        _INSERT.write(connection, enumerate(entries, after + 1))
    elif not _holds(connection, after, entries):
        raise Conflict(f"the log ends at position {tail}; these entries do not stand after {after}")


def _holds(connection: sqlite3.Connection, after: int, entries: Sequence[bytes]) -> bool:
    rows = connection.execute(
        "SELECT entry FROM entries WHERE position > ? AND position <= ? ORDER BY position",
        (after, after + len(entries)),
    )
    return [entry for (entry,) in rows] == list(entries)
