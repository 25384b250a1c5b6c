"""The short way of plain calls: whatever is sent, both ways give the same answer and ask the same of the node."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import mcp.server._streamable_http_modern as sdk
import pytest

import semel.gateway.doors.http
from semel.core.call import Status
from semel.errors import (
    BadArguments,
    Busy,
    Draining,
    KeyReused,
    KeyStale,
    NoLeader,
    SemelError,
    TooLarge,
    Undecided,
    UnknownTool,
)
from semel.gateway.doors import lingering
from semel.gateway.doors.fastpath import FastPath
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import make_server

from .corpus import TOOLS, Request, requests
from .fakes import FakeBackend

pytestmark = pytest.mark.anyio

SEED = 20261125
EACH = 6000

Told = tuple[int, list[tuple[str, str]], Any]
"""An answer: status, headers, and the body as JSON, or as it came."""


class Way:
    """One way to the node: an app, and the node behind it."""

    def __init__(self, app: Any, backend: FakeBackend) -> None:
        self.app = app
        self.backend = backend

    async def ask(self, request: Request, path: str = "/mcp") -> Told:
        """Return what is answered to a request."""
        messages = [
            {"type": "http.request", "body": piece, "more_body": number < len(request.pieces)}
            for number, piece in enumerate(request.pieces, 1)
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else await asyncio.get_running_loop().create_future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8420),
            "state": {},
        }
        await self.app(scope, receive, send)
        begin, *rest = sent
        told = [(name.decode(), value.decode("latin-1")) for name, value in begin["headers"]]
        return begin["status"], sorted(told), read(b"".join(message["body"] for message in rest))


def read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def same(one: Told, other: Told) -> bool:
    """Return whether two answers say the same; how JSON is spelled, and so its length, is free."""

    def shown(told: Told) -> str:
        status, headers, body = told
        free = "content-length" if not isinstance(body, bytes) else ""
        kept = [(name, value) for name, value in headers if name != free]
        return f"{status} {kept} {body if isinstance(body, bytes) else json.dumps(body, sort_keys=True)}"

    return shown(one) == shown(other)


@asynccontextmanager
async def two_ways(patch: pytest.MonkeyPatch, make: Callable[[], FakeBackend]) -> AsyncIterator[tuple[Way, Way]]:
    """The short way, and the SDK's."""
    patch.setattr("semel.gateway.doors.asked.secrets.token_hex", lambda _=None: "made")
    fast, slow = make(), make()
    short = Way(make_app(make_server(fast), fast.readiness), fast)
    patch.setattr(semel.gateway.doors.http, "FastPath", lambda app, _server, **_: app)
    long = Way(make_app(make_server(slow), slow.readiness), slow)
    async with running(short.app), running(long.app):
        yield short, long


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    """Start an ASGI app, and let it end."""
    orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, orders.get, told.put))
    orders.put_nowait({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        orders.put_nowait({"type": "lifespan.shutdown"})
        assert (await told.get())["type"] == "lifespan.shutdown.complete"
        await life


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tools of the calls that took the short way."""
    names: list[str] = []
    answer = FastPath._answer

    async def note(self: FastPath, call: Any, request: Any) -> tuple[int, bytes]:
        names.append(call.params["name"])
        return await answer(self, call, request)

    monkeypatch.setattr(FastPath, "_answer", note)
    return names


async def compare(short: Way, long: Way, request: Request, about: object = "") -> None:
    one, other = await short.ask(request), await long.ask(request)
    assert same(one, other), f"{about} {request}\nshort: {one}\nlong:  {other}"
    assert short.backend.asked == long.backend.asked, f"{about} {request}"
    short.backend.asked.clear()
    long.backend.asked.clear()


def with_body(request: Request, pieces: list[bytes]) -> Request:
    size = str(sum(map(len, pieces)))
    headers = [(name, value if name != "content-length" else size) for name, value in request.headers]
    return dataclasses.replace(request, pieces=pieces, headers=headers)


async def test_thousands_of_requests_get_the_same_answer_on_both_ways(
    monkeypatch: pytest.MonkeyPatch, taken: list[str]
) -> None:
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS)) as (short, long):
        for number, request in enumerate(requests(SEED, EACH)):
            await compare(short, long, request, number)
    assert 0.3 * EACH < len(taken) < 0.9 * EACH, len(taken)
    assert set(taken) >= {"add", "routed", "größe", "nowhere"}


RESULTS: list[dict[str, Any]] = [
    {"content": []},
    {"content": [], "structuredContent": None},
    {"content": [], "structuredContent": [None, 1, {"a": None}]},
    {"content": [], "structuredContent": {"a": None, "b": [None], "c": {"d": None}, "big": 10**40, "float": 1.0}},
    {"content": [], "structuredContent": 0, "isError": False},
    {"content": [], "structuredContent": "half \ud800 a character"},
    {"content": [{"type": "text", "text": "\ud83d"}], "isError": True},
    {"content": [{"type": "text", "text": "x", "annotations": {"priority": 1}, "_meta": {"a": None}}]},
    {"content": [{"type": "text", "text": "x", "annotations": None, "unknown": 1}]},
    {"content": [{"type": "text", "text": 1}]},
    {"content": [{"type": "image", "data": "aGk=", "mimeType": "image/png"}]},
    {"content": [{"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}, {"type": "text", "text": "ü"}]},
    {"content": [{"type": "resource_link", "uri": "file:///x", "name": "x", "size": 1}]},
    {"content": [{"type": "resource", "resource": {"uri": "file:///x", "text": "x", "mimeType": None}}]},
    {"content": [{"type": "nothing"}]},
    {"content": "x"},
    {"content": None},
    {"structuredContent": {}},
    {"content": [], "isError": None},
    {"content": [], "isError": 1},
    {"content": [], "isError": True, "_meta": {"dev.semel/source": "semel"}},
    {"content": [], "_meta": {"x": None, "y": {"z": None}}},
    {"content": [], "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "x", "version": "1"}}},
    {"content": [], "_meta": {"io.modelcontextprotocol/serverInfo": None}},
    {"content": [], "_meta": {"io.modelcontextprotocol/other": 1}},
    {"content": [], "_meta": None},
    {"content": [], "more": 1, "resultType": "complete"},
    {"content": [], "resultType": None},
    {"content": [], "resultType": "custom", "more": {"a": None}},
    {"resultType": "input_required", "requestState": "x", "_meta": {"a": 1}},
    {"resultType": "input_required", "inputRequests": {"a": {"method": "roots/list"}}},
    {"resultType": "input_required"},
    {},
]


@pytest.mark.parametrize("result", RESULTS, ids=range(len(RESULTS)))
async def test_whatever_a_tool_gave_goes_over_the_wire_alike(
    monkeypatch: pytest.MonkeyPatch, taken: list[str], result: dict[str, Any]
) -> None:
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS, result=result)) as (short, long):
        await compare(short, long, requests(SEED, 1)[0])
    assert len(taken) == 1


ERRORS: list[SemelError] = [
    *(BadArguments("x"), KeyReused("ü"), KeyStale("x"), TooLarge("x"), UnknownTool("x")),
    *(Busy("x"), Draining("x"), NoLeader("x"), Undecided("x")),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_errors_and_tickets_go_over_the_wire_alike(
    monkeypatch: pytest.MonkeyPatch, taken: list[str], error: SemelError
) -> None:
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS, error=error)) as (short, long):
        for request in requests(SEED, 40):
            await compare(short, long, request)
    assert taken


async def test_a_mistake_in_semel_is_told_alike(monkeypatch: pytest.MonkeyPatch, taken: list[str]) -> None:
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS, error=ValueError("x"))) as (short, long):  # type: ignore[arg-type]
        await compare(short, long, requests(SEED, 1)[0])
    assert len(taken) == 1


async def test_a_call_in_doubt_is_told_alike(monkeypatch: pytest.MonkeyPatch, taken: list[str]) -> None:
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS, status=Status.IN_DOUBT)) as (short, long):
        await compare(short, long, requests(SEED, 1)[0])
    assert len(taken) == 1


async def test_a_tool_whose_schema_changes_is_checked_by_the_new_one(
    monkeypatch: pytest.MonkeyPatch, taken: list[str]
) -> None:
    plain = requests(SEED, 1)[0]
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS)) as (short, long):
        await compare(short, long, plain)
        asks = {"name": "add", "inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
        asks["inputSchema"]["properties"]["a"]["x-mcp-header"] = "A"  # type: ignore[index]
        short.backend.shown = long.backend.shown = [asks]
        await compare(short, long, plain)
    assert len(taken) == 1


async def test_a_body_beyond_the_short_way_takes_the_long_one(
    monkeypatch: pytest.MonkeyPatch, taken: list[str]
) -> None:
    plain = requests(SEED, 1)[0]
    body = b"".join(plain.pieces)
    large = with_body(plain, [body[:-1], *[b" " * 2**18] * 5, body[-1:]])
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS)) as (short, long):
        await compare(short, long, large)
        await compare(short, long, dataclasses.replace(large, headers=plain.headers))  # it says less than it brings
    assert not taken


WANTS_MORE = [
    {"progressToken": 1},
    {"io.modelcontextprotocol/logLevel": "debug"},
    {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}},
    {"io.modelcontextprotocol/unheard-of": {}},
]


@pytest.mark.parametrize("wants", WANTS_MORE, ids=lambda wants: next(iter(wants)))
async def test_who_wants_more_than_an_answer_takes_the_long_way(
    monkeypatch: pytest.MonkeyPatch, taken: list[str], wants: dict[str, Any]
) -> None:
    plain = requests(SEED, 1)[0]
    asked = json.loads(b"".join(plain.pieces))
    asked["params"]["_meta"].update(wants)
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS)) as (short, long):
        await compare(short, long, plain)
        await compare(short, long, with_body(plain, [json.dumps(asked).encode()]))
    assert len(taken) == 1


async def test_a_round_after_the_first_takes_the_long_way(monkeypatch: pytest.MonkeyPatch, taken: list[str]) -> None:
    plain = requests(SEED, 1)[0]
    asked = json.loads(b"".join(plain.pieces))
    asked["params"]["requestState"] = "x"
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS)) as (short, long):
        await compare(short, long, with_body(plain, [json.dumps(asked).encode()]))
    assert not taken


async def test_a_body_that_comes_in_pieces_takes_the_short_way(
    monkeypatch: pytest.MonkeyPatch, taken: list[str]
) -> None:
    plain = requests(SEED, 1)[0]
    body = b"".join(plain.pieces)
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS)) as (short, long):
        await compare(short, long, with_body(plain, [body[:1], b"", body[1:9], body[9:]]))
    assert len(taken) == 1


async def test_another_path_is_not_answered(monkeypatch: pytest.MonkeyPatch, taken: list[str]) -> None:
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS)) as (short, _long):
        status, _, _ = await short.ask(requests(SEED, 1)[0], path="/mcp2")
    assert status == 404
    assert not taken


async def test_foreign_hosts_and_pages_are_kept_out(monkeypatch: pytest.MonkeyPatch, taken: list[str]) -> None:
    plain = requests(SEED, 1)[0]
    foreign = [(name, value if name != "host" else "evil.example") for name, value in plain.headers]
    async with two_ways(monkeypatch, lambda: FakeBackend(shown=TOOLS)) as (short, long):
        await compare(short, long, dataclasses.replace(plain, headers=foreign))
        await compare(
            short, long, dataclasses.replace(plain, headers=[*plain.headers, ("origin", "http://evil.example")])
        )
    assert not taken


# Over real connections.


def over_the_wire(request: Request) -> bytes:
    head = "".join(f"{name.title()}: {value}\r\n" for name, value in request.headers)
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + b"".join(request.pieces)


@asynccontextmanager
async def connected(backend: FakeBackend) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serve_http(make_app(make_server(backend), backend.readiness), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def test_header_names_in_any_case_take_the_short_way(taken: list[str]) -> None:
    async with connected(FakeBackend(shown=TOOLS)) as (reader, writer):
        for _ in range(2):  # on one connection
            writer.write(over_the_wire(requests(SEED, 1)[0]))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200")
            size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(size))["result"]["resultType"] == "complete"
    assert len(taken) == 2


@pytest.mark.parametrize("short", [True, False])
async def test_a_call_that_takes_long_gets_pings_and_then_its_answer(
    monkeypatch: pytest.MonkeyPatch, taken: list[str], *, short: bool
) -> None:
    monkeypatch.setattr(lingering, "LOOK_AFTER_S", 0.05)
    monkeypatch.setattr(lingering, "PING_S", 0.1)
    monkeypatch.setattr(sdk, "_SSE_PING_INTERVAL", 0.1)
    if not short:
        monkeypatch.setattr(semel.gateway.doors.http, "FastPath", lambda app, _server, **_: app)
    backend = FakeBackend(shown=TOOLS, held=asyncio.Event())
    async with connected(backend) as (reader, writer):
        writer.write(over_the_wire(requests(SEED, 1)[0]))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"content-type: text/event-stream" in head
        assert b"cache-control: no-cache, no-transform" in head
        for _ in range(2):
            await reader.readuntil(b": ping\r\n\r\n")
        assert backend.held is not None
        backend.held.set()
        event = await reader.readuntil(b"}\r\n\r\n")
        assert b"event: message\r\ndata: {" in event
        assert json.loads(event[event.index(b"data: ") + 6 :])["result"]["resultType"] == "complete"
    assert len(taken) == short


async def test_a_client_that_goes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, taken: list[str]) -> None:
    monkeypatch.setattr(lingering, "LOOK_AFTER_S", 0.05)
    let_go = asyncio.Event()

    class Waiting(FakeBackend):
        async def call(self, *given: Any, **more: Any) -> Any:
            try:
                return await super().call(*given, **more)
            except asyncio.CancelledError:
                let_go.set()
                raise

    backend = Waiting(shown=TOOLS, held=asyncio.Event())
    async with connected(backend) as (_reader, writer):
        writer.write(over_the_wire(requests(SEED, 1)[0]))
        while not backend.asked:
            await asyncio.sleep(0.01)
        writer.close()
        await asyncio.wait_for(let_go.wait(), 5)
    assert len(taken) == 1
