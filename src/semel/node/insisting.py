"""Asks the log again and again until it answers, and says meanwhile what ails it."""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from semel.errors import LogUnavailable

AGAIN_S = (*[0.01] * 12, 0.05, 0.2, 0.5)
"""Waits before what got no answer is asked again; the last one stays. They are short for about as long as a log takes
to elect a leader of its own: each is a wait in which it may have one already."""
SAY_EVERY_S = 10.0
"""An engine's words for one and the same outage change from second to second; that is not news."""

logger = logging.getLogger("semel")

Answer = TypeVar("Answer")


class Troubles:
    """Why the log cannot be written or seen just now, by what was tried."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._said_s = 0.0

    @property
    def first(self) -> str | None:
        """The reason of what has failed longest, None if nothing fails."""
        return next(iter(self._reasons.values()), None)

    def note(self, what: str, reason: str | None) -> None:
        """Note why `what` did not work, or with None that it did, and let the process's own log say what is new."""
        before = self.first
        if reason is None:
            self._reasons.pop(what, None)
        else:
            self._reasons[what] = reason
        if self.first == before:
            return
        if self.first is None:
            logger.warning("the log can be reached again")
        elif before is None or time.monotonic() - self._said_s >= SAY_EVERY_S:
            self._said_s = time.monotonic()
            logger.warning("%s", self.first)

    async def insist(self, what: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer, and return it; note meanwhile why there is none."""
        return await insist(ask, partial(self.note, what))


def pause_s(attempt: int) -> float:
    """Return how long to wait after an attempt in vain; the first is 0."""
    return AGAIN_S[min(attempt, len(AGAIN_S) - 1)]


async def insist(ask: Callable[[], Awaitable[Answer]], told: Callable[[str | None], None] = lambda _: None) -> Answer:
    """Ask until the log answers, and return that; `told` hears why it did not, and None once it did."""
    for attempt in itertools.count():
        try:
            answer = await ask()
        except LogUnavailable as error:
            told(str(error))
            await asyncio.sleep(pause_s(attempt))
        else:
            told(None)
            return answer
    raise AssertionError("unreachable")
