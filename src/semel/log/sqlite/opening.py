"""Finds out what the file at a path is, and makes a log where there is none; it knows no entries.

No file of the log may be opened here by any other way than SQLite: closing it would drop the locks that SQLite's
other connections of this process hold on it (sqlite.org/howtocorrupt.html, 2.2).
"""

import os
import sqlite3
from pathlib import Path

from semel.disk import sync
from semel.errors import LogDamaged, LogForeign, LogNewer, LogReadOnly, LogUnavailable
from semel.log.sqlite.faults import primary_code

APPLICATION_ID = int.from_bytes(b"seml", "big")
FORMAT = 1
PATIENCE_S = 1.0
"""How long an append waits for another process before it says `LogUnavailable`."""

_WAL_KEPT_BYTES_MAX = 16 * 1024 * 1024  # a write-ahead file that one huge append has grown is cut back to this

_SCHEMA = (
    "CREATE TABLE entries (position INTEGER PRIMARY KEY, entry BLOB NOT NULL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('first', 1)",  # the lowest position that is not trimmed away
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)


def make_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, so that they outlive a power failure."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def check_writable(path: Path) -> None:
    """Refuse a file or folder that this user cannot write.

    SQLite itself would open the file for reading, and complain of the first append only.

    Raises:
        LogReadOnly: it cannot be written.
    """
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            raise LogReadOnly(f"{place} cannot be read and written by this user, so the log {path} cannot be used")


def refuse_foreign(path: Path) -> None:
    """Look at `path` without leaving a trace, and refuse what is not a log, nor an empty place for one.

    Raises:
        LogForeign: something else is there.
        LogNewer: a newer semel wrote it.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise LogForeign(f"{path} is not a file; name the file that holds the log, or is to hold it")
    # `immutable` reads the main file alone: no lock, no write-ahead file, no trace beside a stranger's database.
    connection = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
    try:
        is_log(connection, path)
    except sqlite3.Error as error:
        # The main file alone may look damaged while another process checkpoints; only its header is judged here.
        if primary_code(error) == sqlite3.SQLITE_NOTADB:
            raise LogForeign(f"{path} is not a semel log: not an SQLite file, or its first page is damaged") from error
    finally:
        connection.close()


def is_log(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell a log (true) from an empty file (false).

    Raises:
        LogForeign: it is neither.
        LogNewer: a newer semel wrote it.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id == APPLICATION_ID:
        (written_as,) = connection.execute("PRAGMA user_version").fetchone()
        if written_as > FORMAT:
            raise LogNewer(f"{path} has the format {written_as} of a newer semel; this one reads up to {FORMAT}")
        return True
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id or tables:
        raise LogForeign(f"{path} is an SQLite database of another program, not a semel log")
    return False


def connect_to_write(path: Path) -> sqlite3.Connection:
    """Open the log at `path`, made if there is none; the caller holds the log's lock.

    Raises:
        LogError: it cannot be used as a log, by its kind.
        sqlite3.Error: SQLite could not open it.
    """
    connection = _connect(path, mode="rwc", busy_s=PATIENCE_S)
    try:
        if not is_log(connection, path):
            _make_log(connection)
        (journal_mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if journal_mode != "wal":
            raise LogUnavailable(f"{path} cannot be shared: its file system has no shared memory for SQLite")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES_MAX}")
        _check_ends(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path, *, busy_s: float) -> sqlite3.Connection:
    """Open the existing log at `path` for reading.

    A connection that cannot write never checkpoints when it closes.
    """
    return _connect(path, mode="ro", busy_s=busy_s)


def _connect(path: Path, *, mode: str, busy_s: float) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)
    # Checkpoints are the appender's, under the log's lock; see there.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: through the disk's own cache; nothing elsewhere
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    connection.execute("PRAGMA cell_size_check = ON")  # finds a damaged page when it is read, not later
    return connection


def _make_log(connection: sqlite3.Connection) -> None:
    # EXTRA also syncs the folder: a rollback journal that came back after a power failure would undo the log.
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("COMMIT")


def _check_ends(connection: sqlite3.Connection, path: Path) -> None:
    # What is cheap in a file of any size: both ends. Damage between them is found when it is read.
    # (One query for both would read the whole table: SQLite seeks an end only if it is asked for one alone.)
    first = first_position(connection, path)
    (lowest,) = connection.execute("SELECT min(position) FROM entries WHERE position >= ?", (first,)).fetchone()
    if (lowest or 1) != first:
        raise LogDamaged(f"{path} should begin at position {first}, but that entry is missing")


def first_position(connection: sqlite3.Connection, path: Path) -> int:
    """Return the lowest position that is not trimmed away; 1 for an empty log.

    Raises:
        LogDamaged: the log does not say.
    """
    row = connection.execute("SELECT value FROM meta WHERE name = 'first'").fetchone()
    if row is None:
        raise LogDamaged(f"{path} no longer says where the log in it begins")
    first: int = row[0]
    return first


def last_position(connection: sqlite3.Connection) -> int:
    """Return the last committed position; 0 for an empty log."""
    (last,) = connection.execute("SELECT max(position) FROM entries").fetchone()
    return last or 0
