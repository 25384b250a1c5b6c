"""Snapshots: whole copies of a replica, each one file, for peers that the log has left behind and for backups.

Knows how one is made, kept for those who ask, and checked; not how it travels or what is done with it.
"""

import asyncio
import hashlib
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from semel.core.ledger import Totals
from semel.disk import sync
from semel.errors import ReplicaError
from semel.node.replica import APPLICATION_ID, check_format

KEPT_S = 30.0
"""So long a snapshot is given to all who ask, so that many who come at once cost one copy. The log is not trimmed
behind a node that is still catching up, so the age does no harm."""

ROOM_LEFT_BYTES = 64 * 2**20
"""So much of the disk is left free by a snapshot that somebody else asks for: the node goes on writing its replica, and
an etcd member its log, and neither survives a full disk."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A checked copy of a replica: where it is, what it stands for, and the digest of the file."""

    path: Path
    totals: Totals
    last_entry: str
    """The digest of the entry at `totals.position`."""
    digest: str

    @classmethod
    def take(cls, replica: Path, into: Path) -> Self:
        """Copy the last commit of a replica that may be in use into the new file `into`, and to the disk.

        Raises:
            ReplicaError: it cannot be read, or there is no room for the copy.
        """
        unfinished = into.with_name(f"{into.name}.new")
        journal = into.with_name(f"{unfinished.name}-journal")
        try:
            for left_over in (unfinished, journal):
                left_over.unlink(missing_ok=True)
            with closing(sqlite3.connect(f"{replica.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                _check_kind(connection, replica)
                connection.execute("VACUUM INTO ?", (str(unfinished),))
            sync(unfinished)
            unfinished.replace(into)
        except (sqlite3.Error, OSError) as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
                journal.unlink(missing_ok=True)
            raise ReplicaError(f"no snapshot of {replica} can be written to {into}: {error}") from error
        return cls.check(into)

    @classmethod
    def check(cls, path: Path) -> Self:
        """Read what the file at `path` stands for, and check that it is whole.

        Raises:
            ReplicaError: it is no snapshot, or damaged, or of another format.
        """
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
                _check_kind(connection, path)
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                state = connection.execute("SELECT totals, last_entry FROM state").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise ReplicaError(f"{path} is no whole snapshot or backup: {error}") from error
        if found != "ok" or state is None:
            raise ReplicaError(f"{path} is damaged: {found if found != 'ok' else 'it does not say what it stands for'}")
        return cls(path, msgspec.json.decode(state[0], type=Totals), state[1], digest)


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    """Raise a ReplicaError for a file that is no replica, or of another format."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise ReplicaError(f"{path} is no replica or backup of semel: {error}") from error
    if application != APPLICATION_ID:
        raise ReplicaError(f"{path} is no replica or backup of semel")
    check_format(path, version)


class Shelf:
    """The newest snapshot of one replica, in a folder of its own; made when somebody asks."""

    def __init__(self, replica: Path) -> None:
        self._replica = replica
        self._folder = replica.with_name("snapshots")
        self._newest: Snapshot | None = None
        self._made_s = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def newest(self) -> Snapshot:
        """Return a snapshot of now or a little while ago.

        Raises:
            ReplicaError: none can be made.
        """
        async with self._one_at_a_time:
            if self._newest is None or time.monotonic() - self._made_s > KEPT_S or not self._newest.path.exists():
                self._newest = await asyncio.to_thread(self._make)
                self._made_s = time.monotonic()
            return self._newest

    def _make(self) -> Snapshot:
        self.clear()
        try:
            self._folder.mkdir(exist_ok=True)
            size_bytes = self._replica.stat().st_size
            free_bytes = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise ReplicaError(f"the folder {self._folder} for snapshots cannot be made: {error.strerror}") from error
        if free_bytes < size_bytes + ROOM_LEFT_BYTES:
            raise ReplicaError(
                f"there is no room for a snapshot in {self._folder}: it takes {size_bytes / 2**20:,.0f} MiB, and "
                f"{free_bytes / 2**20:,.0f} MiB are free. Make room, or ask another node"
            )
        return Snapshot.take(self._replica, self._folder / f"{time.time_ns()}.db")

    def clear(self) -> None:
        """Remove what is on the shelf; who reads it now reads on."""
        with suppress(OSError):
            for file in self._folder.iterdir():
                file.unlink()
            self._folder.rmdir()
