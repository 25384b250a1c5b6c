"""Reads entries from the log's file and checks that none is missing; it never writes, and knows no asyncio."""

from contextlib import closing
from pathlib import Path

from semel.errors import LogDamaged, LogError, LogTrimmed
from semel.log.limits import BATCH_BYTES_MAX, BATCH_ENTRIES_MAX
from semel.log.protocol import Batch
from semel.log.sqlite.faults import faults_told
from semel.log.sqlite.opening import PATIENCE_S, connect_to_read, first_position, last_position

# The event loop stands still while a query hands over a large entry, but not while the same is read as a blob.
_LARGE_BYTES = 64 * 1024
_NEXT_ENTRIES = """
    SELECT position, length(entry), CASE WHEN length(entry) <= ? THEN entry END
    FROM entries WHERE position > ? ORDER BY position LIMIT ?
"""


class Reader:
    """The reading connection of one process; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect_to_read(path, busy_s=PATIENCE_S)

    def read(self, after: int) -> Batch | None:
        """Return the entries after the position `after`, at most a batch; None if there is none yet.

        Raises:
            LogTrimmed: the entries after `after` have been trimmed away.
            LogDamaged: a position is missing.
            LogError: the file could not be read, by its kind.
        """
        with faults_told(self._path):
            entries = self._entries(after)
            if entries:
                return Batch(after + 1, entries)
            if (tail := last_position(self._connection)) < after:
                raise LogDamaged(f"{self._path} ends at position {tail}, before {after} which it once had")
            return None

    def _entries(self, after: int) -> list[bytes]:
        entries: list[bytes] = []
        batch_bytes = 0
        # A query that is left half read holds its snapshot, and no checkpoint could get past it: hence `closing`.
        with closing(self._connection.execute(_NEXT_ENTRIES, (_LARGE_BYTES, after, BATCH_ENTRIES_MAX))) as rows:
            for position, entry_bytes, entry in rows:
                if position != after + 1 + len(entries):
                    raise self._gap(after + 1 + len(entries))
                batch_bytes += entry_bytes
                if entries and batch_bytes > BATCH_BYTES_MAX:
                    break
                entries.append(self._large(position) if entry is None else entry)
        return entries

    def _large(self, position: int) -> bytes:
        with self._connection.blobopen("entries", "entry", position, readonly=True) as entry:
            return entry.read()

    def _gap(self, position: int) -> LogError:
        first = first_position(self._connection, self._path)
        if position < first:
            return LogTrimmed(
                f"the entries from position {position} on are trimmed away; {self._path} begins at {first}"
            )
        return LogDamaged(f"position {position} is missing from {self._path}")

    def first(self) -> bytes | None:
        """Return the entry at position 1, None for an empty log."""
        with faults_told(self._path):
            row: tuple[bytes] | None = self._connection.execute(
                "SELECT entry FROM entries WHERE position = 1"
            ).fetchone()
        return row[0] if row is not None else None

    def tail(self) -> int:
        """Return the last committed position, 0 for an empty log."""
        with faults_told(self._path):
            return last_position(self._connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
