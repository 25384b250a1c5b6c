"""semel inside a server that its author runs: an extension of the SDK's, which hands the calls of tools to a node.

Knows the SDK's servers: where their calls come by, and when they live. How a node is kept is not known here.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any, Protocol

import anyio
from mcp import types
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult
from mcp.server.extension import Extension, RequestHandler, compose_tool_call_handler
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus

from semel.errors import SemelError, TargetError, UsageError
from semel.gateway import meta
from semel.gateway.doors.asked import Context
from semel.gateway.doors.server import KEYS_OF_CLIENTS, as_protocol_error, make_server
from semel.gateway.doors.taskoffer import offer, offers_its_own
from semel.gateway.doors.tasks import Tasks
from semel.gateway.embedded.within import REQUEST, Noting, Within
from semel.gateway.runningloop import RunningLoop
from semel.gateway.upstreams.catalogue import mode_listed
from semel.gateway.upstreams.objects import hooks_of, server_of
from semel.gateway.upstreams.servers import InProcess, Served
from semel.gateway.upstreams.target import Target
from semel.node.backend import Witness

_CALL = "tools/call"


class Membership(Witness, Protocol):
    """The node of this process, from `join` to `leave`; for the server's own loop."""

    def join(self) -> None:
        """Begin to bring the node up, and keep it up."""
        ...

    async def ready(self) -> None:
        """Wait until the node is up, or is known not to be.

        Raises:
            SemelError: it is not.
        """
        ...

    async def leave(self) -> None:
        """Take no new calls, let running tools end, hand over, and be gone."""
        ...


Join = Callable[[Target, RunningLoop], Membership]
"""Makes the membership of a server, whose tools run in the given loop."""


