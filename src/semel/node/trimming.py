"""Keeps a log small: makes this node's replica durable, and trims what enough replicas hold. Knows no entries.

What goes is what every live replica holds durably, and at least so many replicas as the log asks for; but never the
tail, from which a node that was away for a moment goes on. One that lags far behind is not waited for: it takes a
snapshot.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence

from semel.log.protocol import Batch, Log
from semel.node.replica import Replica

KEPT_ENTRIES = 10_000
"""The tail that is kept: seconds to minutes of work."""
KEPT_BYTES = 8 * 2**20
"""The tail is smaller if its entries are large."""
HELD_BYTES_MAX = 32 * 2**20
"""So much is held for a live node that lags: more than is written while a snapshot travels."""
STEP_ENTRIES = 1_000
STEP_BYTES = 2**20
"""A trim costs the store a write and more, so it waits for so much to be gone at once."""
MARK_ENTRIES = 256
MARK_BYTES = 64 * 1024
"""Sizes are remembered by marks so far apart: a log that nobody can trim for hours takes little memory here."""


class Trimmer:
    """What one node has read of a log, by position and size, and how far that may be forgotten."""

    def __init__(self, log: Log, replica: Replica) -> None:
        self._log = log
        self._replica = replica
        self.durable = 0
        """The position up to which this node's replica is on the disk."""
        self.held: str | None = None
        """Why nothing is trimmed though there may be much, for people; None if that is not so."""
        self._ends: list[int] = []
        """Positions, ascending, and as far as this node has read at the end."""
        self._sizes: list[int] = []
        """The bytes that were read up to each of them."""
        self._trimmed = 0

    def read(self, batch: Batch) -> None:
        """Note a batch that the log gave."""
        if self._ends and batch.last <= self._ends[-1]:
            return
        size_bytes = (self._sizes[-1] if self._sizes else 0) + sum(map(len, batch.entries))
        if len(self._ends) > 1 and self._near(batch.last, size_bytes):
            self._ends[-1], self._sizes[-1] = batch.last, size_bytes
        else:
            self._ends.append(batch.last)
            self._sizes.append(size_bytes)

    def _near(self, end: int, size_bytes: int) -> bool:
        """Return whether the mark before the last is so near that the last may be moved on."""
        return end - self._ends[-2] < MARK_ENTRIES and size_bytes - self._sizes[-2] < MARK_BYTES

    async def sync(self, position: int) -> None:
        """Make the replica durable up to `position`, which it has committed.

        Raises:
            ReplicaError: the disk does not take it.
        """
        if position > self.durable:
            await asyncio.to_thread(self._replica.sync)
            self.durable = position

    async def trim(self, elsewhere: Sequence[int]) -> None:
        """Trim the log, if that is worth it; `elsewhere` is what `durable` is at the other live nodes.

        Raises:
            LogUnavailable: it may be done or not.
        """
        durable = [self.durable, *elsewhere]
        self.held = None
        if len(durable) < self._log.copies:
            self.held = (
                f"the log is not trimmed, and grows: an entry must be on the disks of {self._log.copies} live nodes "
                f"first, and {'there is' if len(durable) == 1 else 'there are'} {len(durable)}. Start more nodes"
            )
        before = self._before(durable)
        if before is not None:
            await self._log.trim(before)
            self._trimmed = before - 1
            gone = bisect_left(self._ends, self._trimmed)
            del self._ends[:gone], self._sizes[:gone]

    def _before(self, durable: Sequence[int]) -> int | None:
        """Return the position below which all may go now; None if there is nothing worth a trim."""
        copies = self._log.copies
        if not self._ends or len(durable) < copies:
            return None
        tail = max(self._ends[-1] - KEPT_ENTRIES, self._end_before(KEPT_BYTES))
        held = max(min(durable), self._end_before(HELD_BYTES_MAX))
        enough = sorted(durable, reverse=True)[copies - 1]
        upto = min(tail, held, enough)
        worth = upto - self._trimmed >= STEP_ENTRIES or self._bytes_up_to(upto) >= STEP_BYTES
        return upto + 1 if worth else None

    def _end_before(self, size_bytes: int) -> int:
        """Return the first mark that has no more than `size_bytes` after it; 0 if that is so from the start."""
        at = bisect_left(self._sizes, self._sizes[-1] - size_bytes)
        return self._ends[at] if at else 0

    def _bytes_up_to(self, position: int) -> int:
        """Return the bytes between the first mark and this position, about."""
        at = bisect_left(self._ends, position)
        return self._sizes[min(at, len(self._sizes) - 1)] - self._sizes[0] if at else 0
