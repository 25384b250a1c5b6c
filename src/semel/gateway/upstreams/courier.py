"""Carries the SDK's requests to a Streamable HTTP server, and says of each what became of it.

The SDK's own transport is a session's: one request that fails in it takes all others with it, and a break is told in
the words of an answer. This one sits below it, in the place of httpx2's transport. It turns every failure into an
answer to that one request, and notes on the request's `Errand` whether it never left (so that it may be sent again),
or broke (so that nobody can know whether the server acted). Nothing is ever sent twice here. TLS certificates are
verified as httpx2 does; redirects are the SDK's affair, which follows none to another origin.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

CONNECT_S = 10.0
"""How long a connection may take to be made, TLS included. What comes after it has a call's own time limit."""

NOTICE_S = 5.0
"""How long a server may take to accept a message that has no answer; the SDK sends nothing else meanwhile."""

IDLE_S = 2.0
"""How long an idle connection is used again: well under the 5 s after which common servers close theirs, because a
request that meets the closing is one that broke."""

BODY_BYTES_MAX = 128 * 2**20
"""One answer; as for a line of a stdio server."""

_NEVER_LEFT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
"""What httpx2 raises before the first byte of a request is written."""

REFUSED = -32099
"""The code, of JSON-RPC's own range for servers, under which the SDK hears that a request never left or broke."""


@dataclass(slots=True)
class Errand:
    """What became of one request, or of those of one connection's opening."""

    refused: str | None = None
    """Why it did not reach the server, which did nothing; the same may be sent again."""

    forgotten: bool = False
    """True if it was refused because the server does not know the session any more."""

    broken: str | None = None
    """Why its answer will never come, though it may have reached the server."""

    said: str | None = None
    """With which HTTP status the server answered, if that is all that it said."""

    arrived: bool = False
    """True once a server has begun to answer it: from then on it can break, and not be refused any more.

    The SDK asks for the rest of a broken stream under the same errand; that this fails says nothing of the request.
    """

    def refuse(self, reason: str, *, forgotten: bool = False) -> None:
        """Note that the request did not reach the server, unless it did before."""
        if self.arrived:
            self.broken = reason
        else:
            self.refused, self.forgotten = reason, forgotten


ERRAND: ContextVar[Errand] = ContextVar("semel_errand")
"""The errand of the request that is made in this context; the SDK carries the context to where the request leaves."""


class Courier(httpx2.AsyncBaseTransport):
    """A transport of httpx2 that raises nothing for what a server or a network does."""

    def __init__(self, url: str) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_S)
        self._wire = httpx2.AsyncHTTPTransport(limits=limits, proxy=_proxy_for(url))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the server's response, or one that says why there is none."""
        errand = ERRAND.get(None) or Errand()
        message = _message_of(request)
        asked = message.get("id") if "method" in message else None
        try:
            if message and asked is None:
                async with asyncio.timeout(NOTICE_S):
                    return await self._take(request, asked, errand)
            return await self._take(request, asked, errand)
        except _NEVER_LEFT as error:
            if asked is None:  # a message without an answer, or the rest of a stream
                errand.broken = _told(error)
            else:
                errand.refuse(_told(error))
        except (httpx2.TransportError, TimeoutError) as error:
            errand.broken = _told(error)
        return _instead(request, asked)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()

    async def _take(self, request: httpx2.Request, asked: object, errand: Errand) -> httpx2.Response:
        response = await self._wire.handle_async_request(request)
        kind = response.headers.get("content-type", "").lower()
        if kind.startswith("text/event-stream") and response.status_code < HTTPStatus.BAD_REQUEST:
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            errand.arrived = True
            response.stream = _Watched(response.stream, errand)
            return response
        body = await _read(response)
        if asked is None or response.has_redirect_location:
            return _with_body(response, body)
        answer = _decoded(response, body)
        if "mcp-session-id" in request.headers and _is_forgetful(response.status_code, answer, asked):
            errand.refuse("the server has forgotten the session", forgotten=True)
        elif response.status_code >= HTTPStatus.BAD_REQUEST and not isinstance(answer.get("error"), dict):
            self._judge(response.status_code, errand)
        elif response.status_code < HTTPStatus.BAD_REQUEST and answer.get("id") != asked:
            errand.broken = "what the server answered is no answer to this request"
        else:
            return _with_body(response, body)
        return _instead(request, asked)

    @staticmethod
    def _judge(status: int, errand: Errand) -> None:
        """Note what a bare HTTP status says: of a 5xx nobody knows whether a server behind a proxy acted."""
        with contextlib.suppress(ValueError):
            errand.said = f"HTTP {status} {HTTPStatus(status).phrase}"
        errand.said = errand.said or f"HTTP {status}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
            errand.broken = errand.said


