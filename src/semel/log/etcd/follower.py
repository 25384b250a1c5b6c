"""Follows a log in etcd: reads what is there, then watches for what comes; whenever in doubt it reads again.

A watch is fast and proves nothing: its stream can break, fall behind, lose its history to a compaction, or hang on a
member that hears no others. So each event must be the next position, and a follower that stays behind what this
process knows of the log leaves the stream.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from semel.errors import LogDamaged, LogTrimmed, LogUnavailable
from semel.log.etcd import rpc
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.faults import Verdict, told, verdict
from semel.log.etcd.framing import unframe
from semel.log.etcd.keys import Keys
from semel.log.etcd.member import Member, RpcError, Stream
from semel.log.etcd.reader import Reader, Stored, check_dense
from semel.log.etcd.tails import KnownTail
from semel.log.limits import BATCH_BYTES_MAX, BATCH_ENTRIES_MAX
from semel.log.protocol import Batch

LOOK_EVERY_S = 0.1
BEHIND_S = 0.3
"""An event takes milliseconds; a stream that is behind for so long has stalled. Looked for ten times a second."""
AGAIN_S = (0.02, 0.1, 0.3)
"""Pauses between attempts to read a log that is out of reach, or to watch one that will not be watched."""


class Follower:
    """Follows one log from a position, once."""

    def __init__(self, cluster: Cluster, keys: Keys, reader: Reader, known: KnownTail, after: int) -> None:
        self._cluster = cluster
        self._keys = keys
        self._reader = reader
        self._known = known
        self._after = after
        self._revision = 0
        """etcd's revision up to which everything has been read."""
        self._avoid: Member | None = None
        """The member whose stream was the last to end."""
        self._failures = 0

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield every entry, in order, for ever."""
        while True:
            self._cluster.check_open()
            try:
                async with aclosing(self._read()) as batches:
                    async for batch in batches:
                        yield batch
                async with aclosing(self._watch()) as batches:
                    async for batch in batches:
                        yield batch
            except LogUnavailable:
                pass
            # A stream that has brought something may be opened again at once.
            if self._failures:
                await asyncio.sleep(AGAIN_S[min(self._failures, len(AGAIN_S)) - 1])
            self._failures += 1

    async def _read(self) -> AsyncGenerator[Batch, None]:
        """Yield what is there; from the revision noted at the end, a watch can go on."""
        tail, self._revision = await self._reader.tail()
        if tail < self._after:
            raise LogDamaged(
                f"the log {self._cluster.address} ends at position {tail}, before {self._after} which it once had"
            )
        while tail > self._after:
            page = await self._reader.page(self._after)
            async with aclosing(self._take(page.stored)) as batches:
                async for batch in batches:
                    yield batch
            self._revision = page.revision
            if not page.more:
                return
            tail = max(tail, self._known.position)

    async def _take(self, stored: Sequence[Stored]) -> AsyncGenerator[Batch, None]:
        """Yield the entries of neighbouring appends in batches as large as may be, those after the position."""
        gathered: list[bytes] = []
        gathered_bytes = 0
        for each in stored:
            entries = await self._reader.entries_of(each)
            for entry in entries[self._after + 1 + len(gathered) - each.first :]:
                full = len(gathered) == BATCH_ENTRIES_MAX or gathered_bytes + len(entry) > BATCH_BYTES_MAX
                if gathered and full:
                    yield self._batch(gathered)
                    gathered, gathered_bytes = [], 0
                gathered.append(entry)
                gathered_bytes += len(entry)
        if gathered:
            yield self._batch(gathered)

    def _batch(self, entries: list[bytes]) -> Batch:
        batch = Batch(self._after + 1, entries)
        self._after = batch.last
        self._failures = 0
        return batch

    async def _watch(self) -> AsyncGenerator[Batch, None]:
        """Yield what is appended after the noted revision; end in any doubt."""
        member = self._cluster.current
        if member is self._avoid:
            member = self._cluster.next_to(member)
        self._avoid = member
        stream = member.watch(rpc.watch_from(self._keys.whole_log, self._revision + 1), token=self._cluster.token)
        try:
            while answers := await self._next(stream):
                if (stored := self._following(answers)) is None:
                    return
                async with aclosing(self._take(stored)) as batches:
                    async for batch in batches:
                        yield batch
        except RpcError as error:
            self._cluster.check_open()
            if verdict(error) is Verdict.NEVER:
                raise told(error, member.endpoint, self._cluster.address.user) from error
        finally:
            stream.close()

    async def _next(self, stream: Stream) -> Sequence[Any]:
        """Return the next answers of a stream; none if it ended, or stays behind what is known of the log."""
        behind_since: float | None = None
        while True:
            try:
                return await stream.next(LOOK_EVERY_S)
            except TimeoutError:
                if self._known.position <= self._after:
                    behind_since = None
                elif behind_since is None:
                    behind_since = time.monotonic()
                elif time.monotonic() - behind_since > BEHIND_S:
                    return ()

    def _following(self, answers: Sequence[Any]) -> Sequence[Stored] | None:
        """Return the appends of answers, none for those without events; None if they cannot be the next ones."""
        stored = []
        for answer in answers:
            if answer.canceled or answer.header.cluster_id != self._cluster.id:
                return None
            for event in answer.events:
                first = self._keys.position(event.kv.key)
                stored.append(Stored(first, unframe(event.kv.value, first)))
        if stored and stored[0].first != self._after + 1:
            return None
        try:
            check_dense(stored)
        except (LogDamaged, LogTrimmed):
            return None
        return stored
