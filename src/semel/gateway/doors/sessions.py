"""Sessions of the handshake eras (2025-11-25 and before) over HTTP: which node serves which request.

A session lives on the node that opened it. Its id names that node, so that any other can pass its requests on. What
belongs to no session stands for itself on whichever node it comes to: all of 2026-07-28, and a request of the older
versions that names none. `initialize` opens a session where it comes to, whatever session it names: a client that
has lost its own must never be turned away twice.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NoReturn

import msgspec
from mcp import types
from mcp.server import Server
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semel.core.call import NodeId
from semel.gateway.doors.events import is_standing
from semel.gateway.doors.held import IDLE_S, SESSIONS_MAX, HeldSessions, owner_of
from semel.gateway.doors.relaying import PASSED_ON, BrokeOff, Find, Gone, OutOfReach, Relaying

_SESSION_ID = "mcp-session-id"
_VERSION = "mcp-protocol-version"
_LAST_EVENT_ID = "last-event-id"


class _Said(msgspec.Struct):
    """What has to be known of a message before somebody reads it."""

    id: int | str | None = None
    method: str = ""


class _Refused(Exception):
    """A request that nobody serves: its status, a code that programs may look at, and what to do."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


def _nobody(_name: str) -> None:
    """Know no other node."""


class Sessions:
    """The sessions of a node and its way to those of the others: an ASGI app at /mcp, in front of what knows none."""

    def __init__(
        self,
        me: NodeId | None = None,
        find: Find = _nobody,
        *,
        sessions_max: int = SESSIONS_MAX,
        idle_s: float = IDLE_S,
    ) -> None:
        """`find` tells where a member of this log is reached; without it there are no other nodes."""
        self._me = me or NodeId("node", secrets.token_hex(4))
        self._held = HeldSessions(self._me, sessions_max=sessions_max, idle_s=idle_s)
        self._relaying = Relaying(self._me.name, find)
        self._alone: ASGIApp
        self._handshake: ASGIApp

    def __len__(self) -> int:
        """Return how many sessions this node keeps."""
        return len(self._held)

    @asynccontextmanager
    async def run(self, server: Server[Any], alone: ASGIApp, *, body_bytes_max: int) -> AsyncIterator[None]:
        """Serve sessions of `server` while the context is open; `alone` serves what stands for itself."""
        self._alone = alone
        self._handshake = RequestBodyLimitMiddleware(self._serve_handshake, body_bytes_max)
        async with AsyncExitStack() as parts:
            await parts.enter_async_context(self._relaying.run())
            await parts.enter_async_context(self._held.run(server))
            yield

    def hang_up(self) -> None:
        """End the streams on which clients only listen, because the node goes down; they listen elsewhere."""
        self._held.hang_up()
        self._relaying.hang_up()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        version = Headers(scope=scope).get(_VERSION)
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            await self._handshake(scope, receive, send)
        else:
            await self._alone(scope, receive, send)

    async def _serve_handshake(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of the handshake eras, whose body is here and not too large."""
        first = await receive()
        said = _read(scope, first)
        try:
            await self._lead(said, scope, first, _again(first, receive), send)
        except _Refused as refused:
            await _say(refused, said.id)(scope, receive, send)

    async def _lead(self, said: _Said, scope: Scope, first: Message, receive: Receive, send: Send) -> None:
        """Bring a request to where it is served."""
        headers = Headers(scope=scope)
        given = headers.getlist(_SESSION_ID)
        if said.method == "initialize":
            if not await self._held.open(_without(scope, _SESSION_ID), receive, send):
                raise _Refused(
                    503, "busy", "this node has no room for another session: ask another, or again in a while"
                )
            return
        match given:
            case [] if scope["method"] in ("GET", "DELETE"):
                raise _Refused(400, "no_session", "there is no Mcp-Session-Id: it is in the answer to initialize")
            case []:
                await self._alone(scope, receive, send)
            case [session_id]:
                owner = owner_of(session_id)
                if owner is None:
                    _lose("no node gave out this Mcp-Session-Id")
                elif owner.name == self._me.name:
                    await self._serve_own(session_id, scope, receive, send)
                elif PASSED_ON in headers:
                    _lose(f"this is {self._me.name}, and not {owner.name}, which keeps it")
                else:
                    await self._pass_on(owner, scope, first, receive, send)
            case _:
                raise _Refused(400, "bad_session", "there are two Mcp-Session-Id headers: send one")

    async def _serve_own(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        last_event_id = Headers(scope=scope).get(_LAST_EVENT_ID)
        if scope["method"] == "GET" and last_event_id:
            if self._held.can_resume(session_id, last_event_id):
                # What the SDK would send an up-to-date client first, so that it knows that the stream goes on, takes
                # time in which an answer could come and be lost. Older clients are not sent it, nor need it others.
                scope = _without(scope, _VERSION)
            elif is_standing(last_event_id):
                scope = _without(scope, _LAST_EVENT_ID)  # something is lost; what comes from now on need not be
            else:
                text = "what came after this Last-Event-ID is not kept any more: send the request again"
                raise _Refused(400, "event_gone", f"{text}, with its key if it was a call")
        if not await self._held.serve(session_id, scope, receive, send):
            _lose(f"{self._me.name} has been restarted, or has ended it")

    async def _pass_on(self, owner: NodeId, scope: Scope, first: Message, receive: Receive, send: Send) -> None:
        try:
            await self._relaying.pass_on(owner, scope, first.get("body", b""), receive, send)
        except Gone as error:
            _lose(str(error))
        except OutOfReach as error:
            text = f"{error}, and keeps this session. Nothing was run; send it again in a second"
            raise _Refused(503, "session_out_of_reach", text) from error
        except BrokeOff as error:
            text = (
                f"{owner.name}, which keeps this session, broke off ({error}). Whether it took the request is unknown"
            )
            raise _Refused(
                502, "undecided", f"{text}; a call may be sent again under the same key, which tells"
            ) from error


def _lose(why: str) -> NoReturn:
    text = f"Session not found: {why}. Initialize anew; calls under a key are answered as before"
    raise _Refused(404, "session_gone", text)


def _say(refused: _Refused, request_id: int | str | None) -> JSONResponse:
    """Return a refusal as a JSON-RPC error, which clients show, with the status that tells them what to do."""
    code = types.INVALID_REQUEST if refused.status < 500 else types.INTERNAL_ERROR
    data = {"source": "semel", "code": refused.code, "retrySafe": True}
    error = {"code": code, "message": str(refused), "data": data}
    headers = {"retry-after": "1"} if refused.status == 503 else {}
    return JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": error}, refused.status, headers)


def _read(scope: Scope, first: Message) -> _Said:
    try:
        return msgspec.json.decode(first.get("body", b""), type=_Said) if scope["method"] == "POST" else _Said()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Said()  # whoever serves it says what is wrong


def _again(first: Message, receive: Receive) -> Receive:
    """Return a `receive` that begins with the message that was taken."""
    taken = [first]

    async def again() -> Message:
        return taken.pop() if taken else await receive()

    return again


def _without(scope: Scope, name: str) -> Scope:
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != name.encode()]}
