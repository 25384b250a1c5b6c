"""The log as the node sees it: an ordered, durable sequence of opaque entries, and a pulse beside it.

Nothing here knows what an entry means. The laws that every engine keeps, and one contract suite checks:

1. Positions are dense from 1. A committed entry never changes and never moves.
2. `append` commits all of its entries or none, at `after + 1` onwards, and only if `after` is the last
   position. When it returns, they are durable.
3. `append` is idempotent: proposing the very same entries after the same position again returns the
   same position once they are committed. So a caller that lost the answer proposes again until it knows.
   Once they are trimmed away this is forgotten: a Conflict says "read on", never "yours was not written".
4. `follow` yields every entry after a position once, in order, without a gap, for ever.
5. `tail` is linearizable: it sees every append that returned before it was asked.
6. `trim` forgets old entries, and never the first one nor the last. What it left stays where it is.
7. A pulse is liveness, never safety: it may be lost, late or stale, and nothing breaks.
"""

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive committed entries; `first` is the position of `entries[0]`, which exists."""

    first: int
    entries: Sequence[bytes]

    @property
    def last(self) -> int:
        """The position of the last entry."""
        return self.first + len(self.entries) - 1


class Log(Protocol):
    """One totally ordered, durable sequence of entries, shared by all nodes of a cluster."""

    @property
    def home(self) -> Path | None:
        """The folder where the nodes of this machine keep their replicas; None if the log leaves nothing behind."""
        ...

    @property
    def copies(self) -> int:
        """How many live replicas must hold an entry durably before it is trimmed; 0 if the log keeps everything."""
        ...

    @property
    def local(self) -> bool:
        """True if only processes of this machine can share the log: then names and addresses are this machine's."""
        ...

    def append(self, after: int, entries: Sequence[bytes]) -> Awaitable[int]:
        """Commit `entries` (one or more) after the position `after`; return the last position written.

        An engine may begin at once, or when it is awaited; what it raises is raised there.

        Raises:
            Conflict: `after` is not the last position, and these entries are not what stands there.
            LogUnavailable: nothing is decided; propose the very same append again.
            LogError: the log cannot be used any more, and its text says why.
        """
        ...

    def follow(self, after: int) -> AsyncGenerator[Batch, None]:
        """Yield every entry after the position `after`, in order, waiting for new ones for ever.

        A log that is out of reach for a while is waited for. Close the generator to stop.

        Raises:
            LogTrimmed: the entries after `after` have been trimmed away.
            LogDamaged: a position is missing, or the log ends before `after` (it is an older copy).
            LogError: the log cannot be used any more.
        """
        ...

    async def tail(self) -> int:
        """Return the last committed position (0 for an empty log), linearizable.

        Raises:
            LogUnavailable: it cannot be told for now.
        """
        ...

    async def first(self) -> bytes | None:
        """Return the entry at position 1, which no trim forgets; None for an empty log.

        Raises:
            LogUnavailable: it cannot be told for now.
        """
        ...

    async def trim(self, before: int) -> None:
        """Forget the entries below the position `before`; positions and the tail stay as they are.

        An engine that stores several entries in one piece keeps those that share one with `before`. The last entry
        is always kept, so `before` past the tail keeps it. Trimming twice is harmless.

        Raises:
            LogUnavailable: it may be done or not; the next trim does it.
        """
        ...

    async def begin_after(self, first: bytes, after: int, entry: bytes) -> None:
        """Make an empty log go on with `entry` after the position `after` (1 or more), as if all before were trimmed.

        `first` is what `first` returns from now on. This is how the log of a restored backup begins.

        Raises:
            Conflict: the log is not empty; nothing was written.
            LogUnavailable: it may be done or not.
        """
        ...

    async def pulse(self, node: str, beat: bytes) -> None:
        """Show `beat` as the newest sign of life of `node`; an older one is overwritten. It may be lost, in silence."""
        ...

    async def pulses(self) -> Mapping[str, bytes]:
        """Return the newest beat of every node that has pulsed and has not retired.

        Raises:
            LogUnavailable: nobody's pulse can be seen for now.
        """
        ...

    async def retire(self, node: str) -> None:
        """Take back the pulse of `node`, which leaves on purpose."""
        ...

    async def close(self) -> None:
        """Give back files, threads and connections; harmless when repeated."""
        ...
