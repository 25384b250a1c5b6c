"""Further connections to one server, one for each client that the server may ask back.

A question on a shared pipe does not say which request it is about. So a client that can be asked gets a connection of
its own, opened with its capabilities, for all of its requests: as if it had started the server itself. It is kept for
a while, for a server on stdio may remember what went before.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from semel.gateway.upstreams.connection import Connection, Manner

SPARES_MAX = 32
"""Connections to one server at once: a stdio server runs in a process for each. Over it, the one that was not needed
for longest ends, or requests wait."""

ONCE_MAX = 24
"""Of these, connections for one request each, as clients without a name get them: one such client may ask for any
number, and those with a name, who need one each, come in all the same."""

IDLE_S = 600.0
"""How long one that nobody needs is kept."""


@dataclass(slots=True, eq=False)
class _Spare:
    connection: Connection
    ended: asyncio.Event
    ready: "asyncio.Future[None]"
    once: bool
    task: "asyncio.Task[None] | None" = None
    users: int = 0
    timer: asyncio.TimerHandle | None = None


class Spares:
    """The spare connections of one server; `make` makes one, whose loss is told to the function that it is given."""

    def __init__(self, make: Callable[[Manner, Callable[[], object]], Connection], *, handshake_s: float) -> None:
        self._make = make
        self._handshake_s = handshake_s
        self._open: dict[Manner, _Spare] = {}
        """Those that may be used, the one that was used last at the end."""
        self._all: set[_Spare] = set()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def lease(self, manner: Manner, *, once: bool = False) -> AsyncIterator[Connection]:
        """Use the connection of this manner, opening it if there is none; raises whatever that does.

        `once` says that nobody will ask for it again.
        """
        spare = await self._take(manner, once)
        try:
            yield spare.connection
        finally:
            self._give_back(manner, spare)

    def connections(self) -> list[Connection]:
        """Return those that are open."""
        return [spare.connection for spare in self._open.values() if spare.ready.done()]

    async def close(self) -> None:
        """Close all of them."""
        tasks = [spare.task for spare in self._all if spare.task is not None]
        for manner, spare in list(self._open.items()):
            self._end(manner, spare)
        await asyncio.gather(*tasks, return_exceptions=True)

    def kill(self) -> None:
        """Kill what processes there are; may be called from any thread."""
        for spare in list(self._all):
            spare.connection.kill()

    async def _take(self, manner: Manner, once: bool) -> _Spare:
        while (spare := self._open.get(manner)) is None and self._full(once):
            idle = next((each for each in self._open.items() if not each[1].users), None)
            if idle is not None and len(self._all) >= SPARES_MAX:
                self._end(*idle)
            self._freed.clear()
            await self._freed.wait()
        if spare is None:
            spare = self._begin(manner, once)
        spare.users += 1
        if spare.timer is not None:
            spare.timer.cancel()
        self._open[manner] = self._open.pop(manner)
        try:
            await asyncio.shield(spare.ready)
        except BaseException:
            self._give_back(manner, spare)
            raise
        return spare

    def _full(self, once: bool) -> bool:
        """Return whether there is no room for a further one."""
        return len(self._all) >= SPARES_MAX or (once and sum(spare.once for spare in self._all) >= ONCE_MAX)

    def _begin(self, manner: Manner, once: bool) -> _Spare:
        ended = asyncio.Event()
        spare = _Spare(self._make(manner, ended.set), ended, asyncio.get_running_loop().create_future(), once)
        spare.ready.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may be for nobody
        self._open[manner] = spare
        self._all.add(spare)
        spare.task = asyncio.create_task(self._keep(manner, spare), name="spare connection")
        return spare

    async def _keep(self, manner: Manner, spare: _Spare) -> None:
        """Live through one connection: its opening, its use and its closing are of one task, as the SDK wants it."""
        try:
            async with asyncio.timeout(self._handshake_s) as handshake, spare.connection:
                handshake.reschedule(None)
                spare.ready.set_result(None)
                await spare.ended.wait()
        except Exception as error:
            if not spare.ready.done():
                spare.ready.set_exception(error)
        finally:
            if not spare.ready.done():
                spare.ready.cancel()
            self._end(manner, spare)
            self._all.discard(spare)
            self._freed.set()

    def _give_back(self, manner: Manner, spare: _Spare) -> None:
        spare.users -= 1
        if spare.users:
            return
        if spare.once or spare.ended.is_set():
            self._end(manner, spare)
        else:
            spare.timer = asyncio.get_running_loop().call_later(IDLE_S, self._end, manner, spare)
        self._freed.set()

    def _end(self, manner: Manner, spare: _Spare) -> None:
        """Let a connection close, which takes a moment; whoever asks for it from now on gets a new one."""
        spare.ended.set()
        if spare.timer is not None:
            spare.timer.cancel()
        if self._open.get(manner) is spare:
            del self._open[manner]
