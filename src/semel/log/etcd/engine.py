"""`EtcdLog`: the log in etcd as nodes see it; it knows which part does what, and none of etcd's words."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Self
from urllib.parse import quote

from semel.log.etcd.address import EtcdAddress
from semel.log.etcd.appender import Appender
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.follower import Follower
from semel.log.etcd.housekeeping import Housekeeping
from semel.log.etcd.keys import Keys
from semel.log.etcd.pulses import Pulses
from semel.log.etcd.reader import Reader
from semel.log.etcd.tails import KnownTail
from semel.log.limits import check_beginning, check_proposal
from semel.log.protocol import Batch


class EtcdLog:
    """A `Log` in etcd, shared by the nodes of many machines; `open` makes it, for the running event loop."""

    local = False
    """Nodes on other machines share it."""

    def __init__(self, cluster: Cluster, folder: Path | None) -> None:
        self._cluster = cluster
        self._folder = folder
        self._keys = Keys(cluster.address.prefix)
        self._known = KnownTail()
        self._reader = Reader(cluster, self._keys, self._known)
        self._appender = Appender(cluster, self._keys, self._reader, self._known)
        self._pulses = Pulses(cluster, self._keys, self._known)
        self._housekeeping = Housekeeping(cluster, self._keys, self._reader)

    @classmethod
    async def open(cls, address: EtcdAddress, folder: Path | None = None) -> Self:
        """Open the log at `address`, which is made by its first append; `folder` is where this machine keeps data.

        Raises:
            LogUnavailable: no member can be reached for now.
            LogError: a member is not to be used, or does not let us in.
        """
        return cls(await Cluster.open(address), folder)

    @property
    def copies(self) -> int:
        """How many live replicas must hold an entry before it is trimmed: as many as outlive what etcd outlives."""
        return self._cluster.address.copies or len(self._cluster.members) // 2 + 1

    @property
    def home(self) -> Path | None:
        """The folder where nodes of this machine keep their replicas of this log; it may not exist yet."""
        if self._folder is None:
            return None
        return self._folder / f"etcd-{self._cluster.id:016x}-{quote(self._cluster.address.prefix, safe='')}"

    async def append(self, after: int, entries: Sequence[bytes]) -> int:
        """Commit `entries` after the position `after`; return the last position, once a majority has it on disk."""
        check_proposal(after, entries)
        return await self._appender.append(after, entries)

    async def follow(self, after: int) -> AsyncGenerator[Batch, None]:
        """Yield every entry after the position `after`, in order, waiting for new ones for ever."""
        follower = Follower(self._cluster, self._keys, self._reader, self._known, after)
        async with aclosing(follower.batches()) as batches:
            async for batch in batches:
                yield batch

    async def tail(self) -> int:
        """Return the last committed position, 0 for an empty log."""
        return (await self._reader.tail())[0]

    async def first(self) -> bytes | None:
        """Return the entry at position 1, None for an empty log."""
        return await self._reader.first()

    async def trim(self, before: int) -> None:
        """Forget the entries below the append that holds `before`, and look after etcd on that occasion."""
        await self._housekeeping.trim(before)

    async def begin_after(self, first: bytes, after: int, entry: bytes) -> None:
        """Make an empty log go on with `entry` after the position `after`."""
        check_beginning(after)
        await self._appender.begin_after(first, after, entry)

    async def pulse(self, node: str, beat: bytes) -> None:
        """Show `beat` as the newest sign of life of `node`, in less than a second or not at all."""
        self._housekeeping.tend()
        await self._pulses.show(node, beat)

    async def pulses(self) -> Mapping[str, bytes]:
        """Return the newest beat of every node that has pulsed in ten minutes and has not retired."""
        return await self._pulses.shown()

    async def retire(self, node: str) -> None:
        """Take back the pulse of `node`."""
        await self._pulses.take_back(node)

    async def close(self) -> None:
        """Cut the connections; whoever still follows gets a `LogError`."""
        await self._housekeeping.close()
        await self._cluster.close()
