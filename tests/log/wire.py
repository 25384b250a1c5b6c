"""A TCP wire between a client and one server that loses answers and delivers requests late; it knows no protocol.

Beyond what `tests.chaos.relay` does to connections, it tells the two directions apart: what was asked may arrive
although nobody hears the answer, or arrive when who asked is long gone.
"""

import asyncio
from contextlib import suppress
from enum import Enum, auto

CHUNK_BYTES = 64 * 1024


class Way(Enum):
    """What happens to bytes, in one direction."""

    OPEN = auto()
    LOST = auto()
    """They vanish; the connection stays."""
    HELD = auto()
    """They are kept, until they are delivered."""
    CUTS = auto()
    """The first of them cuts the connection, and is lost."""


class Wire:
    """Listens on a free port of loopback and passes on to `target`; in the running event loop."""

    def __init__(self, target: int) -> None:
        self.requests = Way.OPEN
        self.answers = Way.OPEN
        self.held = asyncio.Event()
        """Set once something is held."""
        self.cuts = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._late: list[tuple[asyncio.StreamWriter, bytearray]] = []
        self._orphans: list[asyncio.StreamWriter] = []

    @property
    def endpoint(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def cut(self) -> None:
        """Cut all connections of clients; the server's ends stay, if something is held for them."""
        self.cuts += 1
        for connection in list(self._connections):
            connection.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))

    async def deliver(self) -> None:
        """Let the server have what was held, and hold nothing any more."""
        self.requests = Way.OPEN
        for server, held in self._late:
            server.write(bytes(held))
            await server.drain()
        self._late.clear()
        self.held.clear()

    async def close(self) -> None:
        await self.cut()
        for server in self._orphans:
            server.transport.abort()
        if self._server is not None:
            self._server.close()

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        held = bytearray()
        to_server: asyncio.StreamWriter | None = None
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
            there = asyncio.create_task(self._ask(client, to_server, held))
            back = asyncio.create_task(self._answer(server, to_client))
            try:
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.wait([there, back])
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            to_client.transport.abort()
            self._connections.discard(task)
            if to_server is not None and held:
                self._orphans.append(to_server)
            elif to_server is not None:
                to_server.transport.abort()

    async def _ask(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, held: bytearray) -> None:
        with suppress(OSError):
            while data := await client.read(CHUNK_BYTES):
                if self.requests is Way.HELD:
                    if not held:
                        self._late.append((to_server, held))
                    held += data
                    self.held.set()
                elif self.requests is Way.OPEN:
                    to_server.write(data)
                    await to_server.drain()

    async def _answer(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await server.read(CHUNK_BYTES):
                if self.answers is Way.CUTS:
                    self.cuts += 1
                    return
                if self.answers is Way.OPEN:
                    to_client.write(data)
                    await to_client.drain()
