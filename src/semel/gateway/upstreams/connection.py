"""One life of the connection to an upstream MCP server: in this process, over a child's pipes, or over HTTP.

Knows the SDK's client session and the transports under it; not how often a server is tried, nor what its calls come
to.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import msgspec
from mcp import ClientSession, MCPError, types
from mcp.client._probe import negotiate_auto  # the SDK's own policy of choosing a version; there is no public name yet
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import Dispatcher
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.subscriptions import event_from_wire
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from semel.errors import UpstreamError
from semel.gateway.asker import ASKER, NOBODY, QUESTIONS, Asker, Way
from semel.gateway.taskmode import EXTENSION, RELATED, with_tasks
from semel.gateway.upstreams.announcements import Announcements, try_to
from semel.gateway.upstreams.child import Child
from semel.gateway.upstreams.courier import BODY_BYTES_MAX, ERRAND, Errand, make_http_client
from semel.gateway.upstreams.inprocess import direct_to, streams_to
from semel.gateway.upstreams.plainrequest import INFO, is_plain_request
from semel.gateway.upstreams.requests import REQUESTS, AboutTask, AsItCame
from semel.gateway.upstreams.servers import Command, InProcess, Place, Remote
from semel.gateway.upstreams.shortcut import Shortcut
from semel.gateway.upstreams.straight import Straight
from semel.gateway.upstreams.wire import TaskGiven, Wire
from semel.node.asides import Unanswered

PAGES_MAX = 1000
"""How many pages a list of tools may have: a server that always names another one must come to an end."""

_SET_LEVEL_S = 2.0
"""How long a call waits until its server has taken from which level on it is to log."""

_QUESTION_S = 5.0
"""How long a question that comes as soon as a server is connected waits for the request that it was connected for, and
how long an answer waits for a question that the server asked before it."""

_INFO = types.Implementation.model_validate(INFO)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a connection is opened.

    With a `handshake`, the server speaks a version in which it may ask its client; `capabilities` (JSON) is what it is
    told that the client can be asked, and `party` is who that is.
    """

    handshake: bool = False
    capabilities: bytes = b"{}"
    party: str = ""


