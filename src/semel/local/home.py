"""The data directory of `semel up`: what lies where, who has it, and what is remembered from one start to the next.

- cluster.json       the members and nodes, with their ports
- lock               held by the `semel up` that runs, with its process id
- etcd/<member>/     each member's data
- nodes/<node>/      each node's copy of the log
- logs/<name>.log    what each process writes; the older half is in <name>.log.1
"""

import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from semel.errors import DataForeign, DataInUse

FORMAT = 1


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An etcd member's ports: for clients, and for the other members."""

    client: int
    peer: int


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is remembered of a cluster: which members and nodes this machine has, and where they listen."""

    format: int
    host: str
    """This machine, as the cluster knows it; `127.0.0.1` for one that lives here alone."""
    token: str
    """The etcd cluster's name among etcd clusters."""
    members: dict[str, Ports]
    nodes: dict[str, int]
    """Each node's port."""
    founded: bool
    """Whether the members have had a quorum: from then on each of them must come back with its data."""


class Home:
    """A data directory that is ours while the context is open.

    Raises, on entering:
        DataInUse: another `semel up` has it.
        DataForeign: it cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise DataForeign(
                f"the data directory {self.folder} cannot be used: {error.strerror}; choose another with --data"
            ) from error
        self._take(self._lock)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._lock is not None
        self._lock.close()

    def _take(self, lock: IO[str]) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise DataInUse(
                f"another `semel up` (process {holder}) runs on {self.folder}: end that one, or choose another "
                "directory with --data. Nothing was started"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()

    def plan(self) -> Plan | None:
        """Return what is remembered, or None for a new directory.

        Raises:
            DataForeign: it cannot be read, or is a newer semel's.
        """
        try:
            plan = msgspec.json.decode(self._cluster.read_bytes(), type=Plan)
        except FileNotFoundError:
            self._refuse_what_is_not_ours()
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise DataForeign(
                f"{self._cluster} cannot be read: {error}; put it right, or choose another --data"
            ) from error
        if plan.format != FORMAT:
            raise DataForeign(f"{self._cluster} was written by another version of semel: use that one")
        return plan

    def remember(self, plan: Plan) -> None:
        """Keep the plan for the next start, whole or not at all."""
        draft = self._cluster.with_suffix(".new")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
        draft.replace(self._cluster)

    def etcd(self, member: str) -> Path:
        """Return the data directory of a member."""
        return self.folder / "etcd" / member

    def forget_etcd(self) -> None:
        """Remove what members have written here."""
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    @property
    def nodes(self) -> Path:
        """The folder of the nodes' copies of the log."""
        return self.folder / "nodes"

    @property
    def logs(self) -> Path:
        """The folder of what the processes write."""
        return self.folder / "logs"

    def log(self, name: str) -> Path:
        """Return the file that a process writes into."""
        return self.logs / f"{name}.log"

    @property
    def _cluster(self) -> Path:
        return self.folder / "cluster.json"

    def _refuse_what_is_not_ours(self) -> None:
        strange = sorted(path.name for path in self.folder.iterdir() if path.name not in ("lock", "logs"))
        if strange:
            raise DataForeign(
                f"{self.folder} holds {strange[0]!r} and no cluster of `semel up`: choose a new or empty --data"
            )
