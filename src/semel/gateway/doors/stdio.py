"""The node's stdio door: one client at the other end of stdin and stdout, until it closes its end.

Stdout is the client's alone: `claim_stdio` takes it away before the user's file is imported, so that nothing that
prints can corrupt the protocol, and gives it back in the end. Knows file descriptors, and no MCP but the SDK's.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp.server import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.types.version import LATEST_MODERN_VERSION


@dataclass(frozen=True, slots=True)
class Wire:
    """Private duplicates of what were stdin and stdout."""

    incoming: int
    outgoing: int


@contextmanager
def claim_stdio() -> Iterator[Wire]:
    """Take stdin and stdout for the protocol: whatever else reads gets nothing, whatever prints goes to stderr."""
    sys.stdout.flush()
    wire = Wire(os.dup(0), os.dup(1))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    try:
        yield wire
    finally:
        sys.stdout.flush()
        os.dup2(wire.incoming, 0)
        os.dup2(wire.outgoing, 1)
        # The duplicates stay open: a thread may still be blocked on one of them.


async def serve_stdio(server: Server[Any], wire: Wire) -> None:
    """Serve one client until it closes stdin; may be cancelled at any time, even while it waits for input."""
    lines: Any = _Lines(wire.incoming)  # the SDK only iterates over it
    outgoing = anyio.wrap_file(os.fdopen(wire.outgoing, "w", encoding="utf-8", closefd=False))
    async with stdio_server(stdin=lines, stdout=outgoing) as (incoming, leaving):
        modern = server.get_capabilities(protocol_version=LATEST_MODERN_VERSION).tools
        announced = NotificationOptions(tools_changed=modern is not None and bool(modern.list_changed))
        await server.run(incoming, leaving, server.create_initialization_options(announced))


class _Lines:
    """The lines of a file descriptor, read by a daemon thread: such a read cannot be cancelled, only left behind."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.Semaphore(64)  # lines that wait; then the client waits

    async def __aiter__(self) -> AsyncIterator[str]:
        threading.Thread(target=self._read, name="semel-stdin", daemon=True).start()
        while (line := await self._lines.get()) is not None:
            self._room.release()
            yield line

    def _read(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for lines any more
            with os.fdopen(self._descriptor, "rb", closefd=False) as file:
                for line in file:
                    self._room.acquire()
                    self._loop.call_soon_threadsafe(self._lines.put_nowait, line.decode(errors="replace"))
            self._loop.call_soon_threadsafe(self._lines.put_nowait, None)