class Embedded(Extension):
    """An extension that runs each call of the server's tools once, on the cluster that `join` makes it a member of.

    A node comes up with the server's lifespan and leaves before that ends.
    """

    identifier = meta.EXTENSION

    def __init__(
        self,
        join: Join,
        *,
        keys: Sequence[str] = (),
        require_key: bool = False,
        reconcile: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self._join = join
        self._keys = (*KEYS_OF_CLIENTS, *keys)
        self._require_key = require_key
        self._reconcile = dict(reconcile or {})
        self._author: object = None
        self._behind: RequestHandler | None = None
        self._within: Within | None = None
        self._loop: RunningLoop | None = None
        self._membership: Membership | None = None
        self._door: Server[Any] | None = None
        self._tasks: Tasks | None = None
        self._offers_tasks: bool | None = None
        """Whether tasks are semel's in this server; None until that is known."""

    def settings(self) -> dict[str, Any]:
        """Return what clients are told: where a call's idempotency key may stand, and whether there must be one.

        The SDK asks for it when it applies the extension, which is how that gets to know its server.
        """
        server = _made_just_now(self)
        if server is not None and server is not self._author:
            self._adopt(server, server._lowlevel_server)  # the name is as in `server_of`
        return {
            "version": version("semel"),
            "idempotencyKey": {"meta": [meta.KEY, *self._keys], "required": self._require_key},
        }

    def install(self, server: object) -> None:
        """Run each call of this server's tools once: a low-level `Server` of the SDK, or an `MCPServer` made before.

        Its handler of `tools/call` is wrapped when the server starts, so that the SDK goes on checking what goes in
        and comes out; the server's middleware sees each request as before.

        Raises:
            TargetError: it is no such server.
            UsageError: this is in another server already.
        """
        low = server_of(server)
        if low is None:
            raise TargetError(f"{server!r} is no MCP server of the SDK")
        self._adopt(server, low)
        self._behind = _missing
        low.extensions[self.identifier] = self.settings()

    async def intercept_tool_call(
        self, params: types.CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Answer a call from the log; what comes after this is run by the node that leads."""
        return await self._serve(ctx, params)

    def _adopt(self, server: object, low: Server[Any]) -> None:
        if self._author is not None:
            raise UsageError("this Semel is in a server already: each server takes one of its own")
        self._author = server
        bus = server._subscriptions if isinstance(server, MCPServer) else InMemorySubscriptionBus()
        self._within = Within(low, self._handler, bus)
        low.lifespan = self._living(low.lifespan)

    def _living(self, lifespan: Callable[..., AbstractAsyncContextManager[Any]]) -> Any:
        """Return the server's lifespan with the node's within it."""

        @asynccontextmanager
        async def living(server: Server[Any]) -> AsyncIterator[Any]:
            async with lifespan(server) as state:
                self._enter(server, state)
                try:
                    yield state
                finally:
                    with anyio.CancelScope(shield=True):  # tools may have to end, whatever ends the server
                        await self._leave(state)

        return living

    def _enter(self, server: Server[Any], state: Any) -> None:
        """Join with the first lifespan: where a transport enters one a connection, all have one node."""
        assert self._within is not None
        self._within.states.append(state)
        try:
            if self._membership is not None:
                self._check_loop()
                return
            self._wrap(server)
            self._offer_tasks(server)
            self._loop = _running_loop()
            place = InProcess(self._within.made(), hooks_of(self._author, self._reconcile, place="Semel"))
            membership = self._join(Target(server.name, {server.name: Served(place)}), self._loop)
            self._door = self._made_door(Noting(membership, self._within))
            membership.join()
            self._membership = membership
        except BaseException:
            self._within.states.remove(state)
            raise

    async def _leave(self, state: Any) -> None:
        assert self._within is not None
        states = self._within.states
        if len(states) == 1:
            membership, self._membership = self._membership, None
            assert membership is not None
            await membership.leave()
        states.remove(state)

    def _check_loop(self) -> None:
        assert self._loop is not None
        if not self._loop.here:
            raise UsageError("a server with semel in it is served in one event loop, and this is another")

    def _wrap(self, server: Server[Any]) -> None:
        """Put semel around the handler of an installed server's calls, if it is not there."""
        if self._behind is None:
            return
        entry = server.get_request_handler(_CALL)
        if entry is None:
            raise TargetError(f"the server {server.name!r} has no handler of {_CALL}: there is nothing to run once")
        if entry.handler != self._serve:
            self._behind = entry.handler
            server.add_request_handler(_CALL, types.CallToolRequestParams, self._serve)

    def _offer_tasks(self, server: Server[Any]) -> None:
        """Offer tasks, but for a server that has its own: those stay its author's, and calls become none of semel's.

        That is known only now: an extension that brings some may be applied after this one.
        """
        if self._offers_tasks is None:
            self._offers_tasks = not offers_its_own(server)
            if self._offers_tasks:
                offer(server, self._serve, lambda: self._tasks, mode_listed)

    def _made_door(self, node: Any) -> Server[Any]:
        """Return what answers requests: the same door that a node has, without the server that it is in."""
        self._tasks = Tasks(node) if self._offers_tasks else None
        return make_server(node, client_keys=self._keys, require_key=self._require_key, tasks=self._tasks)

    def _handler(self) -> RequestHandler:
        """Return what is behind semel: the server's own handler, after the extensions that come later."""
        if self._behind is not None:
            return self._behind
        assert isinstance(self._author, MCPServer)
        # The SDK has no public names for these two. Extensions in front see requests, those behind see runs.
        extensions = self._author._extensions
        later = extensions[extensions.index(self) + 1 :]
        return compose_tool_call_handler(later, self._author._handle_call_tool)

    async def _serve(self, context: Context, params: Any) -> HandlerResult:
        """Answer a call, or a request on a task, by the door."""
        try:
            if self._membership is None:
                raise UsageError(
                    "semel has no node here: the server's lifespan was not entered, or the server was not found. "
                    "For a server of this kind, write Semel(…).install(server). Nothing was run"
                )
            self._check_loop()
            await self._membership.ready()
        except SemelError as error:
            raise as_protocol_error(error) from error
        assert self._door is not None
        entry = self._door.get_request_handler(context.method)
        assert entry is not None, context.method
        token = REQUEST.set(context)
        try:
            return await entry.handler(context, params)
        finally:
            REQUEST.reset(token)


async def _missing(_context: Context, _params: Any) -> HandlerResult:
    raise AssertionError("the server's own handler is found before it is served")


def _made_just_now(extension: Extension) -> MCPServer[Any] | None:
    """Return the server that applies `extension` just now, None if none does.

    The SDK hands no server to an extension. Without it a node could come up with the first call at the earliest, and
    a process that waits to take over gets none.
    """
    frame = inspect.currentframe()
    while frame is not None:
        server = frame.f_locals.get("self")
        if isinstance(server, MCPServer) and extension in getattr(server, "_extensions", ()):
            return server
        frame = frame.f_back
    return None


def _running_loop() -> RunningLoop:
    try:
        return RunningLoop()
    except RuntimeError:
        raise UsageError("semel runs on asyncio, and this server is served on another event loop") from None
