"""Nodes of which the tests of sessions know everything: doors without a log, and clients that go round them."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import mcp
from mcp import types
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from semel.core.call import NodeId
from semel.errors import NoLeader
from semel.gateway.doors.announcing import Announcer
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.sessions import Sessions
from semel.node.members import Home

HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@dataclass
class Door:
    """One node: its tools answer with its name, ask their client, or take as long as they are let."""

    name: str
    incarnation: str
    sessions: Sessions
    announcer: Announcer = field(default_factory=Announcer)
    asked: list[Mapping[str, str]] = field(default_factory=list)
    """The headers of each call."""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def server(self) -> Server[Any]:
        async def list_tools(context: Any, _params: Any) -> Any:
            self.announcer.met(context)
            names = ("where", "ask", "wait", "close")
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}

        async def call_tool(context: Any, params: types.CallToolRequestParams) -> Any:
            self.asked.append(dict(context.request.headers))
            match params.name:
                case "ask":
                    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
                    told = await context.session.elicit_form("Who are you?", schema, context.request_id)
                    return _text(f"{self.name}: {told.content}")
                case "wait":
                    await self._wait()
                case "close":
                    await context.close_sse_stream()
                    await self._wait()
            return _text(self.name)

        return Server(
            "door", on_list_tools=list_tools, on_call_tool=call_tool, on_subscriptions_listen=self.announcer.listen
        )

    async def _wait(self) -> None:
        self.began.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def _text(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


@dataclass
class Doors:
    """Nodes of one log, each of which knows where the others are."""

    parts: AsyncExitStack
    known: dict[str, Home] = field(default_factory=dict)
    doors: dict[str, Door] = field(default_factory=dict)
    stops: dict[str, AsyncExitStack] = field(default_factory=dict)
    blind: bool = False

    async def start(self, name: str, incarnation: str = "0123abcd", port: int = 0, **limits: Any) -> Door:
        door = Door(name, incarnation, Sessions(NodeId(name, incarnation), self._find, **limits))
        stop = self.stops[name] = await self.parts.enter_async_context(AsyncExitStack())
        app = make_app(door.server(), lambda: None, sessions=door.sessions)
        port = await stop.enter_async_context(serve_http(app, "127.0.0.1", port))
        stop.callback(door.sessions.hang_up)
        door.url = f"http://127.0.0.1:{port}"
        self.known[name], self.doors[name] = Home(door.url, True), door
        return door

    async def stop(self, name: str) -> None:
        await self.stops[name].aclose()

    def _find(self, name: str) -> Home | None:
        if self.blind:
            raise NoLeader("this node has not seen the others yet")
        return self.known.get(name)

    @property
    def urls(self) -> list[str]:
        return [door.url for door in self.doors.values()]


@asynccontextmanager
async def doors(*names: str, **limits: Any) -> AsyncIterator[Doors]:
    async with AsyncExitStack() as parts:
        all_doors = Doors(parts)
        for name in names:
            await all_doors.start(name, **limits)
        yield all_doors


class RoundRobin(httpx2.AsyncBaseTransport):
    """Sends each request to the next node, as a load balancer does that knows no sessions."""

    def __init__(self, urls: list[str], *, listens_at: str | None = None) -> None:
        self.urls = urls
        self.listens_at = listens_at
        self.tried: list[tuple[str, str, int]] = []
        """Method, node and status of each request."""
        self._turns = itertools.count()
        self._http = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        next_url = self.urls[next(self._turns) % len(self.urls)]
        at = httpx2.URL(self.listens_at if self.listens_at and request.method == "GET" else next_url)
        request.url = request.url.copy_with(scheme=at.scheme, host=at.host, port=at.port)
        request.headers["host"] = f"{at.host}:{at.port}"
        response = await self._http.handle_async_request(request)
        self.tried.append((request.method, str(at), response.status_code))
        return response

    async def aclose(self) -> None:
        await self._http.aclose()


@asynccontextmanager
async def client(transport: RoundRobin, **options: Any) -> AsyncIterator[mcp.Client]:
    """A client of the handshake era, as the SDK has it."""
    timeout = httpx2.Timeout(30)
    async with (
        httpx2.AsyncClient(transport=transport, timeout=timeout) as http,
        mcp.Client(
            streamable_http_client("http://nodes/mcp", http_client=http), mode="legacy", cache=None, **options
        ) as asking,
    ):
        yield asking


def said(result: types.CallToolResult) -> str:
    return "".join(part.text for part in result.content if isinstance(part, types.TextContent))


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}


def call(tool: str, request_id: int = 1) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": request_id,
        "method": "tools/call",
        "params": {"name": tool, "arguments": {}},
    }


class Raw:
    """A client that shows its requests and the answers as they are on the wire."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def open(self, url: str, **headers: str) -> str:
        """Return the id of a new session."""
        response = await self.http.post(f"{url}/mcp", json=INITIALIZE, headers={**HEADERS, **headers})
        assert response.status_code == 200, response.text
        session = response.headers["mcp-session-id"]
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await self.post(url, session, ready)).status_code == 202
        return str(session)

    async def post(self, url: str, session: str, message: Any, **headers: str) -> httpx2.Response:
        return await self.http.post(
            f"{url}/mcp", json=message, headers={**HEADERS, "mcp-session-id": session, **headers}
        )

    def get(self, url: str, session: str, **headers: str) -> Any:
        """Return the stream of what a session sends by itself."""
        return self.http.stream("GET", f"{url}/mcp", headers={**HEADERS, "mcp-session-id": session, **headers})

    def stream(self, url: str, session: str, message: Any) -> Any:
        """Return the stream of an answer to a client that can take up broken ones."""
        headers = {**HEADERS, "mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
        return self.http.stream("POST", f"{url}/mcp", json=message, headers=headers)


@asynccontextmanager
async def raw() -> AsyncIterator[Raw]:
    async with httpx2.AsyncClient(timeout=20) as http:
        yield Raw(http)


@dataclass
class Event:
    id: str = ""
    retry: str = ""
    data: Any = None


async def events(response: httpx2.Response) -> AsyncIterator[Event]:
    """Yield the events of a stream; the pings in between are left out."""
    event, filled = Event(), False
    async for line in response.aiter_lines():
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if filled:
                yield event
            event, filled = Event(), False
        elif name == "data":
            event.data, filled = json.loads(value) if value else None, True
        elif name in ("id", "retry"):
            setattr(event, name, value)
            filled = True


async def answered(response: httpx2.Response) -> Any:
    """Return the message in an answer that came whole."""
    lines = [line.partition(":")[2] for line in response.text.splitlines() if line.startswith("data:")]
    return json.loads(lines[-1]) if lines else response.json()


@asynccontextmanager
async def elsewhere(status: int, headers: Mapping[str, str] | None = None) -> AsyncIterator[tuple[str, list[Request]]]:
    """A server that is no node; it notes what it was asked."""
    asked: list[Request] = []

    async def note(request: Request) -> Response:
        asked.append(request)
        return Response("elsewhere", status, headers)

    everything = Route("/{path:path}", note, methods=["GET", "POST", "DELETE"])
    async with serve_http(Starlette(routes=[everything]), "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}", asked
