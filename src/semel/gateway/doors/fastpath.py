"""The short way of a plain call: from its HTTP request to the handler of `tools/call`, and back with its JSON.

An ASGI layer in front of the SDK's app. What is not a plain call goes on to the SDK as it came; what is one is handed
to the same handler, and its answer is put on the wire in the same form. Between the two the SDK would make some dozen
objects and validate some of them thrice, for a request that wants nothing but an answer.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio
from mcp import types
from mcp.server import Server
from mcp.server.runner import modern_error_data
from mcp.shared.dispatcher import CallOptions
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semel.deadlines import Deadlines
from semel.gateway.doors.heads import REMEMBER, WHOLE
from semel.gateway.doors.lingering import Gone, Lingering
from semel.gateway.doors.plainanswer import Answers, encoded
from semel.gateway.doors.plaincall import BODY_BYTES_MAX, PlainCall, Recognizer
from semel.gateway.plainchannel import PlainChannel
from semel.gateway.tracing import traced

_log = logging.getLogger(__name__)


class FastPath:
    """Answers plain calls at `path` by the handler of `server`, and passes on all other requests."""

    def __init__(
        self, app: ASGIApp, server: Server[Any], *, path: str = "/mcp", leaving: Callable[[], bool] = lambda: False
    ) -> None:
        self._app = app
        self._leaving = leaving
        self._path = path
        self._answers = Answers(server)
        self._recognizer = Recognizer(server.get_tool_input_schema)
        self._deadlines = Deadlines()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        mcp_name = self._recognizer.head(scope) if self._concerns(scope) else None
        if mcp_name is None:
            await self._app(scope, receive, send)
            return
        messages = await _whole(receive)
        call = self._recognizer.call(scope, mcp_name, body) if (body := _body(messages)) is not None else None
        if call is None:
            await self._app(scope, _again(messages, receive), send)
            return
        if (remember := _offered(scope).get(REMEMBER)) is not None:
            remember(scope, partial(self._known, mcp_name))
        await self._serve(call, scope, receive, send)

    async def _known(self, mcp_name: bytes, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose head was found to be a plain call's; or pass it on, if its body is none."""
        call = None if traced() else self._recognizer.call(scope, mcp_name, body)
        if call is None:
            await self._app(scope, receive, send)
        else:
            await self._serve(call, scope, receive, send)

    async def _serve(self, call: PlainCall, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with Lingering(self._deadlines, receive, send) as lingering:
                status, answer = await self._answer(call, Request(scope, receive))
        except Gone:
            return  # the call itself goes on: it is the node's
        whole = None if self._leaving() else _offered(scope).get(WHOLE)
        if whole is None or not whole(status, answer):
            await _write(status, answer, send, streams=lingering.streams, last=self._leaving())

    def _concerns(self, scope: Scope) -> bool:
        return (
            scope["type"] == "http"
            and scope["path"] == self._path
            and scope["method"] == "POST"
            and not scope.get("root_path")
            and not traced()
        )

    async def _answer(self, call: PlainCall, request: Request) -> tuple[int, bytes]:
        """Return the HTTP status and the JSON-RPC message that answers a call."""
        try:
            result = await self._answers.result(call, _Channel(call, request), request)
        except Exception as error:
            told = types.JSONRPCError(jsonrpc="2.0", id=call.id, error=modern_error_data(error))
            status = ERROR_CODE_HTTP_STATUS.get(told.error.code, 200)
            return status, encoded(told.model_dump(mode="json", by_alias=True, exclude_none=True))
        return 200, encoded({"jsonrpc": "2.0", "id": call.id, "result": result})


class _Channel(PlainChannel):
    """The `DispatchContext` of one request over HTTP."""

    def __init__(self, call: PlainCall, request: Request) -> None:
        super().__init__(call.id)
        self._request = request

    @property
    def transport(self) -> TransportContext:
        """What carries the request."""
        return TransportContext(kind="streamable-http", can_send_request=False, headers=self._request.headers)

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        """The HTTP request."""
        return ServerMessageMetadata(request_context=self._request)

    @property
    def cancel_requested(self) -> anyio.Event:
        """An event that is never set: who cancels closes the connection."""
        return anyio.Event()

    async def notify(self, method: str, _params: Mapping[str, Any] | None, _opts: CallOptions | None = None) -> None:
        """Drop it: a plain call asked for neither progress nor logs."""
        _log.debug("dropped %s: the request asked for its answer alone", method)


def _offered(scope: Scope) -> Mapping[str, Any]:
    offered: Mapping[str, Any] = scope.get("extensions") or {}
    return offered


async def _write(status: int, answer: bytes, send: Send, *, streams: bool, last: bool) -> None:
    """Send an answer: as JSON, or as the last event of a stream that has begun; `last` ends its connection."""
    if streams:
        await send({"type": "http.response.body", "body": b"event: message\r\ndata: %s\r\n\r\n" % answer})
        return
    headers = [(b"content-length", b"%d" % len(answer)), (b"content-type", b"application/json")]
    if last:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _whole(receive: Receive) -> list[Message]:
    """Return a request's messages: its whole body, or as much of it as may be a plain call's."""
    messages: list[Message] = []
    size_bytes = 0
    while size_bytes <= BODY_BYTES_MAX:
        message = await receive()
        messages.append(message)
        size_bytes += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    return messages


def _body(messages: list[Message]) -> bytes | None:
    """Return the body that they bring, None if it is not all there."""
    last = messages[-1]
    if last["type"] != "http.request" or last.get("more_body", False):
        return None
    return b"".join(message.get("body", b"") for message in messages)


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that gives these messages first."""
    left = deque(messages)

    async def replay() -> Message:
        return left.popleft() if left else await receive()

    return replay
