"""A Streamable HTTP server of the handshake era whose tools each break HTTP or MCP in the way of their name."""

import asyncio
import contextlib
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.ports import free_port

TOOLS = (
    "ok",
    "hang_up",
    "half",
    "stream_cut",
    "stream_ok",
    "stream_resumable",
    "wrong_id",
    "garbage",
    "accepted",
    "bad_gateway",
    "unauthorized",
    "elsewhere",
    "forgotten",
    "forgotten_in_words",
    "slow",
    "own_error",
)


class Scripted:
    """The server, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.elsewhere = ""
        """Where the tool of this name sends its callers."""
        self.tools: list[dict[str, Any]] = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
        self.called: list[str] = []
        self.cancelled = 0
        self.streaming = asyncio.Event()
        """Set once the first part of an answer has left that has another."""
        self.headers: list[Mapping[str, str]] = []
        self._sessions = itertools.count(1)
        self._session = ""
        self._streams: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._gone = False

    async def listen(self, port: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        """Begin to listen, at a port that may have been this server's before."""
        self._session = ""  # what was known before is forgotten
        self._gone = False
        self.port = free_port() if port is None else port
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/mcp"

    async def go(self) -> None:
        """Stop listening and break all connections; once this returns, no client can hold one for whole."""
        assert self._server is not None
        self._gone = True
        self._server.close()
        streams = list(self._streams)
        for stream in streams:
            stream.transport.abort()
        for stream in streams:
            with contextlib.suppress(OSError):
                await stream.wait_closed()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._gone:  # it was accepted as the server went
            writer.transport.abort()
            return
        self._streams.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                    headers = {
                        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
                    }
                    body = await reader.readexactly(int(headers.get("content-length", "0")))
                    await self._answer(head[0].split()[0], headers, json.loads(body) if body else {}, writer)
        finally:
            self._streams.discard(writer)
            writer.close()

    async def _answer(
        self, method: str, headers: Mapping[str, str], message: Mapping[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        if method != "POST":
            return await _respond(writer, "405 Method Not Allowed")
        self.headers.append(headers)
        match message.get("method"):
            case "initialize":
                self._session = f"session-{next(self._sessions)}"
                found = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "scripted", "version": "1"},
                }
                return await _result(writer, message, found, session=self._session)
            case "server/discover":
                error = {"code": -32601, "message": "no such method"}
                return await _respond(writer, "200 OK", {"jsonrpc": "2.0", "id": message["id"], "error": error})
            case _ if headers.get("mcp-session-id") != self._session:
                return await _respond(writer, "404 Not Found")
            case "tools/list":
                return await _result(writer, message, {"tools": self.tools})
            case "tools/call":
                self.called.append(message["params"]["name"])
                return await self._call(message["params"]["name"], message, writer)
            case "notifications/cancelled":
                self.cancelled += 1
        return await _respond(writer, "202 Accepted")

    async def _call(self, tool: str, message: Mapping[str, Any], writer: asyncio.StreamWriter) -> None:
        said = {"content": [{"type": "text", "text": tool}], "structuredContent": message["params"].get("_meta", {})}
        whole = {"jsonrpc": "2.0", "id": message["id"], "result": said}
        match tool:
            case "hang_up":
                writer.transport.abort()
            case "half":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")
                await writer.drain()
                writer.close()
            case "stream_cut" | "stream_ok":
                event = f"data: {json.dumps(whole)}\n\n" if tool == "stream_ok" else ": nothing yet\n\n"
                head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                writer.write((head + event).encode())
                await writer.drain()
                writer.close()
            case "stream_resumable":
                head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
                writer.write(f"{head}id: 1\nretry: 10\ndata: \n\n".encode())
                await writer.drain()
                self.streaming.set()
            case "wrong_id":
                await _respond(writer, "200 OK", {**whole, "id": 999})
            case "garbage":
                await _respond(writer, "200 OK", "this is no JSON-RPC")
            case "accepted":
                await _respond(writer, "202 Accepted")
            case "bad_gateway":
                await _respond(writer, "502 Bad Gateway", "upstream prematurely closed the connection")
            case "unauthorized":
                await _respond(writer, "401 Unauthorized", {"error": "invalid_token"})
            case "elsewhere":
                await _respond(writer, "307 Temporary Redirect", headers={"location": self.elsewhere})
            case "forgotten" if self.called.count(tool) == 1:
                self._session = ""
                await _respond(writer, "404 Not Found")
            case "forgotten_in_words" if self.called.count(tool) == 1:
                self._session = ""
                error = {"code": -32000, "message": "Bad Request: No valid session ID provided"}
                await _respond(writer, "400 Bad Request", {"jsonrpc": "2.0", "id": None, "error": error})
            case "slow":
                await asyncio.sleep(600)
            case "own_error":
                error = {"code": -32000, "message": "out of paper"}
                await _respond(writer, "200 OK", {"jsonrpc": "2.0", "id": message["id"], "error": error})
            case _:
                await _respond(writer, "200 OK", whole)


async def _result(writer: asyncio.StreamWriter, message: Mapping[str, Any], result: Any, session: str = "") -> None:
    headers = {"mcp-session-id": session} if session else {}
    await _respond(writer, "200 OK", {"jsonrpc": "2.0", "id": message["id"], "result": result}, headers)


async def _respond(
    writer: asyncio.StreamWriter, status: str, value: Any = None, headers: Mapping[str, str] | None = None
) -> None:
    body = b"" if value is None else json.dumps(value).encode()
    lines = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
    writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)
    await writer.drain()


@asynccontextmanager
async def scripted(tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Run such a server."""
    server = Scripted()
    await server.listen(tls=tls)
    try:
        yield server
    finally:
        await server.go()
