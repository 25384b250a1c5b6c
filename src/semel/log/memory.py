"""The log in this process's memory, for tests and the simulator; it knows no files and outlives no process.

Many nodes in one event loop share one `MemoryLog`, as processes share a file.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import islice

from semel.errors import Conflict, LogDamaged, LogTrimmed
from semel.log.limits import BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, check_beginning, check_proposal
from semel.log.protocol import Batch


class MemoryLog:
    """A `Log` of one process, as durable as the process itself."""

    home: None = None
    """There is no place on disk beside this log."""

    copies = 0
    """It is never trimmed of itself: there is room for all of it, or for nothing else."""

    local = True

    def __init__(self) -> None:
        self._founding: bytes | None = None
        self._entries: list[bytes] = []
        self._first = 1
        self._grown = asyncio.Event()
        self._pulses: dict[str, bytes] = {}

    async def append(self, after: int, entries: Sequence[bytes]) -> int:
        """Commit `entries` after the position `after`; return the last position written."""
        check_proposal(after, entries)
        tail = await self.tail()
        last = after + len(entries)
        if tail == after:
            self._founding = entries[0] if tail == 0 else self._founding
            self._entries.extend(entries)
            self._grown.set()
            self._grown = asyncio.Event()
        elif not self._holds(after, entries):
            raise Conflict(f"the log ends at position {tail}; these entries do not stand after {after}")
        return last

    def _holds(self, after: int, entries: Sequence[bytes]) -> bool:
        start = after + 1 - self._first
        return start >= 0 and self._entries[start : start + len(entries)] == list(entries)

    async def follow(self, after: int) -> AsyncGenerator[Batch, None]:
        """Yield every entry after the position `after`, in order, waiting for new ones for ever."""
        while True:
            grown = self._grown
            if (batch := self._read(after)) is not None:
                after = batch.last
                yield batch
            else:
                await grown.wait()

    def _read(self, after: int) -> Batch | None:
        tail = self._first + len(self._entries) - 1
        if after > tail:
            raise LogDamaged(f"the log ends at position {tail}, before {after} from where it should be followed")
        if after + 1 < self._first:
            raise LogTrimmed(f"the entries after position {after} are trimmed away; the log begins at {self._first}")
        start = after + 1 - self._first
        entries: list[bytes] = []
        batch_bytes = 0
        for entry in islice(self._entries, start, start + BATCH_ENTRIES_MAX):
            batch_bytes += len(entry)
            if entries and batch_bytes > BATCH_BYTES_MAX:
                break
            entries.append(entry)
        return Batch(after + 1, entries) if entries else None

    async def tail(self) -> int:
        """Return the last committed position, 0 for an empty log."""
        return self._first + len(self._entries) - 1

    async def first(self) -> bytes | None:
        """Return the entry at position 1, None for an empty log."""
        return self._founding

    async def trim(self, before: int) -> None:
        """Forget every entry below the position `before`, but never the last one."""
        first = min(before, await self.tail())
        if first > self._first:
            del self._entries[: first - self._first]
            self._first = first

    async def begin_after(self, first: bytes, after: int, entry: bytes) -> None:
        """Make an empty log go on with `entry` after the position `after`."""
        check_beginning(after)
        if tail := await self.tail():
            raise Conflict(f"the log is not empty: it ends at position {tail}")
        self._founding, self._entries, self._first = first, [entry], after + 1
        self._grown.set()
        self._grown = asyncio.Event()

    async def pulse(self, node: str, beat: bytes) -> None:
        """Show `beat` as the newest sign of life of `node`."""
        self._pulses[node] = beat

    async def pulses(self) -> Mapping[str, bytes]:
        """Return the newest beat of every node that has pulsed and has not retired."""
        return dict(self._pulses)

    async def retire(self, node: str) -> None:
        """Take back the pulse of `node`."""
        self._pulses.pop(node, None)

    async def close(self) -> None:
        """Do nothing: other nodes may share this log, and memory needs no giving back."""
