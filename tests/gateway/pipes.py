"""Two ways to serve a node over a pair of pipes: semel's door, and the SDK's own transport and loop."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.server import NotificationOptions, Server
from mcp.server.stdio import stdio_server

from semel.gateway.doors.server import make_server
from semel.gateway.doors.stdio import Wire, serve_stdio

from .fakes import FakeBackend

LINE_BYTES_MAX = 2**26
PATIENCE_S = 20.0

Serve = Callable[[Server[Any], Wire], Awaitable[None]]


async def serve_by_the_sdk(server: Server[Any], wire: Wire) -> None:
    """Serve as the SDK does, by its threads, on the same descriptors."""
    incoming = anyio.wrap_file(
        os.fdopen(wire.incoming, encoding="utf-8", errors="replace", newline="\n", closefd=False)
    )
    outgoing = anyio.wrap_file(os.fdopen(wire.outgoing, "w", encoding="utf-8", newline="\n", closefd=False))
    modern = server.get_capabilities(protocol_version="2026-07-28").tools
    announced = NotificationOptions(tools_changed=modern is not None and bool(modern.list_changed))
    async with stdio_server(stdin=incoming, stdout=outgoing) as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options(announced))


class Way:
    """One way to a node, from its client's side."""

    serving: "asyncio.Task[None]"
    hears: asyncio.ReadTransport

    def __init__(self, backend: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.backend = backend
        self._reader = reader
        self._writer = writer
        self._numbers = 0
        self.running = 0
        """How many calls the door has begun, and not ended."""

    async def say(self, *lines: bytes) -> None:
        """Write lines, all at once."""
        await self.write(b"".join(line + b"\n" for line in lines))

    async def write(self, data: bytes) -> None:
        """Write what may be no lines."""
        self._writer.write(data)
        await self._writer.drain()

    async def hear(self) -> Any:
        """Return the next message; None if there are no more."""
        async with asyncio.timeout(PATIENCE_S):
            line = await self._reader.readline()
        return json.loads(line) if line else None

    async def hear_to_the_end(self) -> list[Any]:
        """Return all further messages."""
        heard = []
        while (message := await self.hear()) is not None:
            heard.append(message)
        return heard

    async def ask(self, *lines: bytes) -> list[Any]:
        """Say lines, and return all that is answered to them, except to calls that the node holds."""
        await self.say(*lines)
        heard = await self._until_answered()  # now all have begun
        await until(lambda: self.running == len(self.backend.waiting), "the end of the calls that are not held")
        return heard + await self._until_answered()

    async def _until_answered(self) -> list[Any]:
        """Ask for what there is not, which is no call in either era, and return what is said before its answer."""
        self._numbers += 1
        last = f"last-{self._numbers}"
        await self.say(json.dumps({"jsonrpc": "2.0", "id": last, "method": "none/such"}).encode())
        heard = []
        while (message := await self.hear()) is not None and message.get("id") != last:
            heard.append(message)
        return heard

    def count(self, server: Server[Any]) -> Server[Any]:
        """Have the calls of a server counted."""
        entry = server.get_request_handler("tools/call")
        assert entry is not None

        async def counted(context: Any, params: Any) -> Any:
            self.running += 1
            try:
                return await entry.handler(context, params)
            finally:
                self.running -= 1

        server.add_request_handler("tools/call", entry.params_type, counted)
        return server

    def leave(self) -> None:
        """Close the end that is written to."""
        self._writer.close()

    async def end(self) -> list[Any]:
        """Leave; return what is said until the node has left, too."""
        self.leave()
        heard = await self.hear_to_the_end()
        async with asyncio.timeout(PATIENCE_S):
            await self.serving
        return heard


@asynccontextmanager
async def way(serve: Serve, backend: FakeBackend, **options: Any) -> AsyncIterator[Way]:
    """A node that is served over pipes, until its client leaves."""
    loop = asyncio.get_running_loop()
    incoming, saying = os.pipe()
    hearing, outgoing = os.pipe()

    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    hears, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(hearing, "rb"))
    says, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(saying, "wb"))
    found = Way(backend, reader, asyncio.StreamWriter(says, protocol, None, loop))
    found.hears = hears

    async def serving() -> None:
        try:
            await serve(found.count(make_server(backend, **options)), Wire(incoming, outgoing))
        finally:
            os.close(incoming)
            os.close(outgoing)

    found.serving = asyncio.create_task(serving())
    try:
        yield found
    finally:
        says.close()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([found.serving])
        hears.close()


@asynccontextmanager
async def two_ways(make: Callable[[], FakeBackend], **options: Any) -> AsyncIterator[tuple[Way, Way]]:
    """Semel's way, and the SDK's."""
    async with way(serve_stdio, make(), **options) as short, way(serve_by_the_sdk, make(), **options) as long:
        yield short, long


async def until(condition: Callable[[], object], what: object) -> None:
    """Wait until a condition holds, asking again and again."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None
