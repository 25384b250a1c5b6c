"""The lean callers of the gateway bench: MCP 2026-07-28 `tools/call` over HTTP and over pipes, without an SDK.

They run outside the measured process, cost it nothing, and take every answer apart as far as to know that it is right.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

import msgspec

CALL_S_MAX = 60.0
"""An answer that takes longer ends the bench."""

LINE_BYTES_MAX = 2**20

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}

Add = Callable[[int, int], Awaitable[int]]
"""Calls the tool once, under a key of its own, and returns the sum that was answered."""

_keys = (f"bench-{secrets.token_hex(4)}-{number}" for number in itertools.count(1))


def next_key() -> str:
    """Return a key that no call has had."""
    return next(_keys)


def request(number: int, a: int, b: int) -> bytes:
    """Return a call as it goes over the wire; who knows no keys takes no notice of it."""
    params = {
        "name": "add",
        "arguments": {"a": a, "b": b},
        "_meta": {**ENVELOPE, "dev.semel/idempotency-key": next_key()},
    }
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


def sum_of(answer: dict[str, Any]) -> int:
    """Return what the tool gave; KeyError if it is no such answer."""
    total: int = answer["result"]["structuredContent"]["result"]
    return total


class HttpCaller(asyncio.Protocol):
    """One connection that is kept, and one request on it at a time."""

    _transport: asyncio.Transport

    def __init__(self, authority: str) -> None:
        self.authority = authority
        self._head = (
            f"POST /mcp HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
            "Mcp-Method: tools/call\r\nMcp-Name: add\r\nContent-Length: "
        ).encode()
        self._arrived = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def connect(cls, authority: str) -> Self:
        """Open the connection to `host:port`."""
        caller = cls(authority)
        await caller._open()
        return caller

    async def _open(self) -> None:
        host, _, port = self.authority.rpartition(":")
        await asyncio.get_running_loop().create_connection(lambda: self, host, int(port))

    async def add(self, a: int, b: int) -> int:
        """Call the tool."""
        body = request(1, a, b)
        return sum_of(msgspec.json.decode(await self._ask(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))))

    async def _ask(self, message: bytes) -> bytes:
        """Return the body of the answer; a connection that the server has closed, as idle ones are, is opened again."""
        if self._transport.is_closing():
            await self._open()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the way to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Give the answer on once it is whole."""
        self._arrived += data
        body = whole_body(bytes(self._arrived))
        if body is not None:
            self._arrived.clear()
            assert self._answer is not None
            self._answer.set_result(body)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the call under way."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the connection was closed during a call"))


def whole_body(data: bytes) -> bytes | None:
    """Return the JSON of an HTTP answer, None while it is not all there; an event stream's last event is the answer.

    Raises:
        ConnectionError: the answer is not 200.
    """
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"{head.decode()}: {body[:300].decode()}")
    head = head.lower()
    if (at := head.find(b"content-length: ")) >= 0:
        size = int(head[at + 16 :].split(b"\r\n", 1)[0])
        return body if len(body) >= size else None
    if not body.endswith(b"0\r\n\r\n"):
        return None
    return body[body.rindex(b"data: ") + 6 :].split(b"\r\n", 1)[0]


class StdioCaller:
    """A process that speaks MCP on its pipes; any number of calls at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._reading = asyncio.create_task(self._read())

    async def add(self, a: int, b: int) -> int:
        """Call the tool."""
        assert self.process.stdin is not None
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(request(number, a, b) + b"\n")
        return sum_of(await answer)

    def close(self) -> None:
        """Let go of the process, which ends when its stdin does."""
        assert self.process.stdin is not None
        self._reading.cancel()
        self.process.stdin.close()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            answer = msgspec.json.decode(line)
            if (waiting := self._waiting.pop(answer.get("id"), None)) is not None:
                waiting.set_result(answer)
        for waiting in self._waiting.values():
            waiting.set_exception(ConnectionError("the process closed its stdout during a call"))


async def load(adds: Sequence[Add], duration_s: float) -> tuple[list[float], float]:
    """Call without a pause, each caller one call after the other; return every latency in ms, and how long it took.

    Raises:
        AssertionError: an answer is wrong.
        TimeoutError: an answer does not come.
    """
    latencies_ms: list[float] = []
    begun_s = time.perf_counter()

    async def call_on(add: Add, caller: int) -> None:
        for number in itertools.count():
            called_s = time.perf_counter()
            if called_s - begun_s >= duration_s:
                return
            total = await add(caller, number)
            latencies_ms.append((time.perf_counter() - called_s) * 1000)
            assert total == caller + number

    async with asyncio.timeout(duration_s + CALL_S_MAX), asyncio.TaskGroup() as group:
        for caller, add in enumerate(adds):
            group.create_task(call_on(add, caller))
    return latencies_ms, time.perf_counter() - begun_s
