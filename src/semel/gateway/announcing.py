"""Tells a node's MCP clients that its tools have changed, as far as their protocol version lets a node tell them.

In 2026-07-28 a client asks for that with `subscriptions/listen`, on any transport. In the older versions a server may
just say so, but only where a connection stands: on stdio. Over HTTP each request of theirs stands for itself here, so
that such a client learns of it when it lists the tools again.
"""

import asyncio
import contextlib
from typing import Any

import anyio
from mcp.server import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.types.version import MODERN_PROTOCOL_VERSIONS


class Announcer:
    """What all doors of a node have in common; lives in the node's event loop."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._stdio: ServerSession | None = None
        """The newest request's, of which any stands for the whole connection; there is one client on stdio."""
        self._telling: set[asyncio.Task[None]] = set()
        self.listen = ListenHandler(self._bus)
        """Serves `subscriptions/listen`."""

    def met(self, context: ServerRequestContext[Any, Any]) -> None:
        """Remember who has listed the tools, if it can be told later without having asked for it."""
        if context.request is None and context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            self._stdio = context.session

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
        if self._stdio is not None:
            with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await self._stdio.send_tool_list_changed()
