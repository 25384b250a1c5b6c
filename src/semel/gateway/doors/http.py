"""The node's HTTP door: MCP at /mcp for both protocol eras, health and readiness, and room for the caller's routes.

Knows Starlette, uvicorn and the SDK's HTTP transport; of the node it asks only whether it is ready.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semel.deadlines import Deadlines
from semel.forks import closes, keep_from_children
from semel.gateway.doors.fastpath import FastPath
from semel.gateway.doors.heads import Heads
from semel.gateway.doors.hosts import KnownHosts
from semel.gateway.doors.knownheads import KnownHeads
from semel.gateway.doors.listening import bind
from semel.gateway.doors.sessions import Sessions

BODY_BYTES_MAX = 64 * 2**20
"""One request; so much more than the arguments may have that a request over their limit is told so by its caller's
node, with a reason. What is larger still is answered 413 before it is read."""

_SHUTDOWN_S = 2
"""How long answers under way may take once the server is to stop; a retry gets them from another node."""

_IDLE_S = 75
"""How long an idle connection is kept: longer than clients keep theirs, so that it is they who close it."""


def make_app(
    server: Server[Any],
    readiness: Callable[[], str | None],
    *,
    leaving: Callable[[], bool] = lambda: False,
    routes: Sequence[BaseRoute] = (),
    hosts: Collection[str] = (),
    sessions: Sessions | None = None,
) -> ASGIApp:
    """Return the ASGI app of a node: /mcp, /healthz, /readyz and `routes`.

    It answers to the loopback names, to IP addresses, to this machine's name, and to `hosts`. While it is `leaving`,
    each answer is the last on its connection.
    What belongs to no session stands for itself; `sessions` knows the others, on this node alone if it is not given.
    """
    manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=BODY_BYTES_MAX)
    front = Sessions() if sessions is None else sessions

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        alone = StreamableHTTPASGIApp(manager)
        async with manager.run(), front.run(server, alone, body_bytes_max=BODY_BYTES_MAX):
            yield

    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> JSONResponse:
        reason = readiness()
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)

    app = Starlette(
        routes=[
            Route("/mcp", front),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *routes,
        ],
        middleware=[Middleware(_LastAnswers, leaving=leaving)],
        lifespan=running,
    )
    # The fast path comes after what keeps requests out, and before all that a plain call does not need.
    return KnownHosts(FastPath(app, server, leaving=leaving), [*hosts, socket.gethostname()])


class _LastAnswers:
    """Says `Connection: close` with each answer of a node that leaves: an ASGI middleware for all routes.

    Else a client that asks again, as one with a ticket does at once, would ask the same node over the connection that
    it has, though a load balancer would take a new one to another node.
    """

    def __init__(self, app: ASGIApp, leaving: Callable[[], bool]) -> None:
        self._app = app
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes in, and what goes out with that word in its head."""

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._leaving():
                MutableHeaders(scope=message)["connection"] = "close"  # the SDK's streams say keep-alive
            await send(message)

        await self._app(scope, receive, send_last)


@asynccontextmanager
async def serve_http(
    app: ASGIApp, host: str, port: int, *, websocket_bytes_max: int = 16 * 2**20
) -> AsyncIterator[int]:
    """Serve `app` in the running loop for as long as the context is open; yields the port (for `port` 0, a free one).

    Raises:
        ListenError: the address cannot be bound.
    """
    with contextlib.closing(bind(host, port)) as bound:
        keep_from_children(bound.fileno())
        serving = _Uvicorn(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                proxy_headers=False,  # who asks is nobody's business here, and over which scheme neither
                lifespan="on",
                http=partial(Heads, KnownHeads(), Deadlines()),  # type: ignore[arg-type]  # it is called with what the class is called with
                ws="websockets-sansio",
                ws_max_size=websocket_bytes_max,
                timeout_keep_alive=_IDLE_S,
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )
        )
        task = asyncio.create_task(serving.serve(sockets=[bound]))
        started = asyncio.create_task(serving.up.wait())
        try:
            await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if task.done():
                task.result()
            yield bound.getsockname()[1]
        finally:
            closes(bound.fileno())
            serving.should_exit = True
            await task


class _Uvicorn(uvicorn.Server):
    """A uvicorn that leaves the process's signals alone and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
