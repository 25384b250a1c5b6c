"""A head that is known byte for byte means what it meant when it was read."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import semel.gateway.doors.http
from semel.gateway.doors.heads import Heads
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.knownheads import KnownHeads
from semel.gateway.doors.server import make_server

from .corpus import ENVELOPE, TOOLS, Request, requests
from .fakes import FakeBackend

pytestmark = pytest.mark.anyio

SEED = 20261126
EACH = 1500
WAIT_S = 20.0


class Forgetful(KnownHeads):
    """Knows no head."""

    def find(self, data: bytes) -> None:
        """Return None."""


class Talker:
    """One connection to a server, opened again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def say(self, *pieces: bytes) -> tuple[bytes, Any, bool]:
        """Send a request; return the status line and the body of its answer, and whether the connection is closed."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        told = await self.hear()
        if told[2]:
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
            await self.close()
        return told

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()
            self._streams = None

    async def hear(self) -> tuple[bytes, Any, bool]:
        """Return the next answer."""
        assert self._streams is not None
        reader, _ = self._streams
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)).lower()
        if b"transfer-encoding: chunked" in head:
            body = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), WAIT_S)
        else:
            size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            body = await asyncio.wait_for(reader.readexactly(size), WAIT_S)
        try:
            read: Any = json.loads(body)
        except ValueError:
            read = body
        return head.partition(b"\r\n")[0], read, b"connection: close" in head


def raw(request: Request) -> bytes | None:
    """Return a request as it goes over the wire, None if it could not be told where it ends."""
    body = b"".join(request.pieces)
    headers = [(name.lower(), value) for name, value in request.headers]
    sizes = [value for name, value in headers if name == "content-length"]
    if sizes != [str(len(body))] or any(ord(c) < 32 or ord(c) == 127 for _, value in headers for c in value):
        return None
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


@asynccontextmanager
async def serving(patch: pytest.MonkeyPatch, known: type[KnownHeads]) -> AsyncIterator[tuple[Talker, FakeBackend]]:
    patch.setattr(semel.gateway.doors.http, "KnownHeads", known)
    backend = FakeBackend(shown=TOOLS)
    async with serve_http(make_app(make_server(backend), backend.readiness), "127.0.0.1", 0) as port:
        talker = Talker(port)
        try:
            yield talker, backend
        finally:
            await talker.close()


@pytest.fixture
def recognized(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies of the requests whose heads were known."""
    bodies: list[bytes] = []
    begin = Heads._begin

    def note(self: Heads, known: Any, body: bytes) -> None:
        bodies.append(body)
        begin(self, known, body)

    monkeypatch.setattr(Heads, "_begin", note)
    return bodies


async def test_thousands_of_requests_get_the_same_answer_when_their_heads_are_known(
    monkeypatch: pytest.MonkeyPatch, recognized: list[bytes]
) -> None:
    monkeypatch.setattr("semel.gateway.doors.asked.secrets.token_hex", lambda _=None: "made")
    async with (
        serving(monkeypatch, KnownHeads) as (one, its_backend),
        serving(monkeypatch, Forgetful) as (other, other_backend),
    ):
        said = [sent for request in requests(SEED, EACH) if (sent := raw(request)) is not None]
        for sent in said:
            for _ in range(2):
                assert await one.say(sent) == await other.say(sent), sent
                assert its_backend.asked == other_backend.asked, sent
                its_backend.asked.clear()
                other_backend.asked.clear()
    assert len(recognized) > EACH // 4, len(recognized)


def call(number: int, a: int = 1, *, name: str = "add", more: str = "") -> bytes:
    """Return a plain call."""
    params = {"name": "add", "arguments": {"a": a, "b": 2}, "_meta": ENVELOPE}
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()
    head = (
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
        f"Mcp-Method: tools/call\r\nMcp-Name: {name}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body


def size(request: bytes) -> bytes:
    """Return the length that a request says its body has."""
    return request.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]


async def test_a_known_head_may_come_in_pieces_with_others_behind_it_or_with_another_body(
    monkeypatch: pytest.MonkeyPatch, recognized: list[bytes]
) -> None:
    async with serving(monkeypatch, KnownHeads) as (talker, backend):
        for number in (1, 2, 3):
            assert (await talker.say(call(number)))[1]["id"] == number
        assert len(recognized) == 2
        for cut in (10, 200, len(call(4)) - 5):
            assert (await talker.say(call(4)[:cut], call(4)[cut:]))[1]["id"] == 4
        assert (await talker.say(call(5) + call(6) + call(7)))[1]["id"] == 5
        assert [(await talker.hear())[1]["id"] for _ in range(2)] == [6, 7]
        seen = len(recognized)
        assert (await talker.say(call(8)))[1]["id"] == 8
        assert len(recognized) == seen + 1
        another = call(9).replace(b'"tools/call"', b'"tools/list"')
        assert (await talker.say(another))[0].startswith(b"http/1.1 400")
        nothing = call(1)[: -len(recognized[0])] + b" " * len(recognized[0])
        assert (await talker.say(nothing))[0].startswith(b"http/1.1 400")
        assert len(recognized) == seen + 3
        assert (await talker.say(call(1)))[1]["id"] == 1
    assert len(backend.asked) == 11


