"""A node's place on its machine: its name, its folder, and the lock that keeps the name to one process."""

import fcntl
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from semel.errors import NameTaken, ReplicaError, UsageError
from semel.forks import closes, keep_from_children

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(slots=True)
class Place:
    """The name and the folder of one running node; locked until `leave` or the process's end."""

    name: str
    folder: Path
    _lock: IO[str]
    _temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def replica(self) -> Path:
        """Where the node's replica lives."""
        return self.folder / "replica.db"

    def leave(self) -> None:
        """Free the name."""
        closes(self._lock.fileno())
        self._lock.close()
        if self._temporary is not None:
            self._temporary.cleanup()


def take_place(home: Path | None, name: str | None, *, machine: str | None = None) -> Place:
    """Take the place of the node `name` below `home`, or the first free one of node-1, node-2 and so on.

    Where nodes of several machines meet, a node without a name has its `machine`'s, with -2, -3 for a further one.
    Without a home (a log in memory) the place is a temporary folder.

    Raises:
        NameTaken: a live process has this place.
        ReplicaError: the folder cannot be made or written.
        UsageError: the name cannot be a node's.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a node's name: use letters, digits, '.', '_' and '-', at most 64")
    temporary = tempfile.TemporaryDirectory(prefix="semel-") if home is None else None
    base = home if home is not None else Path(temporary.name)  # type: ignore[union-attr]  # one of the two is there
    for candidate in [name] if name else _names(machine):
        lock = _lock(base / candidate)
        if lock is not None:
            keep_from_children(lock.fileno())
            return Place(candidate, base / candidate, lock, temporary)
        if name is not None:
            raise NameTaken(
                f"a running process is already node {name!r} on this log ({base / candidate}): "
                "choose another --node, or stop that one"
            )
    raise AssertionError("unreachable")


def _names(machine: str | None) -> Iterator[str]:
    for number in itertools.count(1):
        yield f"node-{number}" if machine is None else machine if number == 1 else f"{machine}-{number}"


def _lock(folder: Path) -> IO[str] | None:
    """Return the open and locked lock file of a folder, or None if another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
    except BlockingIOError:
        lock.close()
        return None
    except OSError as error:
        with suppress(OSError):  # it tries once more to write what found no room
            lock.close()
        raise _unwritable(folder, error) from error
    return lock


def _unwritable(folder: Path, error: OSError) -> ReplicaError:
    return ReplicaError(f"the node's folder {folder} cannot be written: {error.strerror}")
