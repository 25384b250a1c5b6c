"""Asks the log until it answers: an append until it is decided, the tail until it is told; and says what ails it."""

import asyncio
import itertools
import logging
from collections.abc import Sequence

from semel.errors import Conflict, LogUnavailable
from semel.log.protocol import Log

AGAIN_S = (0.01, 0.05, 0.2, 0.5)
"""Waits before what got no answer is asked again; the last one stays."""

logger = logging.getLogger("semel")


class Troubles:
    """Why the log cannot be written or seen just now, by what was tried."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    @property
    def first(self) -> str | None:
        """The reason that has lasted longest, None if there is none."""
        return next(iter(self._reasons.values()), None)

    def note(self, what: str, reason: str | None) -> None:
        """Note why `what` did not work, or with None that it did; the log of the process says what changes."""
        before = self.first
        if reason is None:
            self._reasons.pop(what, None)
        else:
            self._reasons[what] = reason
        if self.first != before:
            logger.warning("%s", self.first if self.first is not None else "the log can be reached again")


async def append(log: Log, after: int, entries: Sequence[bytes], troubles: Troubles) -> bool:
    """Propose the very same append until the log decides it; return whether it was committed."""
    for attempt in itertools.count():
        committed = True
        try:
            await log.append(after, entries)
        except Conflict:
            committed = False
        except LogUnavailable as error:
            troubles.note("append", str(error))
            await _pause(attempt)
            continue
        troubles.note("append", None)
        return committed
    raise AssertionError("unreachable")


async def tail(log: Log) -> int:
    """Return the log's tail as soon as it can be told."""
    for attempt in itertools.count():
        try:
            return await log.tail()
        except LogUnavailable:
            await _pause(attempt)
    raise AssertionError("unreachable")


async def _pause(attempt: int) -> None:
    await asyncio.sleep(AGAIN_S[min(attempt, len(AGAIN_S) - 1)])
