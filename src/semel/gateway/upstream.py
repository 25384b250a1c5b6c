"""One MCP server whose tools are served: a connection that is kept, and opened again when it is lost.

Runs in the toolbox's own loop. Knows servers and their tools as they come; not what semel makes of them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from mcp import Client, MCPError, types
from mcp.client.session import IncomingMessage
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import RootModel

from semel.errors import UpstreamError
from semel.gateway.child import Child
from semel.gateway.servers import Command, InProcess

_log = logging.getLogger(__name__)

_HANDSHAKE_S = 30.0
"""How long a server may take to start and to list its tools; `npx` may have to download it first."""

_RESTART_FIRST_S = 0.1
_RESTART_MAX_S = 5.0
"""The pause before a lost server is started again; it doubles, so that a broken one costs little."""


class _AsItCame(RootModel[dict[str, Any]]):
    """A result as the server gave it: the SDK checks its form, and fields that it does not know are kept."""


class ConnectionGone(Exception):
    """The server went away in the middle of a call: nobody can know whether the tool acted."""


class _Connection:
    """One life of the connection, and what there is to know of it."""

    def __init__(self, name: str, server: InProcess | Command) -> None:
        self.lost = False
        self.changed = False
        self.news = asyncio.Event()
        served = server.server if isinstance(server, InProcess) else Child(name, server, self.lose)
        self.child = served if isinstance(served, Child) else None
        self.client = Client(
            served,
            raise_exceptions=True,  # the errors of an in-process server come with their text
            cache=None,
            message_handler=self.hear,
        )

    def lose(self) -> None:
        self.lost = True
        self.news.set()

    def explains(self, error: MCPError) -> bool:
        """Return whether `error` came of the loss; a server may answer with the same code."""
        return self.lost and error.code == types.CONNECTION_CLOSED

    async def hear(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.changed = True
            self.news.set()

    def announcements(self) -> AbstractAsyncContextManager[object]:
        """Return what has the server announce changes, which servers of the older versions do unasked."""
        tools = self.client.server_capabilities.tools
        if tools is None or not tools.list_changed or self.client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return nullcontext()
        return self.client.listen(tools_list_changed=True)

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return all pages of the server's tools."""
        tools: list[dict[str, Any]] = []
        cursors: set[str | None] = {None}
        cursor: str | None = None
        while True:
            params = types.PaginatedRequestParams(cursor=cursor)
            page = await self.client.session.send_request(types.ListToolsRequest(params=params), _AsItCame)
            tools += page.root["tools"]
            cursor = page.root.get("nextCursor")
            if cursor in cursors:  # the end, or a server that goes round in circles
                return tools
            cursors.add(cursor)


class Upstream:
    """One MCP server; `keep` is its life."""

    def __init__(self, name: str, server: InProcess | Command, on_change: Callable[[], None]) -> None:
        self.name = name
        self.tools: list[dict[str, Any]] = []
        """Its tools, as the last `tools/list` said."""
        self.instructions: str | None = None
        self._server = server
        self._on_change = on_change
        self._connection: _Connection | None = None
        self._up = asyncio.Event()

    async def keep(self, first: "asyncio.Future[None]") -> None:
        """Connect, and connect again whenever the connection is lost; tell `first` how the first time went."""
        pause_s = _RESTART_FIRST_S
        while True:
            try:
                await self._live(first)
                pause_s = _RESTART_FIRST_S
            except UpstreamError as error:
                if not first.done():
                    first.set_exception(error)
                    return
                _log.warning("%s; starting it again in %g s", error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RESTART_MAX_S)

    async def call(
        self, tool: str, arguments: dict[str, Any], meta: Mapping[str, Any], begin: Callable[[], None]
    ) -> dict[str, Any]:
        """Return a tool's result as the server gave it, waiting first while the server is down.

        `begin` is called just before the request leaves.

        Raises:
            MCPError: the server answered with a protocol error.
            pydantic.ValidationError: it answered with something that is no result of a tool.
            ConnectionGone: it went away meanwhile.
        """
        while (connection := self._connection) is None or connection.lost:
            self._up.clear()
            await self._up.wait()
        begin()
        params = types.CallToolRequestParams.model_validate({"name": tool, "arguments": arguments, "_meta": meta})
        try:
            result = await connection.client.session.send_request(types.CallToolRequest(params=params), _AsItCame)
        except MCPError as error:
            if not connection.explains(error):
                raise
            how = "" if connection.child is None else f": it {await connection.child.ending()}"
            raise ConnectionGone(f"the server {self.name!r} went away during the call{how}") from error
        return result.root

    def kill(self) -> None:
        """Kill the server's process at once; may be called from any thread."""
        if self._connection is not None and self._connection.child is not None:
            self._connection.child.kill()

    async def _live(self, first: "asyncio.Future[None]") -> None:
        """Live through one connection, from its opening to its loss; raises UpstreamError if it cannot be opened."""
        self._connection = connection = _Connection(self.name, self._server)
        try:
            async with asyncio.timeout(_HANDSHAKE_S) as handshake, connection.client:
                await self._read_tools(connection)
                handshake.reschedule(None)
                self._up.set()
                if not first.done():
                    first.set_result(None)
                try:
                    await self._follow(connection)
                finally:
                    connection.lose()  # before the client closes, so that its calls know why
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # a server's own start may do anything
            raise UpstreamError(await self._told(connection, error)) from error
        finally:
            connection.lose()

    async def _follow(self, connection: _Connection) -> None:
        """Read the tools again whenever the server says that they have changed, until the connection is lost."""
        async with connection.announcements():
            while not connection.lost:
                await connection.news.wait()
                connection.news.clear()
                if connection.changed and not connection.lost:
                    connection.changed = False
                    await self._read_tools(connection)

    async def _read_tools(self, connection: _Connection) -> None:
        self.tools = await connection.list_tools()
        self.instructions = connection.client.instructions
        self._on_change()

    async def _told(self, connection: _Connection, error: BaseException) -> str:
        """Return what went wrong with the opening of a connection, and with which server."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(self._server, InProcess):
            return f"the server {self.name!r} does not start: {type(error).__name__}: {error}"
        who = f"the server {self.name!r} ({self._server})"
        match error:
            case TimeoutError():
                return f"{who} did not answer within {_HANDSHAKE_S:g} s"
            case OSError():
                return f"{who} cannot be started: {error}"
            case MCPError(code=types.CONNECTION_CLOSED) if connection.child is not None:
                return f"{who} {await connection.child.ending()}"
            case _:
                return f"{who} is no MCP server that semel can talk to: {type(error).__name__}: {error}"
