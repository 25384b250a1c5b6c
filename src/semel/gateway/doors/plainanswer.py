"""The answer to a plain call: its handler is told what the SDK would tell it, and its result shaped as the SDK does.

What both short ways share, that of HTTP requests and that of lines on stdin. Knows no transports.
"""

import json
from typing import Any

import msgspec
from mcp.server import Server, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.dispatcher import DispatchContext
from mcp.shared.transport_context import TransportContext
from starlette.requests import Request

from semel.gateway.doors.plaincall import METHOD, VERSION, PlainCall
from semel.gateway.wireform import on_the_wire


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
        return on_the_wire(await entry.handler(_context(call, channel, request), params), self._stamp)


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
