"""Reads appends from etcd and checks that none is missing; it never writes, and waits for nothing new.

Reads are linearizable. They are plain ranges and no transactions: etcd 3.4 refuses even a reading transaction when
its database is full.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from semel.errors import LogDamaged, LogTrimmed
from semel.log.etcd import rpc
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.framing import Reference, count_of, join, unframe
from semel.log.etcd.keys import Keys, position_of
from semel.log.etcd.tails import KnownTail
from semel.log.limits import BATCH_BYTES_MAX

PAGE_KEYS_FIRST = 16
PAGE_KEYS_MOST = 1024
"""A page begins small, since a value may have a megabyte, and grows while values are small. It has two keys at
least: behind the first append of all there may be a gap, which is to be seen before that append is given away."""
PAGE_ATTEMPT_S = 1.0
PAGE_S = 10.0
"""A page can hold megabytes: it is waited for longer than a single key."""
WIDEN_FIRST = 64
WIDEN_BY = 4
"""The append that holds a position is looked for so far before it, then four times as far. (A range in descending
order would need one request, and etcd would read every value of the log for it.)"""
PIECES_AT_ONCE = 4
"""So many megabytes are on their way at once."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One append as it is kept: its first position, and its entries or what stands for them."""

    first: int
    held: Sequence[bytes] | Reference

    @property
    def last(self) -> int:
        """The last position that it holds."""
        return self.first + count_of(self.held) - 1


@dataclass(frozen=True, slots=True)
class Page:
    """Appends in a row, as they stood at etcd's `revision`."""

    stored: Sequence[Stored]
    revision: int
    more: bool
    """Whether the log goes on after them."""


class Reader:
    """Reads one log."""

    def __init__(self, cluster: Cluster, keys: Keys, known: KnownTail) -> None:
        self._cluster = cluster
        self._keys = keys
        self._known = known
        self._limit = PAGE_KEYS_FIRST

    async def tail(self) -> tuple[int, int]:
        """Return the last position, and etcd's revision at which it was read."""
        answer = await self._cluster.ask("range", rpc.one(self._keys.tail))
        found = rpc.items(answer)
        position = position_of(found[0].value) if found else 0
        self._known.learn(position)
        return position, answer.header.revision

    async def first(self) -> bytes | None:
        """Return the entry at position 1, None for an empty log."""
        found = rpc.items(await self._cluster.ask("range", rpc.one(self._keys.log(1)), attempt_s=PAGE_ATTEMPT_S))
        if not found:
            return None
        return (await self.entries_of(Stored(1, unframe(found[0].value, 1))))[0]

    async def page(self, after: int) -> Page:
        """Return the appends that follow the position `after`, which is before the tail; the first may hold it, too.

        Raises:
            LogTrimmed: they are trimmed away.
            LogDamaged: a position is missing.
        """
        request = rpc.span(self._keys.log_from(after + 1), limit=self._limit)
        answer = await self._cluster.ask("range", request, within_s=PAGE_S, attempt_s=PAGE_ATTEMPT_S)
        found = rpc.items(answer)
        self._limit = self._next_limit(found)
        stored = [self._stored(item) for item in found]
        if not stored or stored[0].first != after + 1:
            return Page([await self.holding(after + 1)], answer.header.revision, more=True)
        check_dense(stored)
        self._known.learn(stored[-1].last)
        return Page(stored, answer.header.revision, answer.more)

    def _next_limit(self, found: Sequence[rpc.Item]) -> int:
        value_bytes = sum(len(item.value) for item in found) / max(1, len(found))
        fitting = int(2 * BATCH_BYTES_MAX / max(1.0, value_bytes))
        return max(2, min(fitting, 4 * self._limit, PAGE_KEYS_MOST))

    def _stored(self, item: rpc.Item) -> Stored:
        first = self._keys.position(item.key)
        return Stored(first, unframe(item.value, first))

    async def holding(self, position: int) -> Stored:
        """Return the append that holds `position`, which is not after the tail.

        Raises:
            LogTrimmed: it is trimmed away.
            LogDamaged: it is missing, and no trim has taken it.
        """
        end, width = position + 1, WIDEN_FIRST
        while end > 1:
            start = max(1, position + 1 - width)
            request = rpc.span(self._keys.log_between(start, end), keys_only=True)
            if found := rpc.items(await self._cluster.ask("range", request, attempt_s=PAGE_ATTEMPT_S)):
                return await self._holding(position, found[-1].key)
            end, width = start, width * WIDEN_BY
        raise _trimmed(position)

    async def _holding(self, position: int, key: bytes) -> Stored:
        found = rpc.items(await self._cluster.ask("range", rpc.one(key), attempt_s=PAGE_ATTEMPT_S))
        if not found:
            raise _trimmed(position)  # since its key was seen
        stored = self._stored(found[0])
        if stored.last >= position:
            return stored
        if stored.first == 1:
            raise _trimmed(position)  # a trim leaves the first append alone
        raise _missing(position)

    async def entries_of(self, stored: Stored) -> Sequence[bytes]:
        """Return the entries of one append, put together from pieces if it is in pieces.

        Raises:
            LogTrimmed: its pieces are trimmed away.
            LogDamaged: they are not what was written.
        """
        if not isinstance(stored.held, Reference):
            return stored.held
        pieces: list[bytes] = []
        for start in range(0, stored.held.pieces, PIECES_AT_ONCE):
            numbers = range(start, min(start + PIECES_AT_ONCE, stored.held.pieces))
            pieces += await asyncio.gather(*(self._piece(stored, stored.held, number) for number in numbers))
        return await asyncio.to_thread(join, pieces, stored.held, stored.first)

    async def _piece(self, stored: Stored, reference: Reference, number: int) -> bytes:
        key = self._keys.piece(stored.first, reference.digest, number)
        request = rpc.one(key)
        found = rpc.items(await self._cluster.ask("range", request, within_s=PAGE_S, attempt_s=PAGE_ATTEMPT_S))
        if found:
            return found[0].value
        if rpc.items(await self._cluster.ask("range", rpc.one(self._keys.log(stored.first)))):
            raise LogDamaged(f"a piece of position {stored.first} is missing from etcd; restore it from a backup")
        raise _trimmed(stored.first)

    async def entries(self, after: int, count: int) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield `count` entries after the position `after` in chunks, all of which are before the tail."""
        last = after + count
        while after < last:
            for stored in (await self.page(after)).stored:
                chunk = (await self.entries_of(stored))[after + 1 - stored.first : last + 1 - stored.first]
                yield chunk
                after += len(chunk)
                if after == last:
                    return


def check_dense(stored: Sequence[Stored]) -> None:
    """Check that appends that were read together are neighbours; a trim leaves a gap behind the first one only."""
    for before, following in itertools.pairwise(stored):
        if following.first != before.last + 1:
            raise _trimmed(before.last + 1) if before.first == 1 else _missing(before.last + 1)


def _trimmed(position: int) -> LogTrimmed:
    return LogTrimmed(f"the entries from position {position} on are trimmed away from etcd")


def _missing(position: int) -> LogDamaged:
    return LogDamaged(f"position {position} is missing from etcd; restore the log from a backup")
