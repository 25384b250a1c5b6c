"""Passes a request on to the node that keeps its session, and the answer back as it comes.

Knows HTTP and where nodes are; nothing of MCP. It asks members of this log and nobody else, so that what a request
carries (credentials among it) goes nowhere else; a redirect is not followed and a proxy not asked.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
from starlette.types import Receive, Scope, Send

from semel.core.call import NodeId
from semel.errors import SemelError
from semel.node.members import Home

PATH = "/mcp"
PASSED_ON = "semel-passed-on"
"""On a request that came by another node, which it names: it is not passed on again."""

CONNECT_S = 2.0
REACH_S = 5.0
"""How long a node that gives signs of life is tried, before its client is told to come again. Longer than the
patience of an election, after which it counts as gone."""
AGAIN_S = 0.25
SIGN_S = 1.0
"""How long a sign of life is waited for before a node counts as gone: a node that has just come is seen by the others
within two pulses, and one on a machine that is too busy may be late."""
SILENCE_S = 3.0
"""An answer under way is given up when its node has seemed to be gone for so long. Twice the patience, since a node
that only stalled would have gone on, and the client would have missed nothing."""
WRITE_S = 30.0

Find = Callable[[str], Home | None]
"""Tells of a node's name where it is reached; None if no member has it. Raises SemelError while it cannot know."""

_Returned = TypeVar("_Returned")
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Of one connection each (RFC 9110, 7.6.1), with those that Connection names."""
_NOT_SENT = _HOP_BY_HOP | {"host", "content-length", "expect", "origin", PASSED_ON}
"""The next hop has its own; Host and Origin were checked where the request came in."""
_NOT_RETURNED = _HOP_BY_HOP | {"date", "server"}


class Gone(Exception):
    """The node that keeps the session is dead, or has left; nobody got the request."""


class OutOfReach(Exception):
    """The node lives and cannot be reached from here for now; nobody got the request."""


class BrokeOff(Exception):
    """The node was reached and gave no answer; nobody knows whether it took the request."""


class Relaying:
    """One node's way to the others; an asynchronous context while it serves."""

    def __init__(self, me: str, find: Find) -> None:
        self._me = me
        self._find = find
        self._http: httpx2.AsyncClient
        self._listening: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Pass requests on while the context is open."""
        timeout = httpx2.Timeout(None, connect=CONNECT_S, write=WRITE_S)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
        async with httpx2.AsyncClient(timeout=timeout, limits=limits, trust_env=False) as self._http:
            yield

    def hang_up(self) -> None:
        """End the streams on which clients only listen; answers that are under way go on."""
        for task in self._listening:
            task.cancel()

    async def pass_on(self, owner: NodeId, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Let `owner` answer a request.

        Raises:
            Gone: it never will; nothing was sent back.
            OutOfReach: it cannot just now; nothing was sent back.
            BrokeOff: it may have taken the request, but gives no answer; nothing was sent back.
        """
        response = await self._ask(owner, scope, body)
        try:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                try:
                    whole = await self._unless_silent(owner, _read(response))
                except httpx2.TransportError as error:
                    raise BrokeOff(_name(error)) from error
                await send(_head(response))
                await send({"type": "http.response.body", "body": whole})
                return
            await send(_head(response))
            await self._relay(owner, response, scope["method"] == "GET", receive, send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            await response.aclose()

    async def _ask(self, owner: NodeId, scope: Scope, body: bytes) -> httpx2.Response:
        """Return the answer of `owner` as soon as it begins."""
        deadline_s = asyncio.get_running_loop().time() + REACH_S
        method: str = scope["method"]
        headers = [*_kept(scope["headers"], _NOT_SENT), (PASSED_ON.encode(), self._me.encode())]
        while True:
            home = await self._home(owner)
            request = httpx2.Request(method, f"{home.url}{PATH}", headers=headers, content=body or None)
            try:
                return await self._unless_silent(owner, self._http.send(request, stream=True))
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if _is_refused(error):
                    raise Gone(f"nobody listens at {request.url.host}:{request.url.port} any more") from error
                trouble = _name(error)
            except httpx2.TransportError as error:
                trouble = _name(error)
                if method == "POST":
                    raise BrokeOff(trouble) from error
            if asyncio.get_running_loop().time() > deadline_s:
                raise OutOfReach(f"{owner.name} cannot be reached from {self._me} ({trouble})")
            await asyncio.sleep(AGAIN_S)

    async def _home(self, owner: NodeId) -> Home:
        """Return where to ask `owner`, once it gives a sign of life."""
        deadline_s = asyncio.get_running_loop().time() + SIGN_S
        while True:
            try:
                home = self._find(owner.name)
            except SemelError as error:
                raise OutOfReach(str(error)) from error
            if home is not None and home.alive:
                return home
            if asyncio.get_running_loop().time() > deadline_s:
                raise Gone(f"{owner.name} {'is not there' if home is None else 'gives no sign of life'}")
            await asyncio.sleep(AGAIN_S)

    async def _relay(
        self, owner: NodeId, response: httpx2.Response, listening: bool, receive: Receive, send: Send
    ) -> None:
        """Send on what comes, until one of the three ends it; a client whose stream ends early asks for the rest."""

        async def relay() -> None:
            async for part in response.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})

        async def leave() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        relaying = asyncio.create_task(relay(), name=f"stream from {owner.name}")
        others = [asyncio.create_task(leave()), asyncio.create_task(self._silence(owner))]
        if listening:
            self._listening.add(relaying)
            relaying.add_done_callback(self._listening.discard)
        try:
            await asyncio.wait([relaying, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(relaying, *others)

    async def _unless_silent(self, owner: NodeId, asking: Awaitable[_Returned]) -> _Returned:
        """Return what is asked for; it breaks when the node that should give it seems to be gone for a while."""
        asked, silence = asyncio.ensure_future(asking), asyncio.create_task(self._silence(owner))
        try:
            await asyncio.wait([asked, silence], return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return asked.result()
            raise httpx2.ReadTimeout(f"{owner.name} gives no sign of life")
        finally:
            await _cancel(asked, silence)

    async def _silence(self, owner: NodeId) -> None:
        """Return once a node has seemed to be gone for a while."""
        silent_s = 0.0
        while silent_s < SILENCE_S:
            await asyncio.sleep(AGAIN_S)
            try:
                home = self._find(owner.name)
            except SemelError:
                continue
            silent_s = 0.0 if home is not None and home.alive else silent_s + AGAIN_S


async def _read(response: httpx2.Response) -> bytes:
    """Return a short answer whole, as it was encoded."""
    return b"".join([part async for part in response.aiter_raw()])


def _name(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _head(response: httpx2.Response) -> dict[str, object]:
    headers = list(_kept(response.headers.raw, _NOT_RETURNED))
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


def _kept(headers: list[tuple[bytes, bytes]], dropped: frozenset[str]) -> Iterator[tuple[bytes, bytes]]:
    """Return the headers that go on to the next hop."""
    named = {
        name.strip().lower()
        for key, value in headers
        if key.lower() == b"connection"
        for name in value.decode("latin-1").split(",")
    }
    for name, value in headers:
        if name.decode("latin-1").lower() not in dropped | named:
            yield name, value


def _is_refused(error: BaseException | None) -> bool:
    """Return whether a connection failed because nobody listens there, at none of the addresses."""
    match error:
        case None:
            return False
        case ConnectionRefusedError():
            return True
        case BaseExceptionGroup():
            return all(map(_is_refused, error.exceptions))
        case _:
            return _is_refused(error.__cause__ or error.__context__)
