"""What goes on beside an HTTP request whose answer takes long: an eye on its client, and pings, as the SDK has them.

Knows ASGI; nothing of calls. A request that is answered at once never begins any of it.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from starlette.types import Receive, Send

from semel.deadlines import Deadlines

LOOK_AFTER_S = 0.25
"""How soon it is looked after whether the client is still there; until then it makes no difference."""

PING_S = 15.0
"""After so long without an answer the response becomes a stream of events, with a ping as often: the SDK's interval.
A silent connection would be cut by many a proxy."""

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
]


class Gone(Exception):
    """The client has gone; nobody is there to be answered."""


class Lingering:
    """A context around the work for an answer: cancels it when its client goes (`Gone`), and pings when it is late."""

    def __init__(self, deadlines: Deadlines, receive: Receive, send: Send) -> None:
        self._deadlines = deadlines
        self._receive = receive
        self._send = send
        self._tasks: list[asyncio.Task[None]] = []
        self._gone = False
        self.streams = False
        """True once the response has begun as a stream of events."""

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._deadlines.set(self, LOOK_AFTER_S, self._linger)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what goes on beside; a ping that is being sent is sent to its end.

        Raises:
            Gone: the client has gone.
        """
        self._deadlines.call_off(self)
        if not self._tasks:
            return
        look, ping = self._tasks
        look.cancel()
        if kind is not None:
            ping.cancel()
        self._ends.set()
        if not self._gone:
            await asyncio.wait(self._tasks)
            return
        if kind is None:  # it came to its end as its client went
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if not self._task.uncancel():
            raise Gone from None

    def _linger(self) -> None:
        """Begin to look and to ping."""
        self._ends = asyncio.Event()
        self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._ping())]

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()

    async def _ping(self) -> None:
        if await self._ends_within(PING_S - LOOK_AFTER_S):
            return
        self.streams = True
        await self._send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        while True:
            await self._send({"type": "http.response.body", "body": b": ping\r\n\r\n", "more_body": True})
            if await self._ends_within(PING_S):
                return

    async def _ends_within(self, limit_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ends.wait(), limit_s)
        return self._ends.is_set()
