"""How machines that have no data find out that none of them has: the founding of a cluster on several machines.

Each listens on its future etcd peer port and asks all the others there, telling who it is. Whoever asks or answers has
no data, and both sides know it afterwards; a machine leaves once it knows that of all. So a cluster is founded once, by
all its machines together, and a machine that lost its data never takes its cluster for a new one.
"""

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from semel.local.http import NoAnswer, post_json

PATH = "/semel/assembly"
REQUEST_BYTES_MAX = 4096
READ_S = 2.0


class Assembly:
    """This machine among those that want to found a cluster; it listens while the context is open.

    `token` is the cluster's name, `me` and `others` are peer URLs as every machine writes them, and `address` is the
    one to listen at, with the port of `me`.
    """

    def __init__(self, token: str, *, me: str, address: str, others: Iterable[str]) -> None:
        self._token = token
        self._me = me
        self._address = address
        self._others = list(others)
        self._here: set[str] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._answer, self._address, urlsplit(self._me).port, limit=REQUEST_BYTES_MAX
        )
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def is_complete(self) -> bool:
        """Ask those who are missing, and return whether all machines are known to have no data."""
        await asyncio.gather(*(self._ask(url) for url in self._others if url not in self._here))
        return self._here.issuperset(self._others)

    async def _ask(self, url: str) -> None:
        with suppress(NoAnswer, KeyError, TypeError):
            answer = await post_json(f"{url}{PATH}", {"token": self._token, "from": self._me})
            if answer["token"] == self._token:
                self._here.add(url)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request: take note of who asks, and tell that this machine is here and has no data."""
        with suppress(OSError, ValueError, KeyError, TypeError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(READ_S):
                asked = await _body_of(reader)
                if asked["token"] == self._token:
                    self._here.add(asked["from"])
                body = json.dumps({"token": self._token}).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
                await writer.drain()
        writer.close()


async def _body_of(reader: asyncio.StreamReader) -> Any:
    """Return the JSON body of an HTTP request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if not head.startswith(f"post {PATH} "):
        raise ValueError("another request")
    length = next((int(line.split(":", 1)[1]) for line in head.splitlines() if line.startswith("content-length:")), 0)
    return json.loads(await reader.readexactly(min(length, REQUEST_BYTES_MAX)))
