"""How a node reads the log while it owes nothing to anybody: not each append as it comes, but several together.

It wakes less often then, and takes less from those that are at work on the same machine. Knows neither log nor core.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEISURE_S = 0.02
"""So far behind a node may be that nobody waits for: less than a person sees, and many appends."""
WAITED_S = 0.001
"""What came later than that had not been there when it was asked for, so that the node had read all there was."""


class Leisure:
    """The pauses of one reader; `idle` tells whether the node owes nothing just now.

    A reader that is behind makes none: it pauses only after a batch for which it had to wait.
    """

    def __init__(self, idle: Callable[[], bool]) -> None:
        self._idle = idle
        self._hurried = 0
        self._asked_s = time.monotonic()
        self._waited = False
        self._pause: asyncio.Future[None] | None = None

    def read(self) -> None:
        """Note that a batch has come; without a `pause` the next is asked for at once."""
        asked_s, self._asked_s = self._asked_s, time.monotonic()
        self._waited = self._asked_s - asked_s > WAITED_S

    async def pause(self) -> None:
        """Let others have their turn, and, as long as the node is idle, some more; then the next batch is asked for."""
        if self._waited and not self._hurried and self._idle():
            await self._rest()
        else:
            await asyncio.sleep(0)
        self._asked_s = time.monotonic()

    async def _rest(self) -> None:
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        timer = loop.call_later(LEISURE_S, self._end)
        try:
            await self._pause
        finally:
            timer.cancel()
            self._pause = None

    def look(self) -> None:
        """End the pause, if there is one, once the node is idle no more."""
        if self._pause is not None and not self._idle():
            self._end()

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Make no pause as long as the context is open: somebody waits for what is in the log."""
        self._hurried += 1
        self._end()
        try:
            yield
        finally:
            self._hurried -= 1

    def _end(self) -> None:
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)
