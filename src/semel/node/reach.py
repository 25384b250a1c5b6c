"""How fresh a node's view is: where the log was last known to end, and since when. It decides nothing."""

import asyncio
import time
from contextlib import suppress
from typing import Protocol

from semel.errors import LogDamaged, LogError, LogUnavailable, Unconfirmed
from semel.log.protocol import Log

LOOK_EVERY_S = 1.0
"""How often a node asks where the log ends: what it shows as lag is about as old, and no engine feels it."""
UNREACHED_S = 3.0
"""After three looks in vain, what is shown is said to be old; one look may always get lost."""
READ_TO_TAIL_S = 3.0
"""A linearizable read waits so long: longer than a log takes to elect its own leader, and less than a console waits."""
ASK_AGAIN_S = 0.1


class Folding(Protocol):
    """A node as it reads the log."""

    @property
    def position(self) -> int:
        """The last log position that it has folded."""
        ...

    @property
    def changed(self) -> asyncio.Event:
        """Set and replaced whenever it has folded something new."""
        ...


class Reach:
    """What a node knows of its log's end, and since when."""

    def __init__(self, log: Log) -> None:
        """Know nothing yet of an open log."""
        self._log = log
        self._heard_s = time.monotonic()
        self.tail = 0
        """The highest position that is known to be in the log."""
        self.trouble: str | None = None
        """Why the log did not tell where it ends, when it was last asked; None if it did."""

    @property
    def age_s(self) -> float:
        """How long ago the log was last heard of."""
        return time.monotonic() - self._heard_s

    @property
    def lost(self) -> bool:
        """True if the log has not been heard of for so long that it seems to be out of reach."""
        return self.age_s > UNREACHED_S

    def heard(self, position: int) -> None:
        """Note that the log has just shown that it reaches to `position` at least."""
        self.tail = max(self.tail, position)
        self._heard_s = time.monotonic()
        self.trouble = None

    async def ask(self) -> int:
        """Return the log's tail.

        Raises:
            LogUnavailable: the log cannot tell for now.
            LogDamaged: it ends before a position that it once had.
        """
        known = self.tail
        try:
            tail = await self._log.tail()
        except LogError as error:
            self.trouble = str(error)
            raise
        if tail < known:  # whoever follows it might wait for ever, and in silence
            raise LogDamaged(
                f"the log ends at position {tail}, and had {known} entries: they were deleted, or an older copy was "
                "put in its place. Bring the right one back, or restore a backup into an empty log"
            )
        self.heard(tail)
        return tail

    async def look_for_ever(self) -> None:
        """Ask for the tail now and then, so that what is shown has an age; what ails the log is told to others.

        Raises:
            LogDamaged: the log has lost entries.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.ask()
            except LogDamaged:
                raise
            except LogError:
                pass

    async def read_to_tail(self, node: Folding) -> int:
        """Wait until `node` has read all that the log holds as this is asked; return the position of its end.

        Raises:
            Unconfirmed: the log cannot tell in time where it ends, or the node does not get there in time.
        """
        tail = None
        try:
            async with asyncio.timeout(READ_TO_TAIL_S):
                tail = await self._tail_at_last()
                while node.position < tail:
                    await node.changed.wait()
        except TimeoutError:
            why = self.trouble or f"the log has not answered within {READ_TO_TAIL_S:g} s"
            if tail is not None:
                why = f"the log ends at position {tail}, and it is still reading"
            raise Unconfirmed(
                f"this node cannot tell whether it has read everything: {why}. Ask again; or without --linearizable, "
                f"for what it has read, which is up to position {node.position}"
            ) from None
        return tail

    async def _tail_at_last(self) -> int:
        while True:
            with suppress(LogUnavailable):
                return await self.ask()
            await asyncio.sleep(ASK_AGAIN_S)