class Connection:
    """One life of the connection, and what there is to know of it.

    `state` is what the lifespan of a server in this process gave. `on_lost` is called once no new request may use the
    connection, `on_event` when the server says that something has changed: of which kind, and which resource.
    """

    session: ClientSession

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        state: Any = None,
        manner: Manner | None = None,
        on_lost: Callable[[], object],
        on_event: Callable[[str, str], object],
    ) -> None:
        self._place = place
        self._state = state
        self._manner = manner or Manner()
        self._on_lost = on_lost
        self._on_event = on_event
        self._opening = Errand()
        self._ended = AsyncExitStack()
        self.announcements = Announcements(on_event)
        """What the server announces."""
        self._level: str | None = None
        self.lost = False
        self.unused = asyncio.Event()
        """Set while nobody's request is under way."""
        self.unused.set()
        self._askers: dict[Asker, None] = {}
        """Whose requests are under way, the newest last."""
        self._used = asyncio.Event()
        """Set once the first of them is."""
        self._open: dict[asyncio.Event, Asker] = {}
        """Questions that are being asked, each set when it is settled, and of whom."""
        self._child = Child(name, place, self.lose) if isinstance(place, Command) else None
        self._short: Shortcut | Straight | None = None
        """The way of plain calls, where there is a shorter one than the session's."""
        self._gives_tasks = False
        """Whether the server may answer calls with tasks, as the extension of 2026-07-28 has it."""
        self._takes_tasks = False
        """Whether it may be asked for tasks, as 2025-11-25 has it."""
        self._tasks: dict[str, Callable[[], object]] = {}
        """Who wants to know when the server says that a task has changed, by the task's id."""

    async def __aenter__(self) -> Self:
        """Open the connection, with the handshake; what may go wrong is as manifold as servers are."""
        ERRAND.set(self._opening)
        ASKER.set(NOBODY)  # it is often opened for a request, and outlives it
        async with AsyncExitStack() as stack:
            wire = Wire(await self._made(stack), self, msgspec.json.decode(self._manner.capabilities))
            self.session = await stack.enter_async_context(ClientSession(dispatcher=wire, client_info=_INFO))
            await self._negotiate()
            self._short = self._short_way()
            self._see_tasks()
            self._opening = Errand()  # what the probing of versions met is of no more interest
            ERRAND.set(self._opening)
            listening = asyncio.create_task(
                self.announcements.listen(self.session, self.capabilities, modern=self.modern), name="announcements"
            )
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

    @property
    def modern(self) -> bool:
        """True if the connection is of 2026-07-28, where each request stands for itself and no server asks."""
        return self.session.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def capabilities(self) -> types.ServerCapabilities:
        """What the server says that it offers."""
        return self.session.server_capabilities or types.ServerCapabilities()

    def wants_headers(self, error: MCPError) -> bool:
        """Return whether a server refused a call because some arguments must be headers, too (from 2026-07-28 on)."""
        return self.remote and self.modern and error.code == types.HEADER_MISMATCH

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
        self.announcements.end()
        self._on_lost()

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

    # Requests.

    async def send(self, method: str, params: Mapping[str, Any], asker: Asker, errand: Errand) -> dict[str, Any]:
        """Return what the server answered to one of `REQUESTS`, as it came.

        `errand` tells what became of a request over HTTP. A task in the place of a result has the `resultType` "task",
        in both forms. With `task` among the parameters one is asked for, where the server takes that.
        """
        if self._gives_tasks:
            asker = _taking_tasks(asker)
        ERRAND.set(errand)
        ASKER.set(asker)
        self._begin(asker)
        self._used.set()
        try:
            if self._short is not None and is_plain_request(method, params, asker):
                return await self._short.call(params, asker)
            return await self._send(method, params, asker)
        finally:
            self._end(asker)

    async def _send(self, method: str, params: Mapping[str, Any], asker: Asker) -> dict[str, Any]:
        """Send a request by the SDK's session; the asker hears of its progress."""

        async def told(progress: float, total: float | None, message: str | None) -> None:
            said = {"progress": progress, "total": total, "message": message}
            asker.tell("notifications/progress", {name: value for name, value in said.items() if value is not None})

        wanted = told if asker.progress else None
        if "task" in params:
            params = {name: value for name, value in params.items() if name != "task" or self._takes_tasks}
        if "task" in params and asker.progress:  # it is told of for as long as the task lasts
            params, wanted = {**params, "_meta": {**params["_meta"], "progressToken": _token(asker)}}, None
        kind, form = REQUESTS[method]
        try:
            answer = await self.session.send_request(
                kind(params=form.model_validate(params)), AsItCame, progress_callback=wanted
            )
        except TaskGiven as given:
            return {**given.task, "resultType": "task"}
        await self.settle(asker)
        return answer.root

    async def ask(self, method: str, params: Mapping[str, Any], asker: Asker, errand: Errand) -> dict[str, Any]:
        """Return what the server answered to a request on a task, while somebody is `attending` to it."""
        ERRAND.set(errand)
        ASKER.set(asker)
        answer = await self.session.send_request(AboutTask(method=method, params=dict(params)), AsItCame)
        return answer.root

    @contextmanager
    def attending(self, asker: Asker, task_id: str, told: Callable[[], object]) -> Iterator[Asker]:
        """Yield the asker as one who takes tasks, and have the asker hear what is said and asked in the course of one.

        `told` is called when the server says that the task has changed.
        """
        asker = _taking_tasks(asker)
        self._begin(asker)
        self._tasks[task_id] = told
        try:
            yield asker
        finally:
            self._end(asker)
            self._tasks.pop(task_id, None)  # a server may give one twice

    def _begin(self, asker: Asker) -> None:
        self._askers[asker] = None
        self.unused.clear()

    def _end(self, asker: Asker) -> None:
        del self._askers[asker]
        if not self._askers:
            self.unused.set()

    async def set_level(self, asker: Asker) -> None:
        """Have the server say as much as an asker wants to hear; versions without a handshake say it each time."""
        if self.modern or asker.log_level in (None, self._level) or self.capabilities.logging is None:
            return
        level: Any = asker.log_level
        self._level = level  # asked for once: no call waits again for a server that does not answer
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SET_LEVEL_S):
                await try_to(self.session, types.SetLevelRequest(params=types.SetLevelRequestParams(level=level)))

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return all pages of the server's tools; none of a server that has no such list."""
        tools: list[dict[str, Any]] = []
        cursors: set[str | None] = {None}
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            params = types.PaginatedRequestParams(cursor=cursor)
            try:
                page = await self.session.send_request(types.ListToolsRequest(params=params), AsItCame)
            except MCPError as error:
                if error.code == types.METHOD_NOT_FOUND and self.capabilities.tools is None:
                    return []
                raise
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
            page = await self.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            if not (cursor := page.next_cursor):
                return

    # What the server says of its own accord (a `Hears`).

    async def asked(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a question of the server's, from whoever it is about."""
        if self._manner.party and not self._used.is_set():  # many ask for the roots before the request is sent
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._used.wait(), _QUESTION_S)
        asker = self._meant()
        if asker is None or not asker.takes(method):
            raise MCPError(types.INVALID_REQUEST, f"{QUESTIONS[method]} is not supported by the client of this request")
        settled = asyncio.Event()
        self._open[settled] = asker
        try:
            assert asker.way is not None
            return await _ask(asker.way, method, params)
        except Unanswered as unanswered:
            error = types.ErrorData.model_validate(unanswered.error)
            raise MCPError.from_error_data(error) from unanswered
        finally:
            del self._open[settled]
            settled.set()

    async def settle(self, asker: Asker) -> None:
        """Let what was asked in the course of a request be answered: with the request, the way to its client ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_QUESTION_S):
                for settled in [each for each, whose in self._open.items() if whose is asker]:
                    await settled.wait()

    def heard(self, method: str, params: Mapping[str, Any]) -> None:
        """Take a notification: that something has changed, or one for whoever asked."""
        if (event := event_from_wire(method, params)) is not None:
            kind = method.split("/")[1] if method.endswith("list_changed") else "resource"
            self._on_event(kind, getattr(event, "uri", ""))
        elif method in ("notifications/message", "notifications/elicitation/complete"):
            asker = self._meant()
            if asker is not None:
                asker.tell(method, params)
        elif method in ("notifications/tasks/status", "notifications/tasks"):
            if params.get("status") != "working" and (told := self._tasks.get(str(params.get("taskId")))) is not None:
                told()
        elif method == "notifications/progress":
            for asker in self._askers:
                if params.get("progressToken") == _token(asker):
                    asker.tell(method, {name: value for name, value in params.items() if name != "progressToken"})

    def _meant(self) -> Asker | None:
        """Return whom the server means: whose request the SDK's context is of; on a pipe, the one client there is.

        Of requests of several clients, a pipe does not tell which is meant.
        """
        if ASKER.get().way is not None:
            return ASKER.get()
        parties = {asker.party or str(id(asker)) for asker in self._askers}
        return next(reversed(self._askers)) if len(parties) == 1 else None

    # The opening.

    async def _negotiate(self) -> None:
        if self._manner.handshake:
            await self.session.initialize()
        elif isinstance(self._place, InProcess):
            await self.session.discover()
        else:
            await negotiate_auto(self.session)

    def _see_tasks(self) -> None:
        """Note which tasks of its own the server has."""
        offers = self.capabilities
        if self.modern:
            self._gives_tasks = EXTENSION in (offers.extensions or {})
        elif offers.tasks is not None and offers.tasks.requests is not None and offers.tasks.requests.tools is not None:
            self._takes_tasks = offers.tasks.requests.tools.call is not None

    def _short_way(self) -> Shortcut | Straight | None:
        if self._child is not None:
            return Shortcut(self._child, self.session)
        if isinstance(self._place, InProcess) and not self._manner.handshake:
            return Straight(self._place.server, self._state, self.heard)
        return None

    async def _made(self, stack: AsyncExitStack) -> Dispatcher[Any]:
        match self._place:
            case InProcess(server=server) if self._manner.handshake:
                streams = await stack.enter_async_context(streams_to(server, self._state))
            case InProcess(server=server):
                return await stack.enter_async_context(direct_to(server, self._state))
            case Command():
                assert self._child is not None
                streams = await stack.enter_async_context(self._child)
            case Remote(url=url, headers=headers):
                http = await stack.enter_async_context(make_http_client(url, headers))
                streams = await stack.enter_async_context(
                    streamable_http_client(url, http_client=http, max_sse_event_size=BODY_BYTES_MAX)
                )
        return JSONRPCDispatcher(*streams)


def _taking_tasks(asker: Asker) -> Asker:
    return replace(asker, capabilities=with_tasks(asker.capabilities))


def _token(asker: Asker) -> str:
    """Return the progress token of a call that may become a task; who asks is asking for one call alone."""
    return f"task {id(asker.way)}"


async def _ask(way: Way, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a client, who does not learn of a task that is between semel and the server; the answer names it again."""
    said = params.get("_meta")
    if not isinstance(said, dict) or RELATED not in said:
        return await way.ask(method, params)
    bare = {name: value for name, value in said.items() if name != RELATED}
    answer = await way.ask(method, {**params, "_meta": bare})
    return {**answer, "_meta": {**(answer.get("_meta") or {}), RELATED: said[RELATED]}}


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
