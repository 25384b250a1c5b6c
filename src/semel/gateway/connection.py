"""One life of the connection to an upstream MCP server: in this process, over a child's pipes, or over HTTP.

Knows the SDK's client and the transports under it; not how often a server is tried, nor what its calls come to.
"""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from mcp import Client, MCPError, types
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import RootModel

from semel.errors import UpstreamError
from semel.gateway.child import Child
from semel.gateway.courier import BODY_BYTES_MAX, ERRAND, Errand, make_http_client
from semel.gateway.servers import Command, InProcess, Place, Remote

PAGES_MAX = 1000
"""How many pages a list of tools may have: a server that always names another one must come to an end."""

_LISTEN_AGAIN_FIRST_S = 1.0
_LISTEN_AGAIN_MAX_S = 60.0
"""The pause before a lost stream of announcements is asked for again; proxies cut those where nothing flows."""


class _AsItCame(RootModel[dict[str, Any]]):
    """A result as the server gave it: the SDK checks its form, and fields that it does not know are kept."""


class Connection:
    """One life of the connection, and what there is to know of it; `up` is cleared when it is lost."""

    client: Client

    def __init__(self, name: str, place: Place, up: asyncio.Event) -> None:
        self._up = up  # set while calls may use the connection
        self._place = place
        self._opening = Errand()
        self._ended = AsyncExitStack()
        self.lost = False
        self.changed = False
        self.news = asyncio.Event()
        """Set when `lost` or `changed` is."""
        self._child = Child(name, place, self.lose) if isinstance(place, Command) else None

    async def __aenter__(self) -> Self:
        """Open the connection, with the handshake; what may go wrong is as manifold as servers are."""
        ERRAND.set(self._opening)
        async with AsyncExitStack() as stack:
            self.client = await stack.enter_async_context(await self._made(stack))
            self._opening = Errand()  # what the probing of versions met is of no more interest
            ERRAND.set(self._opening)
            listening = asyncio.create_task(self._listen(), name="announcements")
            stack.push_async_callback(_cancel, listening)
            self._ended = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ended.__aexit__(kind, error, trace)

    @property
    def remote(self) -> bool:
        """True if the server is at a URL."""
        return isinstance(self._place, Remote)

    def wants_headers(self, error: MCPError) -> bool:
        """Return whether a server refused a call because some arguments must be headers, too (from 2026-07-28 on)."""
        modern = self.client.protocol_version in MODERN_PROTOCOL_VERSIONS
        return self.remote and modern and error.code == types.HEADER_MISMATCH

    @property
    def failure(self) -> str | None:
        """Why the opening of a connection over HTTP failed, if the network or a bare HTTP status says."""
        return self._opening.refused or self._opening.said or self._opening.broken

    @property
    def last_words(self) -> str:
        """What a child's process said last."""
        return "" if self._child is None else self._child.last_words

    def lose(self) -> None:
        """Note that no new call may use the connection."""
        self.lost = True
        self.news.set()
        self._up.clear()

    def explains(self, error: MCPError) -> bool:
        """Return whether `error` came of the loss; a server may answer with the same code."""
        return self.lost and error.code == types.CONNECTION_CLOSED

    async def ending(self) -> str:
        """Return how a child's process ended, to be put after what happened; "" if there is none."""
        return "" if self._child is None else f": it {await self._child.ending()}"

    def kill(self) -> None:
        """Kill a child's process at once; may be called from any thread."""
        if self._child is not None:
            self._child.kill()

    async def send(self, request: types.CallToolRequest, errand: Errand) -> dict[str, Any]:
        """Return what the server answered, as it came; `errand` tells what became of a request over HTTP."""
        ERRAND.set(errand)
        return (await self.client.session.send_request(request, _AsItCame)).root

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return all pages of the server's tools."""
        tools: list[dict[str, Any]] = []
        cursors: set[str | None] = {None}
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            params = types.PaginatedRequestParams(cursor=cursor)
            page = await self.client.session.send_request(types.ListToolsRequest(params=params), _AsItCame)
            tools += page.root["tools"]
            cursor = page.root.get("nextCursor")
            if cursor in cursors:  # the end, or a server that goes round in circles
                return tools
            cursors.add(cursor)
        raise UpstreamError(f"its list of tools has more than {PAGES_MAX} pages")

    async def learn_headers(self) -> None:
        """Have the SDK's session read the list of tools, from which it learns what goes into headers."""
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = await self.client.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            if not (cursor := page.next_cursor):
                return

    async def _made(self, stack: AsyncExitStack) -> Client:
        served: Any
        match self._place:
            case InProcess(server=served):
                pass
            case Command():
                served = self._child
            case Remote(url=url, headers=headers):
                http = await stack.enter_async_context(make_http_client(url, headers))
                served = streamable_http_client(url, http_client=http, max_sse_event_size=BODY_BYTES_MAX)
        return Client(
            served,
            raise_exceptions=True,  # the errors of an in-process server come with their text
            cache=None,
            message_handler=self._hear,
        )

    async def _hear(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._change()

    def _change(self) -> None:
        self.changed = True
        self.news.set()

    async def _listen(self) -> None:
        """Have the server announce changes for as long as the connection lasts; older versions do so unasked."""
        tools = self.client.server_capabilities.tools
        if tools is None or not tools.list_changed or self.client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return
        pause_s = _LISTEN_AGAIN_FIRST_S
        while not self.lost:
            with contextlib.suppress(MCPError, SubscriptionLost, TimeoutError):
                async with self.client.listen(tools_list_changed=True) as announcements:
                    self._change()  # whatever changed before it was there
                    pause_s = _LISTEN_AGAIN_FIRST_S
                    async for _ in announcements:
                        self._change()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LISTEN_AGAIN_MAX_S)


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
