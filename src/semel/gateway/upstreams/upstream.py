"""One MCP server that is served: a connection that is kept, and opened again when it is lost.

Runs in the toolbox's own loop. Knows a server's tools as they come; not what is asked of them over the connection.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import msgspec
from mcp import MCPError, types
from pydantic import ValidationError

from semel.errors import UpstreamError
from semel.gateway.asker import QUESTIONS, Asker
from semel.gateway.tracing import traced
from semel.gateway.upstreams.connection import Connection, Manner
from semel.gateway.upstreams.servers import InProcess, Place
from semel.gateway.upstreams.spares import Spares

_log = logging.getLogger(__name__)

_HANDSHAKE_S = 30.0
"""How long a server may take to start and to list its tools; `npx` may have to download it first."""

_RESTART_FIRST_S = 0.1
_RESTART_MAX_S = 5.0
"""The pause before a lost server is started again; it doubles until one lives longer than the longest pause."""

_RESTART_NEVER_UP_MAX_S = 30.0
"""The longest pause for a server that has never been up: its entry is wrong, more likely than not."""

_RELIST_S = 0.1
"""The pause after a list of tools: a server may say with each of them that it has changed."""

_LAST_ANSWERS_S = 5.0
"""How long calls under way may still be answered over a connection whose session the server has forgotten."""


class NotOpened(Exception):
    """A connection for one asker cannot be opened; nothing was run."""


class Dismissed(Exception):
    """The server was taken out of the list, or replaced, while a call waited for it; nothing was run."""


class Upstream:
    """One MCP server; `keep` is its life.

    `on_change` is called when its tools have been read, `on_event` when it says that something has changed: of which
    kind ("tools", "prompts", "resources", or "resource"), and the resource's URI.
    """

    def __init__(
        self, name: str, place: Place, on_change: Callable[[], None], on_event: Callable[[str, str], object]
    ) -> None:
        self.name = name
        self.place = place
        self.offers = types.ServerCapabilities()
        """What it said that it offers."""
        self.tools: list[dict[str, Any]] = []
        """Its tools, as the last `tools/list` said."""
        self.listed = False
        """True once it has listed them for the first time."""
        self.instructions: str | None = None
        self.trouble: str | None = None
        """Why it cannot take calls just now, or why its list may be old."""
        self._on_change = on_change
        self._on_event = on_event
        self._state: Any = None
        self._watched: frozenset[str] = frozenset()
        self._spares = Spares(self._make, handshake_s=_HANDSHAKE_S)
        self._news = asyncio.Event()
        self._tools_changed = False
        self._modern_only = False
        self._connection: Connection | None = None
        self._up = asyncio.Event()
        self.dismissed = asyncio.Event()
        """Set once calls that wait for the server shall look for another."""
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def keep(self, first: "asyncio.Future[None]") -> None:
        """Connect, and connect again whenever the connection is lost; tell `first` how the first time went."""
        try:
            await self._keep(first)
        finally:
            await self._spares.close()

    async def _keep(self, first: "asyncio.Future[None]") -> None:
        now = asyncio.get_running_loop().time
        pause_s = _RESTART_FIRST_S
        while True:
            began_s = now()
            try:
                await self._live(first)
                self.note(f"the server {self.name!r} went away, and is started again")
            except UpstreamError as error:
                self.note(str(error))
                if not first.done():
                    first.set_exception(error)
            if now() - began_s > _RESTART_MAX_S and self.listed:
                pause_s = _RESTART_FIRST_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RESTART_MAX_S if self.listed else _RESTART_NEVER_UP_MAX_S)

    def function(self, tool: str) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]] | None:
        """Return what to call in the place of a request, if the tool is a function that needs none."""
        return self.place.functions.get(tool) if isinstance(self.place, InProcess) and not traced() else None

    def watch(self, uris: frozenset[str]) -> None:
        """Hear of changes of these resources from now on, and of no others."""
        self._watched = uris
        for connection in (self._connection, *self._spares.connections()):
            if connection is not None:
                connection.announcements.watch(uris)

    def dismiss(self) -> None:
        """Let the calls under way go on, and those that wait for the server look for another."""
        self.dismissed.set()

    async def idle(self) -> None:
        """Wait until no call is under way."""
        while not self._idle.is_set():
            await self._idle.wait()

    def kill(self) -> None:
        """Kill the server's process at once; may be called from any thread."""
        if self._connection is not None:
            self._connection.kill()
        self._spares.kill()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Count a call as under way, as long as the context is open."""
        self._calls += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def usable(self) -> None:
        """Wait until calls may use the connection; raises Dismissed if that will not be."""
        while not self._up.is_set():
            if self.dismissed.is_set():
                raise Dismissed
            waits = [asyncio.create_task(each.wait()) for each in (self._up, self.dismissed)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()

    @asynccontextmanager
    async def connected(self, asker: Asker) -> AsyncIterator[Connection]:
        """Have the connection over which a request goes: the one for all, or one for this asker alone."""
        connection = self._connection
        assert connection is not None
        manner = self._manner_for(connection, asker)
        if manner is None:
            await connection.set_level(asker)
            if connection.lost:
                raise NotOpened("it went away")
            yield connection
            return
        async with AsyncExitStack() as stack:
            try:
                spare = await stack.enter_async_context(self._spares.lease(manner, once=asker.party is None))
                await spare.set_level(asker)
                spare.announcements.watch(self._watched)
                if not spare.modern:
                    await spare.announcements.watching()
                if spare.lost:
                    raise NotOpened("it went away")
            except NotOpened:
                raise
            except Exception as raised:  # as manifold as servers are; nothing has been asked for yet
                error = _bare(raised)
                self._modern_only |= isinstance(error, MCPError) and error.code == types.UNSUPPORTED_PROTOCOL_VERSION
                raise NotOpened(_line(error)) from error
            yield spare

    def _manner_for(self, shared: Connection, asker: Asker) -> Manner | None:
        """Return how a connection for this asker alone must be opened, None if the one for all serves it.

        Who can be asked in the middle of a request (by a server of the handshake eras) needs one.
        """
        asks = asker.can_be_asked and not (asker.modern and shared.modern)
        if asks and not self._modern_only:
            capabilities = {name: asker.capabilities.get(name) for name in QUESTIONS.values()}
            said = {name: value for name, value in capabilities.items() if value is not None}
            party = asker.party or f"request {id(asker)}"
            return Manner(True, msgspec.json.encode(said, order="deterministic"), party)
        return None

    async def _live(self, first: "asyncio.Future[None]") -> None:
        """Live through one connection, from its opening to its loss; raises UpstreamError if it cannot be opened."""
        try:
            async with self._lifespan() as self._state:
                try:
                    await self._connect(first)
                finally:
                    if isinstance(self.place, InProcess):
                        await self._spares.close()  # they live on what the lifespan gave
        except UpstreamError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # a server's own start may do anything
            raise UpstreamError(f"the server {self.name!r} does not start: {type(error).__name__}: {error}") from error

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[Any]:
        """Enter the lifespan of a server in this process, which is one for all connections to it."""
        if not isinstance(self.place, InProcess):
            yield None
            return
        async with self.place.server.lifespan(self.place.server) as state:
            yield state

    def _make(self, manner: Manner, on_lost: Callable[[], object]) -> Connection:
        return Connection(
            self.name, self.place, state=self._state, manner=manner, on_lost=on_lost, on_event=self._take_event
        )

    def _take_event(self, kind: str, uri: str) -> None:
        if kind == "tools":
            self._tools_changed = True
            self._news.set()
        else:
            self._on_event(kind, uri)

    def _lose(self) -> None:
        self._up.clear()
        self._news.set()

    async def _connect(self, first: "asyncio.Future[None]") -> None:
        self._news.clear()
        can = () if isinstance(self.place, InProcess) else self.place.clients_can
        manner = Manner(capabilities=msgspec.json.encode({name: {} for name in can}))
        self._connection = connection = self._make(manner, self._lose)
        try:
            async with asyncio.timeout(_HANDSHAKE_S) as handshake, connection:
                self.offers = connection.capabilities
                await self._read_tools(connection)
                connection.announcements.watch(self._watched)
                handshake.reschedule(None)
                self._up.set()
                self.clear()
                if not first.done():
                    first.set_result(None)
                try:
                    await self._follow(connection)
                    if connection.remote:
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(connection.unused.wait(), _LAST_ANSWERS_S)
                finally:
                    connection.lose()  # before the client closes, so that its calls know why
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # a server's own start may do anything
            raise UpstreamError(await self._told(connection, error)) from error
        finally:
            connection.lose()

    async def _follow(self, connection: Connection) -> None:
        """Read the tools again whenever the server says that they have changed, until the connection is lost."""
        while not connection.lost:
            await self._news.wait()
            self._news.clear()
            if self._tools_changed and not connection.lost:
                self._tools_changed = False
                try:
                    async with asyncio.timeout(_HANDSHAKE_S):
                        await self._read_tools(connection)
                    self.clear()
                    await asyncio.sleep(_RELIST_S)
                except (MCPError, ValidationError, TimeoutError, UpstreamError) as error:
                    if not connection.lost:
                        self.note(
                            f"the server {self.name!r} said that its tools have changed, and does not list them: "
                            f"{_line(error)}. They stay as they were"
                        )

    async def _read_tools(self, connection: Connection) -> None:
        self.tools = await connection.list_tools()
        self.listed = True
        self.instructions = connection.session.instructions
        self._on_change()

    def note(self, trouble: str) -> None:
        """Note why the server cannot take calls just now, and let the process's own log say it once."""
        if trouble != self.trouble:
            _log.warning("%s", trouble)
            self.trouble = trouble

    def clear(self) -> None:
        """Note that the server has answered."""
        if self.trouble is not None:
            _log.info("the server %r is there again", self.name)
            self.trouble = None

    async def _told(self, connection: Connection, error: BaseException) -> str:
        """Return what went wrong with the opening of a connection, and with which server."""
        error = _bare(error)
        if isinstance(self.place, InProcess):
            return f"the server {self.name!r} does not start: {type(error).__name__}: {error}"
        who = f"the server {self.name!r} ({self.place})"
        if (failure := connection.failure) is not None:
            return f"{who} cannot be reached: {failure}"
        match error:
            case TimeoutError():
                words = connection.last_words
                return f"{who} did not answer within {_HANDSHAKE_S:g} s{f'; its last words: {words}' if words else ''}"
            case OSError():
                return f"{who} cannot be started: {error}"
            case MCPError(code=types.CONNECTION_CLOSED) if not connection.remote:
                return f"{who} {(await connection.ending()).removeprefix(': it ')}"
            case _:
                return f"{who} is no MCP server that semel can talk to: {type(error).__name__}: {_line(error)}"


def _bare(error: BaseException) -> BaseException:
    """Return what was raised, out of the groups that the SDK's tasks make of it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _line(error: BaseException) -> str:
    """Return what an error says as one line; one of validation repeats what it was given."""
    return " ".join(str(error).split())[:500] or type(error).__name__
