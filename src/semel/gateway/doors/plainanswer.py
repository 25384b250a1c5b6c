"""The answer to a plain call: its handler is told what the SDK would tell it, and its result shaped as the SDK does.

What both short ways share, that of HTTP requests and that of lines on stdin. Knows no transports.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, TypeGuard

import msgspec
from mcp import MCPError, types
from mcp.server import Server, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.dispatcher import CallOptions, DispatchContext
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.transport_context import TransportContext
from mcp.types import methods
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from semel.gateway.doors.plaincall import METHOD, VERSION, PlainCall
from semel.gateway.plainresult import is_plain

_log = logging.getLogger(__name__)

_PROTOCOL = "io.modelcontextprotocol/"


class Answers:
    """Answers plain calls by the handler of a server."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server
        self._stamp = server.server_info_stamp

    async def result(
        self, call: PlainCall, channel: DispatchContext[TransportContext], request: Request | None = None
    ) -> dict[str, Any]:
        """Return the result of a call as it goes over the wire; raises what its handler raises, or MCPError."""
        entry = self._server.get_request_handler(METHOD)
        assert entry is not None
        params = entry.params_type.model_validate(call.params, by_name=False)
        return _on_the_wire(await entry.handler(_context(call, channel, request), params), self._stamp)


class Channel:
    """What the `DispatchContext`s of plain calls have in common: there is nothing to be asked, and no progress."""

    can_send_request = False

    def __init__(self, call: PlainCall) -> None:
        self.request_id = call.id

    async def send_raw_request(
        self, method: str, _params: Mapping[str, Any] | None, _opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Refuse: servers of 2026-07-28 ask nothing."""
        raise NoBackChannelError(method)

    async def progress(self, _progress: float, _total: float | None = None, _message: str | None = None) -> None:
        """Drop it: a plain call has no progress token."""


def encoded(message: dict[str, Any]) -> bytes:
    """Return a message as JSON."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError:  # half characters, which only JSON's escapes can carry
        return json.dumps(message, separators=(",", ":")).encode()


def _context(
    call: PlainCall, channel: DispatchContext[TransportContext], request: Request | None
) -> ServerRequestContext[Any, Any]:
    """Return what the handler is told of a request, as the SDK tells it."""
    meta: Any = call.params["_meta"]
    return ServerRequestContext(
        session=ServerSession(channel, call.connection, request_meta=meta),
        lifespan_context={},
        protocol_version=VERSION,
        method=METHOD,
        params=call.params,
        request_id=call.id,
        meta=meta,
        request=request,
    )


def _on_the_wire(result: Any, stamp: dict[str, Any]) -> dict[str, Any]:
    """Return what the handler gave as the SDK puts it on the wire: fields that the version does not know are dropped.

    Raises:
        MCPError: it is no result.
    """
    shaped = result if _is_on_the_wire(result) else _sieved(result)
    said = shaped.get("_meta")
    if said is None:
        said = {}
    if not isinstance(said, dict) or said.get(types.SERVER_INFO_META_KEY) is not None:
        return shaped
    return {**shaped, "_meta": {**said, types.SERVER_INFO_META_KEY: stamp}}


def _is_on_the_wire(result: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether the SDK's serializer would leave a result as it is."""
    return (
        is_plain(result)
        and "resultType" in result
        and not any(value is None or name.startswith(_PROTOCOL) for name, value in result.get("_meta", {}).items())
    )


def _sieved(result: Any) -> dict[str, Any]:
    """Return a result as the SDK's own serializer shapes it."""
    if isinstance(result, types.ErrorData):
        raise MCPError.from_error_data(result)
    dumped: dict[str, Any]
    if isinstance(result, BaseModel):
        dumped = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    else:
        dumped = dict(result)
    kind = dumped.get("resultType")
    if not isinstance(kind, str) or kind in types.CORE_RESULT_TYPES:
        try:
            dumped = methods.serialize_server_result(METHOD, VERSION, dumped)
        except ValidationError:
            _log.exception("the handler of %s gave what is no result", METHOD)
            raise MCPError(types.INTERNAL_ERROR, "Handler returned an invalid result") from None
    return dumped if dumped.get("resultType") is not None else {**dumped, "resultType": "complete"}
