"""The short way of a plain call on stdin: from its line to the handler of `tools/call`, and back as a line.

A pair of streams for the SDK's loop. It is given what is no plain call as it came, in the order in which it came; plain
calls never reach it, and are answered as it would answer them. What is said here of the SDK is said of its
`serve_dual_era_loop` and `JSONRPCDispatcher`; `tests/gateway/test_fastlines.py` compares the two ways.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import anyio
from mcp import types
from mcp.server import Server
from mcp.server.runner import modern_error_data
from mcp.shared.dispatcher import CallOptions, coerce_request_id
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from mcp_types import jsonrpc_message_adapter

from semel.gateway.doors.lines import Inlet, Outlet
from semel.gateway.doors.plainanswer import Answers, encoded
from semel.gateway.doors.plaincall import BODY_BYTES_MAX, PlainCall, Recognizer
from semel.gateway.plainchannel import PlainChannel
from semel.gateway.tracing import traced

_log = logging.getLogger(__name__)

_CLOSED = types.ErrorData(code=types.CONNECTION_CLOSED, message="Connection closed")


class Leaving:
    """The SDK's stream of messages to the client; the one way out for all of them."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self.under_way: set[types.RequestId] = set()
        """The requests that the SDK has, and has not answered; what is cancelled it does not answer."""

    async def send(self, item: SessionMessage, /) -> None:
        """Send a message; it keeps its place even if this is cancelled."""
        message = item.message
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and message.id is not None:
            self.under_way.discard(coerce_request_id(message.id))
        self._outlet.write(message.model_dump_json(by_alias=True, exclude_unset=True).encode())
        await self._outlet.eased()

    def answer(self, line: bytes) -> None:
        """Send the answer to a plain call."""
        self._outlet.write(line)

    async def aclose(self) -> None:
        """Do nothing: the outlet is closed by whoever opened it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Arriving:
    """The SDK's stream of messages from the client, which keeps plain calls to itself and answers them.

    That begins with the first request, which the SDK must see, for it fixes the era of the connection.
    """

    def __init__(self, server: Server[Any], inlet: Inlet, leaving: Leaving) -> None:
        self._inlet = inlet
        self._leaving = leaving
        self._answers = Answers(server)
        self._recognizer = Recognizer()
        self._short: bool | None = None
        self._open: dict[types.RequestId, _Channel] = {}
        self._tasks: dict[asyncio.Task[None], _Channel] = {}

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message that is no plain call, or what is wrong with it; raises EndOfStream."""
        await _turn()  # so that what the SDK was given before is begun before what comes after it
        while (line := await self._inlet.line()) is not None:
            call = self._plain_call(line)
            if call is None:
                return await self._passed_on(line)
            self._begin(call)
        raise anyio.EndOfStream

    def _plain_call(self, line: bytes) -> PlainCall | None:
        """Return the plain call that a line is, if it may take the short way."""
        if not self._short or len(line) > BODY_BYTES_MAX or traced():
            return None
        call = self._recognizer.read(line)
        return None if call is None or self._is_reused(coerce_request_id(call.id)) else call

    def _is_reused(self, request_id: types.RequestId) -> bool:
        """Return whether a request under way has the same id; then the short way ends.

        What an id means that two requests have, the SDK alone knows, and only if it sees all that come from then on.
        """
        if request_id not in self._open and request_id not in self._leaving.under_way:
            return False
        self._short = False
        return True

    async def _passed_on(self, line: bytes) -> SessionMessage | Exception:
        try:
            message = jsonrpc_message_adapter.validate_json(line.decode(errors="replace"), by_name=False)
        except Exception as error:
            return error
        if isinstance(message, types.JSONRPCRequest):
            self._note(message)
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            await self._note_cancelled(message)
        return SessionMessage(message)

    def _note(self, request: types.JSONRPCRequest) -> None:
        request_id = coerce_request_id(request.id)
        if self._short is None:
            self._short = request.method != "initialize" and _has_envelope(request.params)
        elif self._is_reused(request_id):
            self._open.pop(request_id, None)  # a cancellation is the later request's
        self._leaving.under_way.add(request_id)

    async def _note_cancelled(self, notification: types.JSONRPCNotification) -> None:
        given = cancelled_request_id_from_params(notification.params)
        if given is None:
            return
        request_id = coerce_request_id(given)
        await _turn()  # what came before this is begun before it is cancelled
        self._leaving.under_way.discard(request_id)
        if (channel := self._open.get(request_id)) is not None:
            channel.cancel_requested.set()
            channel.scope.cancel()

    # Plain calls.

    def _begin(self, call: PlainCall) -> None:
        channel = _Channel(call, self._leaving)
        self._open[coerce_request_id(call.id)] = channel
        task = asyncio.create_task(self._serve(call, channel))
        self._tasks[task] = channel
        task.add_done_callback(self._tasks.pop)

    async def _serve(self, call: PlainCall, channel: "_Channel") -> None:
        """Answer a call, unless its client has cancelled it; one that the end of the connection cuts off, too."""
        answer = None
        try:
            with channel.scope:
                answer = await self._answer(call, channel)
        finally:
            channel.closed = True
            if self._open.get(request_id := coerce_request_id(call.id)) is channel:
                del self._open[request_id]
            if not channel.cancel_requested.is_set():
                self._leaving.answer(_error(call, _CLOSED) if answer is None else answer)

    async def _answer(self, call: PlainCall, channel: "_Channel") -> bytes:
        try:
            result = await self._answers.result(call, channel)
            return encoded({"jsonrpc": "2.0", "id": call.id, "result": result})
        except Exception as error:
            return _error(call, modern_error_data(error))

    async def aclose(self) -> None:
        """Cut off the calls that are open, and wait for their ends."""
        for channel in self._tasks.values():
            channel.scope.cancel()
        with anyio.CancelScope(shield=True):
            if tasks := list(self._tasks):
                await asyncio.wait(tasks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Channel(PlainChannel):
    """The `DispatchContext` of one call that came as a line."""

    transport = TransportContext(kind="jsonrpc", can_send_request=False)
    message_metadata = None

    def __init__(self, call: PlainCall, leaving: Leaving) -> None:
        super().__init__(call.id)
        self._leaving = leaving
        self.scope = anyio.CancelScope()
        self.closed = False

    @cached_property
    def cancel_requested(self) -> anyio.Event:
        """Set once the client does not want the call any more."""
        return anyio.Event()

    async def notify(self, method: str, params: Mapping[str, Any] | None, _opts: CallOptions | None = None) -> None:
        """Tell the client, as long as the call is under way."""
        if self.closed:
            _log.debug("dropped %s: the call has ended", method)
            return
        told = {} if params is None else {"params": dict(params)}
        await self._leaving.send(SessionMessage(types.JSONRPCNotification(jsonrpc="2.0", method=method, **told)))


async def _turn() -> None:
    """Let everything have its turn that is to be done now."""
    await asyncio.sleep(0)


def _has_envelope(params: Mapping[str, Any] | None) -> bool:
    """Return whether a request is one of 2026-07-28: the SDK goes by this alone."""
    meta = (params or {}).get("_meta")
    return isinstance(meta, Mapping) and types.PROTOCOL_VERSION_META_KEY in meta


def _error(call: PlainCall, error: types.ErrorData) -> bytes:
    told = types.JSONRPCError(jsonrpc="2.0", id=call.id, error=error)
    return told.model_dump_json(by_alias=True, exclude_unset=True).encode()
