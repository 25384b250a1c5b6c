"""An author's server as semel runs it: the same tools, and no semel around them, so that a run is no call again.

What a tool says and asks goes to whoever waits for its call, on whichever node. A run for a request that came to this
process sees that request's surroundings as well: its headers, and what authenticated its user.
"""

import asyncio
import contextvars
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from mcp import types
from mcp.server import Server
from mcp.server.context import HandlerResult
from mcp.server.extension import RequestHandler
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ListenHandler, SubscriptionBus, ToolsListChanged

from semel.gateway.asker import ASKER
from semel.gateway.doors.asked import Context
from semel.gateway.upstreams.declare import CURRENT, CurrentCall
from semel.node.backend import Reply, Witness

REQUEST: ContextVar[Context] = ContextVar("semel_request")
"""The request that asks for a call just now; set where it comes in, read where its key is known."""

LEFT_MAX = 1024
"""So many requests that wait no more are remembered for the runs of their calls; the oldest go first. One that is
answered with a task is left as its run begins; and that may begin at another node."""

_ANNOUNCEMENTS = (
    "send_prompt_list_changed",
    "send_resource_list_changed",
    "send_resource_updated",
)
"""What a session says of the server, and not of a call."""


@dataclass(eq=False, slots=True)
class Request:
    """A request that waits in this process, with its surroundings for the run."""

    tool: str
    arguments: Mapping[str, Any]
    context: Context
    surroundings: contextvars.Context = field(default_factory=contextvars.copy_context)
    seen: bool = False
    """Whether a run has seen it."""


class Within:
    """The server without semel; `handler` gives what is behind semel, for each run anew."""

    def __init__(self, server: Server[Any], handler: Callable[[], RequestHandler], bus: SubscriptionBus) -> None:
        """Take over what `server` lists; on `bus` it says that this has changed."""
        self._server = server
        self._handler = handler
        self._bus = bus
        self._requests: defaultdict[tuple[str, str], list[Request]] = defaultdict(list)
        self._left: OrderedDict[tuple[str, str], Request] = OrderedDict()
        """Those that wait no more, for one because a task has been given, and whose call no run here has begun."""
        self.states: list[Any] = []
        """What the server's lifespans have yielded that are under way; on most transports there is one."""

    def made(self) -> Server[Any]:
        """Return the server to be run."""
        own = self._server
        within = Server(
            own.name,
            version=own.version,
            instructions=own.instructions,
            lifespan=self._lifespan,
            on_call_tool=self._run,  # type: ignore[arg-type]  # a handler may give all that the SDK takes
            on_subscriptions_listen=ListenHandler(self._bus),
        )
        for method in ("tools/list", "subscriptions/listen"):
            if (entry := own.get_request_handler(method)) is not None:
                within.add_request_handler(method, entry.params_type, entry.handler)
        return within

    @contextmanager
    def waiting(self, name: tuple[str, str], request: Request) -> Iterator[None]:
        """Let a run for the call `name` (caller and key) see this request, also if it is left before the run begins."""
        self._requests[name].append(request)
        try:
            yield
        except asyncio.CancelledError:
            if not request.seen:
                self._left[name] = request
                if len(self._left) > LEFT_MAX:
                    self._left.popitem(last=False)
            raise
        finally:
            self._requests[name].remove(request)
            if not self._requests[name]:
                del self._requests[name]

    @asynccontextmanager
    async def _lifespan(self, _: Server[Any]) -> AsyncIterator[Any]:
        yield self.states[-1]  # the author's, which is entered already; a run takes the newest

    async def _run(self, context: Context, params: types.CallToolRequestParams) -> HandlerResult:
        """Run a tool in the surroundings of the request that it runs for."""
        current = CURRENT.get()
        context = replace(context, lifespan_context=self.states[-1])
        request = self._request(current, params)
        if request is not None:
            request.seen = True
            asker = ASKER.get()
            for variable, value in request.surroundings.items():
                variable.set(value)
            CURRENT.set(current)
            ASKER.set(asker)
            session: Any = _Session(request.context.session, context.session, self._bus)
            context = replace(context, session=session, request=request.context.request)
        return await self._handler()(context, params)

    def _request(self, current: CurrentCall, params: types.CallToolRequestParams) -> Request | None:
        """Return the request that a run is for, if it came to this process."""
        name = (current.caller, current.key)
        requests = list(self._requests.get(name, ()))
        if name in self._left:
            requests.append(self._left.pop(name))
        for request in requests:
            # One that asks for something else under this key is about to be refused.
            if (request.tool, request.arguments) == (params.name, params.arguments or {}):
                return request
        return None


class _Session:
    """The session within, which reaches whoever waits, and what it cannot know of the request's own."""

    def __init__(self, own: ServerSession, within: ServerSession, bus: SubscriptionBus) -> None:
        self.client_params = own.client_params
        self._own = own
        self._within = within
        self._bus = bus

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own if name in _ANNOUNCEMENTS else self._within, name)

    async def send_tool_list_changed(self) -> None:
        """Tell the node and all who listen, and a client of the handshake eras."""
        await self._bus.publish(ToolsListChanged())
        await self._own.send_tool_list_changed()


class Noting:
    """A `Witness` that notes which request each call is for."""

    def __init__(self, backend: Witness, within: Within) -> None:
        self._backend = backend
        self._within = within

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def call(self, tool: str, arguments: Mapping[str, Any], **given: Any) -> Reply:
        """Run a call once and return how it stands; `given` is what else `Backend.call` takes."""
        asking = REQUEST.get(None)
        if asking is None:  # for who listens to a task, which goes on by itself
            return await self._backend.call(tool, arguments, **given)
        with self._within.waiting((given["caller"], given["key"]), Request(tool, arguments, asking)):
            return await self._backend.call(tool, arguments, **given)
