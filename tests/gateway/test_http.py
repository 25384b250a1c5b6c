"""The HTTP door: health, limits, known hosts, addresses that are taken, and an orderly end."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed

from semel.core.call import encode_arguments
from semel.core.limits import Limits
from semel.errors import ListenError, TooLarge, Undecided
from semel.gateway.clients.client import connect
from semel.gateway.doors.http import BODY_BYTES_MAX, make_app, serve_http
from semel.gateway.doors.server import make_server
from semel.node.backend import Reply

from .fakes import FakeBackend

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(backend: FakeBackend, **options: Any) -> AsyncIterator[str]:
    app = make_app(make_server(backend), backend.readiness, **options)
    async with serve_http(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def test_health_and_readiness_are_two_questions() -> None:
    backend = FakeBackend(ready="the log is being read")
    async with serving(backend) as url, httpx2.AsyncClient() as http:
        assert (await http.get(f"{url}/healthz")).json() == {"status": "ok"}
        unready = await http.get(f"{url}/readyz")
        backend.ready = None
        assert (await http.get(f"{url}/readyz")).status_code == 200
    assert (unready.status_code, unready.json()["reason"]) == (503, "the log is being read")


async def test_routes_of_the_caller_stand_beside_them() -> None:
    async def hello(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    routes = [Route("/v1/hello", hello), WebSocketRoute("/peer", echo)]
    async with serving(FakeBackend(), routes=routes) as url, httpx2.AsyncClient() as http:
        assert (await http.get(f"{url}/v1/hello")).text == "hello"
        async with websocket(f"ws{url.removeprefix('http')}/peer") as peer:
            await peer.send("here")
            assert await peer.recv() == "here"
        async with websocket(f"ws{url.removeprefix('http')}/peer") as peer:
            await peer.send("x" * (17 * 2**20))
            with pytest.raises(ConnectionClosed, match="1009"):
                await peer.recv()


async def said_to(url: str, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    told = b""
    with contextlib.suppress(ConnectionError):  # who sends on after an answer may not get to read it
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        told = await reader.read(2**16)
    writer.close()
    return told


async def test_blanks_around_the_value_of_a_header_are_none_of_it() -> None:
    async with serving(FakeBackend()) as url:
        told = await said_to(url, b"GET /healthz HTTP/1.1\r\nHost: \t localhost\t \r\nConnection: close\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 200"), told


@pytest.mark.parametrize("piece", [b"X-Y: z\r\n" * 1000, b"z" * 8000], ids=["many headers", "one header"])
async def test_a_head_that_does_not_end_is_given_up(piece: bytes) -> None:
    async with serving(FakeBackend()) as url:
        told = await said_to(url, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: y", *[b"\r\nX: "], *[piece] * 2000)
    assert not told or told.startswith(b"HTTP/1.1 400"), told


async def test_a_head_in_small_pieces_and_requests_behind_one_another_are_answered() -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9000 + b"\r\n\r\n"
    pieces = [head[at : at + 500] for at in range(0, len(head), 500)]
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with serving(FakeBackend()) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for piece in [*pieces, *pieces, last]:
            writer.write(piece)
            await writer.drain()
        assert (await reader.read()).count(b"HTTP/1.1 200") == 3
        writer.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:1"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:8420"}, 200),
        ({"host": "192.168.1.7:8420"}, 200),
        ({"host": "Box.example:8420"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": ""}, 421),
        ({"host": "localhost", "origin": "http://localhost:3000"}, 200),
        ({"host": "192.168.1.7:8420", "origin": "http://192.168.1.7:8420"}, 200),
        ({"host": "localhost", "origin": "https://evil.example"}, 403),
        ({"host": "localhost", "origin": "null"}, 403),
    ],
)
async def test_pages_of_other_sites_are_kept_out(headers: dict[str, str], status: int) -> None:
    async with serving(FakeBackend(), hosts=["box.example"]) as url, httpx2.AsyncClient() as http:
        assert (await http.get(f"{url}/healthz", headers=headers)).status_code == status


async def test_pages_of_other_sites_are_kept_out_of_websockets_too() -> None:
    async with serving(FakeBackend()) as url:
        with pytest.raises(Exception, match="403"):
            async with websocket(f"ws{url.removeprefix('http')}/peer", origin="https://evil.example"):
                pass


class Limited(FakeBackend):
    async def call(self, tool: str, arguments: Any, **named: Any) -> Reply:
        encode_arguments(dict(arguments), Limits())
        return await super().call(tool, arguments, **named)


async def test_arguments_of_40_megabytes_are_refused_by_name_and_size() -> None:
    async with serving(Limited()) as url, connect(url) as client:
        with pytest.raises(TooLarge, match=r"the arguments are 40,000,0\d\d bytes of JSON, more than 33,554,432"):
            await client.call("add", {"text": "x" * 40_000_000})


async def test_a_request_beyond_all_measure_is_not_read() -> None:
    async with serving(FakeBackend()) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()
        await writer.wait_closed()


async def test_an_address_in_use_is_told_with_who_uses_it() -> None:
    app = make_app(make_server(FakeBackend()), lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port} is in use by .* \(pid {os.getpid()}\): choose"):
            async with serve_http(app, "127.0.0.1", port):
                pass


@pytest.mark.parametrize(
    ("host", "said"),
    [("192.0.2.1", "it is no address of this machine"), ("nowhere.invalid", "is no host that is known here")],
)
async def test_an_address_that_cannot_be_had_is_told(host: str, said: str) -> None:
    app = make_app(make_server(FakeBackend()), lambda: None)
    with pytest.raises(ListenError, match=said):
        async with serve_http(app, host, 0):
            pass


@pytest.mark.parametrize("version", ["2026-07-28", "2025-06-18"])
async def test_a_node_that_leaves_lets_nobody_ask_again_over_the_same_connection(version: str) -> None:
    """Plain JSON and the SDK's streams, which say keep-alive of themselves; else a ticket would come back here."""
    left = False
    arguments: dict[str, Any] = {"name": "add", "arguments": {"a": 1, "b": 2}}
    if version == "2026-07-28":
        client = {"protocolVersion": version, "clientCapabilities": {}}
        arguments["_meta"] = {f"io.modelcontextprotocol/{name}": value for name, value in client.items()}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": version,
        "mcp-method": "tools/call",
        "mcp-name": "add",
    }
    async with serving(FakeBackend(), leaving=lambda: left) as url, httpx2.AsyncClient() as http:

        async def asked() -> tuple[str, bool]:
            """Ask, and return what was said of the connection, and whether the server kept it."""
            async with http.stream("POST", f"{url}/mcp", json=body, headers=headers) as answer:
                assert "3" in (await answer.aread()).decode()
            async with http.stream("GET", f"{url}/healthz") as after:
                same = after.extensions["network_stream"] is answer.extensions["network_stream"]
            return answer.headers.get("connection", "keep-alive"), same

        assert await asked() == ("keep-alive", True)
        left = True
        assert await asked() == ("close", False)


async def test_the_end_does_not_wait_for_ever_for_answers_under_way() -> None:
    backend = FakeBackend(held=asyncio.Event())
    async with asyncio.timeout(10):
        async with serving(backend) as url:
            client = connect(url, timeout_s=0.5)
            waiting = asyncio.create_task(client.call("add", {}))
            while not backend.asked:
                await asyncio.sleep(0.01)
        with pytest.raises(Undecided, match="may have run"):
            await waiting
    await client.close()
