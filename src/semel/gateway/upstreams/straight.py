"""A plain call of a tool in this process: to its server's own handler, past the SDK's client and its transport.

The server's middlewares see it as they see any other request, but for the one that makes spans, which nobody wants.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import anyio
import msgspec
from mcp import MCPError, types
from mcp.server import Server, ServerRequestContext
from mcp.server._otel import OpenTelemetryMiddleware  # there is no public name for it yet
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware
from mcp.server.runner import aclose_shielded
from mcp.server.session import ServerSession
from mcp.shared.dispatcher import CallOptions
from mcp.shared.transport_context import TransportContext
from mcp_types.methods import validate_server_result
from mcp_types.version import LATEST_MODERN_VERSION as VERSION
from pydantic import ValidationError

from semel.gateway.asker import Asker
from semel.gateway.plainchannel import PlainChannel
from semel.gateway.plainresult import is_plain
from semel.gateway.upstreams.plainrequest import INFO, METHOD, enveloped
from semel.gateway.wireform import as_dict, on_the_wire

_CLIENTS_MAX = 64
_CLIENT_BYTES_MAX = 4096
"""So many different clients are remembered, each by what it says that it can, if that is no longer than so."""


class Straight:
    """The short way to a server of this process; `state` is what its lifespan gave.

    `heard` takes what the server's tools say of their own accord.
    """

    def __init__(self, server: Server[Any], state: Any, heard: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._server = server
        self._state = state
        self._heard = heard
        self._stamp = server.server_info_stamp
        self._numbers = itertools.count(1)
        self._clients: dict[bytes, Connection] = {}

    async def call(self, params: Mapping[str, Any], asker: Asker) -> dict[str, Any]:
        """Return the result of a plain call, or a task in its place.

        Raises:
            MCPError: the server answered with an error.
            pydantic.ValidationError: what it answered is no result of a tool.
        """
        sent = enveloped(params, VERSION, asker)
        connection = self._connection(asker.capabilities)
        number = next(self._numbers)
        context = ServerRequestContext(
            session=ServerSession(_Channel(number, self._heard), connection, request_meta=sent["_meta"]),
            lifespan_context=self._state,
            protocol_version=VERSION,
            method=METHOD,
            params=sent,
            request_id=number,
            meta=sent["_meta"],
        )
        try:
            result = as_dict(await self._chain()(context))
        except MCPError:
            raise
        except ValidationError as error:
            raise MCPError(types.INVALID_PARAMS, "Invalid request parameters", "") from error
        except Exception as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from error
        finally:
            if getattr(connection.exit_stack, "_exit_callbacks", True):  # else there is nothing to close
                await aclose_shielded(connection)
        if not is_plain(result) and result.get("resultType") != "task":
            validate_server_result(METHOD, VERSION, result)
        return result

    def _chain(self) -> CallNext:
        """Return the handler with the server's middlewares around it, as they are now."""
        call: CallNext = self._handle
        for middleware in reversed(self._server.middleware):
            if not isinstance(middleware, OpenTelemetryMiddleware):
                call = partial(_pass_through, middleware, call)
        return call

    async def _handle(self, context: ServerRequestContext[Any, Any]) -> dict[str, Any]:
        """Give a request to its handler, as the middlewares left it."""
        entry = self._server.get_request_handler(context.method)
        if entry is None or context.method != METHOD:
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", context.method)
        params = entry.params_type.model_validate(context.params, by_name=False)
        return on_the_wire(await entry.handler(context, params), self._stamp)

    def _connection(self, capabilities: Mapping[str, Any]) -> Connection:
        """Return the SDK's connection of one request; who its client is was made out before, where it was here."""
        known_as = msgspec.json.encode(capabilities)
        known = self._clients.get(known_as)
        if known is None:
            known = Connection.from_envelope(VERSION, INFO, capabilities)
            if len(self._clients) >= _CLIENTS_MAX:
                self._clients.clear()
            if len(known_as) <= _CLIENT_BYTES_MAX:
                self._clients[known_as] = known
        if known.client_capabilities is None:  # they are none
            raise MCPError(types.INVALID_PARAMS, "Invalid request parameters", "")
        connection = Connection(known.outbound, protocol_version=VERSION, client_params=known.client_params)
        connection.client_capabilities = known.client_capabilities
        connection.initialized.set()
        return connection


class _Channel(PlainChannel):
    """The SDK's `DispatchContext` of such a request."""

    transport = TransportContext(kind="direct", can_send_request=False)
    message_metadata = None

    def __init__(self, number: int, heard: Callable[[str, Mapping[str, Any]], None]) -> None:
        super().__init__(number)
        self._heard = heard

    @property
    def cancel_requested(self) -> anyio.Event:
        """An event that is never set: a call that is cancelled is cancelled in its own task."""
        return anyio.Event()

    async def notify(self, method: str, params: Mapping[str, Any] | None, _opts: CallOptions | None = None) -> None:
        """Let it be heard."""
        self._heard(method, params or {})


def _pass_through(
    middleware: ServerMiddleware[Any], call: CallNext, context: ServerRequestContext[Any, Any]
) -> Awaitable[HandlerResult]:
    return middleware(context, call)
