"""Tells a node's MCP clients that its tools have changed, as far as their protocol version lets a node tell them.

In 2026-07-28 a client asks for that with `subscriptions/listen`, on any transport. In the older versions a server may
just say so where a connection stands: on stdio, and over HTTP in a session, whose client listens with a GET.
"""

import asyncio
import contextlib
from typing import Any
from weakref import WeakSet

import anyio
from mcp.server import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from semel.gateway.held import Session, session_of

TELL_S = 2.0
"""A client that listens takes a line at once; one that has stopped reading must not hold what is told to it next."""


class Announcer:
    """What all doors of a node have in common; lives in the node's event loop."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._stdio: ServerSession | None = None
        """The newest request's, of which any stands for the whole connection; there is one client on stdio."""
        self._sessions: WeakSet[Session] = WeakSet()
        """Those that go on; each has its own voice."""
        self._telling: set[asyncio.Task[None]] = set()
        self.listen = ListenHandler(self._bus)
        """Serves `subscriptions/listen`."""

    def met(self, context: ServerRequestContext[Any, Any]) -> None:
        """Remember who has listed the tools, if it can be told later without having asked for it."""
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return
        if context.request is None:
            self._stdio = context.session
        elif (session := session_of(context.request)) is not None:
            session.voice = context.session
            self._sessions.add(session)

    def tools_changed(self) -> None:
        """Tell everybody who can be told."""
        telling = asyncio.get_running_loop().create_task(self._tell(), name="announce tools")
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    def close(self) -> None:
        """End the streams of those who listen; they listen elsewhere."""
        self.listen.close()

    async def _tell(self) -> None:
        await self._bus.publish(ToolsListChanged())
        voices = [self._stdio, *(session.voice for session in self._sessions)]
        await asyncio.gather(*(_tell(voice) for voice in voices if voice is not None))


async def _tell(client: ServerSession) -> None:
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, TimeoutError):
        async with asyncio.timeout(TELL_S):
            await client.send_tool_list_changed()
