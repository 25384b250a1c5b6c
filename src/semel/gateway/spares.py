"""Further connections to one server, each for one request at a time: for requests in which the server may ask back.

A question on a shared pipe does not say which request it is about. So a client that can be asked gets a connection of
its own for the request, opened with its capabilities, which is kept for the next one with the same. A connection whose
request did not come to its end is not used again: what it may still say is about that one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from semel.gateway.connection import Connection, Manner

SPARES_MAX = 32
"""Connections to one server at once: a stdio server runs in a process for each. Over it, requests wait."""

IDLE_S = 60.0
"""How long one that nobody needs is kept."""


@dataclass(slots=True, eq=False)
class _Spare:
    connection: Connection
    manner: Manner
    ended: asyncio.Event
    ready: "asyncio.Future[None]"
    task: "asyncio.Task[None] | None" = None
    timer: asyncio.TimerHandle | None = field(default=None)


class Spares:
    """The spare connections of one server; `make` makes one, whose loss is told to the function that it is given."""

    def __init__(self, make: Callable[[Manner, Callable[[], object]], Connection], *, handshake_s: float) -> None:
        self._make = make
        self._handshake_s = handshake_s
        self._all: set[_Spare] = set()
        self._idle: list[_Spare] = []
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def lease(self, manner: Manner) -> AsyncIterator[Connection]:
        """Have a connection to oneself; raises whatever its opening does."""
        spare = await self._take(manner)
        try:
            yield spare.connection
        except BaseException:
            self._end(spare)
            raise
        self._give_back(spare)

    async def close(self) -> None:
        """Close all of them."""
        tasks = [spare.task for spare in self._all if spare.task is not None]
        for spare in list(self._all):
            self._end(spare)
        await asyncio.gather(*tasks, return_exceptions=True)

    def kill(self) -> None:
        """Kill what processes there are; may be called from any thread."""
        for spare in list(self._all):
            spare.connection.kill()

    async def _take(self, manner: Manner) -> _Spare:
        while True:
            for spare in reversed(self._idle):
                if spare.manner == manner:
                    self._idle.remove(spare)
                    assert spare.timer is not None
                    spare.timer.cancel()
                    return spare
            if len(self._all) < SPARES_MAX:
                return await self._begin(manner)
            if self._idle:
                self._end(self._idle[0])
            self._freed.clear()
            await self._freed.wait()

    async def _begin(self, manner: Manner) -> _Spare:
        ended = asyncio.Event()
        spare = _Spare(self._make(manner, ended.set), manner, ended, asyncio.get_running_loop().create_future())
        self._all.add(spare)
        spare.task = asyncio.create_task(self._keep(spare), name="spare connection")
        try:
            await spare.ready
        except BaseException:
            self._end(spare)
            raise
        return spare

    async def _keep(self, spare: _Spare) -> None:
        """Live through one connection: its opening, its use and its closing are of one task, as the SDK wants it."""
        try:
            async with asyncio.timeout(self._handshake_s) as handshake, spare.connection:
                handshake.reschedule(None)
                if not spare.ready.done():
                    spare.ready.set_result(None)
                await spare.ended.wait()
        except Exception as error:
            if not spare.ready.done():
                spare.ready.set_exception(error)
        finally:
            spare.connection.lost = True
            self._end(spare)
            self._all.discard(spare)
            self._freed.set()

    def _give_back(self, spare: _Spare) -> None:
        if spare.connection.lost:
            self._end(spare)
            return
        spare.timer = asyncio.get_running_loop().call_later(IDLE_S, self._end, spare)
        self._idle.append(spare)
        self._freed.set()

    def _end(self, spare: _Spare) -> None:
        """Let a connection close, which takes a moment."""
        spare.ended.set()
        if spare.timer is not None:
            spare.timer.cancel()
        with contextlib.suppress(ValueError):
            self._idle.remove(spare)
