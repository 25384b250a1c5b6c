"""What goes on beside an HTTP request whose answer takes long: an eye on its client, and pings, as the SDK has them.

Knows ASGI; nothing of calls. A request that is answered at once never begins any of it.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from starlette.types import Receive, Send

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


class Lookout:
    """Finds the answers that take long among all that are under way: one timer for all of them."""

    def __init__(self) -> None:
        self._under_way: dict[Lingering, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, lingering: "Lingering") -> None:
        """Note that an answer is waited for from now on."""
        loop = asyncio.get_running_loop()
        self._under_way[lingering] = loop.time()
        if self._timer is None or self._loop is not loop:
            self._loop, self._timer = loop, loop.call_later(LOOK_AFTER_S, self._look, loop)

    def end(self, lingering: "Lingering") -> None:
        """Note that it is not waited for any more."""
        self._under_way.pop(lingering, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s, self._timer = loop.time(), None
        for lingering, begun_s in list(self._under_way.items()):  # the oldest first
            if now_s - begun_s < LOOK_AFTER_S:
                self._timer = loop.call_at(begun_s + LOOK_AFTER_S, self._look, loop)
                return
            del self._under_way[lingering]
            lingering.linger()


class Lingering:
    """A context around the work for an answer: cancels it when its client goes (`Gone`), and pings when it is late."""

    def __init__(self, lookout: Lookout, receive: Receive, send: Send) -> None:
        self._lookout = lookout
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
        self._lookout.begin(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what goes on beside; a ping that is being sent is sent to its end.

        Raises:
            Gone: the client has gone.
        """
        self._lookout.end(self)
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

    def linger(self) -> None:
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