def _is_forgetful(status: int, answer: Mapping[str, Any], asked: object) -> bool:
    """Return whether a server refuses a request because it does not know its session.

    MCP wants 404 for that; servers after the TypeScript SDK's examples say 400 and "No valid session ID provided". An
    error that names the request is an answer to it, whatever it says.
    """
    error = answer.get("error")
    if isinstance(error, dict) and answer.get("id") == asked:
        return False
    said = error.get("message") if isinstance(error, dict) else None
    return status == HTTPStatus.NOT_FOUND or (
        status == HTTPStatus.BAD_REQUEST and isinstance(said, str) and "session" in said.lower()
    )


class _Watched(httpx2.AsyncByteStream):
    """A stream of events; one that ends before the SDK has what it waits for did not bring it."""

    def __init__(self, stream: httpx2.AsyncByteStream, errand: Errand) -> None:
        self._stream = stream
        self._errand = errand

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx2.TransportError as error:
            self._errand.broken = _told(error)
            return
        self._errand.broken = "the server ended the stream before it answered"

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _read(response: httpx2.Response) -> bytes:
    """Return the body as it is on the wire; raises TransportError if it breaks off or has no end."""
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    body = bytearray()
    try:
        async for chunk in response.stream:
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise httpx2.ReadError("its answer is longer than semel takes")
    finally:
        await response.stream.aclose()
    return bytes(body)


def _with_body(response: httpx2.Response, body: bytes) -> httpx2.Response:
    response.stream = httpx2.ByteStream(body)
    return response


def _instead(request: httpx2.Request, asked: object) -> httpx2.Response:
    """Return what the SDK is told in place of an answer; the errand says why."""
    if asked is None:
        return httpx2.Response(202 if request.method == "POST" else 405, request=request)
    error = {"code": REFUSED, "message": "no answer"}
    return httpx2.Response(200, request=request, json={"jsonrpc": "2.0", "id": asked, "error": error})


def _message_of(request: httpx2.Request) -> Mapping[str, Any]:
    """Return the message that a request carries, {} if it carries none."""
    if request.method != "POST":
        return {}
    assert isinstance(request.stream, httpx2.ByteStream)
    return _object(b"".join(request.stream))


def _decoded(response: httpx2.Response, body: bytes) -> Mapping[str, Any]:
    """Return the object that a body is, {} if it is none."""
    if response.headers.get("content-encoding", "identity") != "identity":
        with contextlib.suppress(httpx2.DecodingError):
            body = httpx2.Response(200, headers=response.headers, content=body).content
    return _object(body)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__


def make_http_client(url: str, headers: Mapping[str, str]) -> httpx2.AsyncClient:
    """Return an HTTP client for `url` that sends `headers` with each request and goes by way of a courier.

    Answers are asked for as they are, not compressed, so that their size is known before it is there.
    """
    timeout = httpx2.Timeout(None, connect=CONNECT_S)
    return httpx2.AsyncClient(
        headers={"accept-encoding": "identity", **headers}, timeout=timeout, transport=Courier(url)
    )


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, as httpx2 would look for it had it no courier."""
    parts = urlsplit(url)
    proxies = getproxies()
    if not parts.hostname or (proxies.get("no") and proxy_bypass(parts.hostname)):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")
