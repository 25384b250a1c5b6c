"""One MCP server that is served: a connection that is kept, and opened again when it is lost.

Runs in the toolbox's own loop. Knows servers and their tools as they come; not what semel makes of them.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import msgspec
from mcp import MCPError, types
from pydantic import ValidationError

from semel.errors import UpstreamError
from semel.gateway.asker import QUESTIONS, Asker
from semel.gateway.tracing import traced
from semel.gateway.upstreams.connection import Connection, Manner
from semel.gateway.upstreams.courier import Errand
from semel.gateway.upstreams.polling import ConnectionGone, Parted, Polling
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


_READS_MAX = 3
"""How often something is read again whose connection broke: it changes nothing."""


class _NotOpened(Exception):
    """A connection for one asker cannot be opened; nothing was run."""


class Dismissed(Exception):
    """The server was taken out of the list, or replaced, while a call waited for it; nothing was run."""


class Start(Protocol):
    """The beginning of a run, as far as an upstream has a say in it."""

    def begin(self) -> None:
        """Note that the request leaves now; raises CancelledError if its time is over."""
        ...

    def withdraw(self) -> None:
        """Note that the request did not reach the server, so that the run has not begun."""
        ...


class AtOnce:
    """The start of what may always begin."""

    def begin(self) -> None:
        """Begin."""

    def withdraw(self) -> None:
        """Take that back."""


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
        self._dismissed = asyncio.Event()
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
                self._note(f"the server {self.name!r} went away, and is started again")
            except UpstreamError as error:
                self._note(str(error))
                if not first.done():
                    first.set_exception(error)
            if now() - began_s > _RESTART_MAX_S and self.listed:
                pause_s = _RESTART_FIRST_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RESTART_MAX_S if self.listed else _RESTART_NEVER_UP_MAX_S)

    def function(self, tool: str) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]] | None:
        """Return what to call in the place of a request, if the tool is a function that needs none."""
        return self.place.functions.get(tool) if isinstance(self.place, InProcess) and not traced() else None

    async def request(self, method: str, params: Mapping[str, Any], asker: Asker, start: Start) -> dict[str, Any]:
        """Return a result as the server gave it, waiting first while the server cannot be reached.

        `params` are those of one of `requests.REQUESTS`; what the server says and asks meanwhile goes to `asker`.

        Raises:
            MCPError: the server answered with a protocol error.
            pydantic.ValidationError: it answered with something that is no result of such a request.
            ConnectionGone: it went away meanwhile, or the task did that it gave in the place of a result.
            TaskEnded: that task came to an end that is no result.
            Dismissed: it is not served any more, and was not reached.
        """
        self._calls += 1
        self._idle.clear()
        try:
            return await self._insist(method, params, asker, start)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def read(self, method: str, params: Mapping[str, Any], asker: Asker) -> dict[str, Any]:
        """Return the result of a request that changes nothing, asking again if the connection breaks.

        Raises as `request` does.
        """
        for _ in range(_READS_MAX - 1):
            with contextlib.suppress(ConnectionGone):
                return await self.request(method, params, asker, AtOnce())
        return await self.request(method, params, asker, AtOnce())

    def watch(self, uris: frozenset[str]) -> None:
        """Hear of changes of these resources from now on, and of no others."""
        self._watched = uris
        for connection in (self._connection, *self._spares.connections()):
            if connection is not None:
                connection.announcements.watch(uris)

    def dismiss(self) -> None:
        """Let the calls under way go on, and those that wait for the server look for another."""
        self._dismissed.set()

    async def idle(self) -> None:
        """Wait until no call is under way."""
        while not self._idle.is_set():
            await self._idle.wait()

    def kill(self) -> None:
        """Kill the server's process at once; may be called from any thread."""
        if self._connection is not None:
            self._connection.kill()
        self._spares.kill()

    async def _usable(self) -> None:
        """Wait until calls may use the connection; raises Dismissed if that will not be."""
        while not self._up.is_set():
            if self._dismissed.is_set():
                raise Dismissed
            waits = [asyncio.create_task(each.wait()) for each in (self._up, self._dismissed)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()

    async def _insist(self, method: str, params: Mapping[str, Any], asker: Asker, start: Start) -> dict[str, Any]:
        """Send a request until it has reached the server, and no further."""
        pause_s = _RESTART_FIRST_S
        learnt = False
        while True:
            await self._usable()
            errand = Errand()
            try:
                async with self._connected(asker) as connection:
                    start.begin()
                    try:
                        result = await connection.send(method, params, asker, errand)
                    except MCPError as error:
                        if connection.wants_headers(error) and not learnt:
                            learnt = True  # the session learns them by listing the tools
                            start.withdraw()
                            await connection.learn_headers()
                            continue
                        if errand.refused is None or errand.broken is not None:
                            raise await self._fate(connection, errand, error) from error
                    else:
                        self._clear()
                        if result.get("resultType") == "task":
                            return await self._see_through(Polling(self.name, result), connection, asker)
                        return result
                    start.withdraw()
                    if errand.forgotten:
                        connection.lose()
            except _NotOpened as error:
                errand.refused = str(error)
            self._note(f"the server {self.name!r} ({self.place}) cannot be reached: {errand.refused}")
            if self._dismissed.is_set():
                raise Dismissed
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RESTART_MAX_S)

    async def _see_through(self, task: Polling, connection: Connection, asker: Asker) -> dict[str, Any]:
        """Return what comes of a task that was given in the place of a result.

        One of a process ends with it; over HTTP it may outlive its connection, and is asked after over another.
        """
        try:
            async with AsyncExitStack() as further:
                while True:
                    try:
                        return await task.over(connection, asker)
                    except Parted:
                        if not connection.remote:
                            raise ConnectionGone(await self._went_away(connection)) from None
                    await further.aclose()
                    connection = await self._reconnected(task, asker, further)
        finally:
            task.withdraw()

    async def _reconnected(self, task: Polling, asker: Asker, stack: AsyncExitStack) -> Connection:
        """Return another connection over which a task is asked after, once there is one."""
        while True:
            try:
                async with asyncio.timeout(task.patience_s):
                    await self._usable()
                return await stack.enter_async_context(self._connected(asker))
            except Dismissed:
                raise ConnectionGone(f"the server {self.name!r} is not served any more, and its task is lost") from None
            except (TimeoutError, _NotOpened) as error:
                task.silent(str(error) or "it cannot be reached")
            await asyncio.sleep(_RESTART_FIRST_S)

    @asynccontextmanager
    async def _connected(self, asker: Asker) -> AsyncIterator[Connection]:
        """Have the connection over which a request goes: the one for all, or one for this asker alone."""
        connection = self._connection
        assert connection is not None
        manner = self._manner_for(connection, asker)
        if manner is None:
            await connection.set_level(asker)
            if connection.lost:
                raise _NotOpened("it went away")
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
                    raise _NotOpened("it went away")
            except _NotOpened:
                raise
            except Exception as raised:  # as manifold as servers are; nothing has been asked for yet
                error = _bare(raised)
                self._modern_only |= isinstance(error, MCPError) and error.code == types.UNSUPPORTED_PROTOCOL_VERSION
                raise _NotOpened(_line(error)) from error
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

    async def _fate(self, connection: Connection, errand: Errand, error: MCPError) -> Exception:
        """Return what an error means for the call: that its server went away, or what the server said."""
        if errand.broken is not None:
            return ConnectionGone(f"the connection to the server {self.name!r} broke during the call: {errand.broken}")
        if errand.said is not None:
            return MCPError(error.code, errand.said)
        if connection.explains(error):
            return ConnectionGone(await self._went_away(connection))
        return error

    async def _went_away(self, connection: Connection) -> str:
        return f"the server {self.name!r} went away during the call{await connection.ending()}"

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
                self._clear()
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
                    self._clear()
                    await asyncio.sleep(_RELIST_S)
                except (MCPError, ValidationError, TimeoutError, UpstreamError) as error:
                    if not connection.lost:
                        self._note(
                            f"the server {self.name!r} said that its tools have changed, and does not list them: "
                            f"{_line(error)}. They stay as they were"
                        )

    async def _read_tools(self, connection: Connection) -> None:
        self.tools = await connection.list_tools()
        self.listed = True
        self.instructions = connection.session.instructions
        self._on_change()

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s", trouble)
            self.trouble = trouble

    def _clear(self) -> None:
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
