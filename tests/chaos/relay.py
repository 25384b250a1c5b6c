"""A TCP relay on loopback that can be cut: it stands before a node's port, and knows nothing of what passes."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

CHUNK_BYTES = 64 * 1024


class Relay:
    """Passes connections to `port` on to `target`; in the running event loop, from `start` to `close`."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._place: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Let connections in, unless they are let in already."""
        if self._server is not None:
            return
        place = self._place if self._place is not None else self._bound()
        self._place = None
        self._server = await asyncio.start_server(self._accept, sock=place)

    def _bound(self) -> socket.socket:
        place = socket.socket()
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # so that one holds the port as the other lets go
        place.bind(("127.0.0.1", self.port))
        return place

    def cut(self) -> None:
        """Break all connections, and refuse new ones until `start`, as the port of a dead process does."""
        if self._server is not None:
            self._place = self._bound()  # bound and not listening: the kernel refuses, and nobody takes the port
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.cancel()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Let nothing through while the context is open; connections stay and new ones are accepted, as by a stall."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    async def close(self) -> None:
        """End everything."""
        self.cut()
        if self._place is not None:
            self._place.close()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._flows.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                # One direction's end is the end of both: HTTP and WebSockets of ours never half close.
                pumps = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.wait(pumps)
            finally:
                back.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # cut, or nobody is there: the client sees a broken connection
        finally:
            writer.transport.abort()
            self._connections.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