async def test_a_head_that_ends_its_connection_or_is_of_a_foreign_host_is_read_each_time(
    monkeypatch: pytest.MonkeyPatch, recognized: list[bytes]
) -> None:
    async with serving(monkeypatch, KnownHeads) as (talker, _backend):
        for number in (1, 2):
            assert (await talker.say(call(number, more="Connection: close\r\n")))[1:] != (None, False)
            assert (await talker.say(call(number).replace(b"localhost", b"evil.test")))[0].startswith(b"http/1.1 421")
            assert (await talker.say(call(number, more=f"Idempotency-Key: k{number}\r\n")))[1]["id"] == number
            assert (await talker.say(call(number, name="other")))[0].startswith(b"http/1.1 400")
    assert not recognized


async def test_blank_lines_before_a_head_are_no_head(monkeypatch: pytest.MonkeyPatch, recognized: list[bytes]) -> None:
    """Else what comes after such lines would be taken for the body of another client's request, if it is as long."""
    blank = b"\r\n\r\n"
    async with serving(monkeypatch, KnownHeads) as (talker, _backend):
        body = call(2)
        longer = call(1).replace(b"{", b"{" + b" " * (len(body) - int(size(call(1)))), 1)
        longer = longer.replace(b"Content-Length: " + size(call(1)), b"Content-Length: %d" % len(body))
        assert (await talker.say(blank + longer))[1]["id"] == 1
        assert (await talker.say(blank + body))[1]["id"] == 2
    assert not recognized


async def test_an_offer_to_go_on_in_http_2_is_ignored_and_the_body_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Java's client and `curl --http2` make it."""
    offer = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nUpgrade: h2c\r\n"
    async with serving(monkeypatch, KnownHeads) as (talker, _backend):
        for number in (1, 2):
            assert (await talker.say(call(number, more=offer)))[1]["id"] == number
            assert (await talker.say(call(number, more=offer.lower() + "X: h2c\r\n")))[1]["id"] == number


async def test_a_body_is_no_request_whatever_protocol_its_head_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever passes both on takes it for a body, and the answer to it for that to somebody else's request."""
    inner = call(2)
    offer = f"Upgrade: other\r\nConnection: Upgrade\r\nContent-Length: {len(inner)}\r\n"
    async with serving(monkeypatch, KnownHeads) as (talker, backend):
        status, _, closed = await talker.say(f"POST /mcp HTTP/1.1\r\nHost: localhost\r\n{offer}\r\n".encode(), inner)
        assert (status[:12], closed) == (b"http/1.1 400", True)
    assert not backend.asked


async def test_a_request_leaves_nothing_for_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stay, with its body, until the collector looks, which in a node is seldom."""
    async with serving(monkeypatch, KnownHeads) as (talker, _backend):
        for more in ("", "Idempotency-Key: k\r\n"):
            await talker.say(call(1, more=more))
            gc.collect()
            gc.disable()
            try:
                for number in range(2, 22):
                    await talker.say(call(number, more=more))
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                assert not [each for each in gc.garbage if isinstance(each, dict) and "headers" in each]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()


async def answer(*_asked: object) -> None:
    """Answer nothing."""


def test_a_head_is_known_if_nothing_but_its_whole_body_comes_with_it() -> None:
    data = call(1)
    end = data.index(b"\r\n\r\n") + 4
    heads, scope = KnownHeads(), {"headers": [(b"content-length", str(len(data) - end).encode())]}
    heads.remember(data, scope, answer)
    found = heads.find(data)
    assert found is not None
    assert (found[0].scope, found[0].answer, found[1]) == (scope, answer, data[end:])
    assert not any(heads.find(other) for other in (data[:-1], data + b"x", data[:end], data[1:], b"", b"\r\n" + data))


def test_what_is_remembered_is_bounded() -> None:
    heads = KnownHeads()
    for number in range(1000):
        size = str(number).encode()
        data = b"POST /mcp HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % size
        heads.remember(data, {"headers": [(b"content-length", size)]}, answer)
    assert 0 < len(heads._known) <= 256
    heads = KnownHeads()
    heads.remember(b"X: %s\r\n\r\n" % (b"x" * 5000), {"headers": [(b"content-length", b"1")]}, answer)
    assert not heads._known
