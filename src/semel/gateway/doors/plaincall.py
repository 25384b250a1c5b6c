"""The plain `tools/call` of 2026-07-28: the one request that is recognized without the SDK's machinery, and checked.

The law: whatever is accepted here, the SDK accepts, and would hand to the handler as the same values; whatever is odd,
wrong or rare is None here, and then the SDK says what is to be said. So nothing here speaks of errors. The rungs are
those of the SDK's `handle_modern_request`, `classify_inbound_request` and `ServerRunner`; msgspec reads less than
`json.loads` does, and what it reads, it reads alike. `tests/gateway/test_fastpath.py` and `test_fastlines.py` compare
the two ways.

One exception: of a line that is nested more deeply than 200 the SDK says nothing at all. Here it is answered, as far
as msgspec reads, which depends on the version of Python.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec
from mcp import types
from mcp.server.connection import Connection
from mcp.server.streamable_http import check_accept_headers
from mcp.shared.inbound import decode_header_value, validate_mcp_param_headers, x_mcp_header_map
from mcp.types import methods
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

VERSION = "2026-07-28"
METHOD = "tools/call"

BODY_BYTES_MAX = 2**20
"""A larger body takes long enough to read and to run for the way to it not to matter."""

_REMEMBERED_MAX = 256
"""How many envelopes, Accept headers and tools are remembered as good; clients of one kind send the same."""

_REMEMBERED_BYTES_MAX = 4096
"""No envelope larger than this is remembered."""

_NEEDED = {b"mcp-protocol-version": VERSION.encode(), b"mcp-method": METHOD.encode()}
_READ = frozenset({*_NEEDED, b"mcp-name", b"accept", b"content-type", b"content-length"})

_CAPABILITIES = types.CLIENT_CAPABILITIES_META_KEY
_ENVELOPE = frozenset({types.PROTOCOL_VERSION_META_KEY, _CAPABILITIES, types.CLIENT_INFO_META_KEY})
_RESERVED = "io.modelcontextprotocol/"


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    meta: dict[str, Any] = msgspec.field(name="_meta")
    arguments: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    proposed_key: str | msgspec.UnsetType = msgspec.field(name="idempotencyKey", default=msgspec.UNSET)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    jsonrpc: Literal["2.0"]
    id: int | str
    method: Literal["tools/call"]
    params: _Params


class PlainCall(msgspec.Struct, frozen=True):
    """A request that passed every check: its id, its `params` as they came, and who its client is."""

    id: int | str
    params: Mapping[str, Any]
    connection: Connection


class Recognizer:
    """Tells plain calls from all other requests; remembers what it has found good, within bounds."""

    def __init__(self, input_schema: Callable[[str], Mapping[str, Any] | None] | None = None) -> None:
        self._input_schema = input_schema
        self._accepts: dict[bytes, bool] = {}
        self._connections: dict[bytes, Connection | None] = {}
        self._annotated: dict[str, tuple[Mapping[str, Any], bool]] = {}
        self._decoder = msgspec.json.Decoder(_Body)

    def head(self, scope: Scope) -> bytes | None:
        """Return the `Mcp-Name` of a POST whose headers are those of a plain call, else None."""
        found: dict[bytes, bytes] = {}
        name: bytes
        for name, value in scope["headers"]:
            if name in _READ:
                if name in found:
                    return None
                found[name] = value
            elif name == b"mcp-session-id":  # of an earlier version
                return None
        if any(found.get(needed) != value for needed, value in _NEEDED.items()):
            return None
        if not found.get(b"content-type", b"").lower().startswith(b"application/json"):
            return None
        length = found.get(b"content-length", b"")
        if not (length.isdigit() and int(length) <= BODY_BYTES_MAX):
            return None
        return found.get(b"mcp-name") if self._accept(scope, found.get(b"accept", b"")) else None

    def call(self, scope: Scope, mcp_name: bytes, body: bytes) -> PlainCall | None:
        """Return the plain call that the `body` of a POST is, if it is one and its headers say the same."""
        call = self.read(body)
        if call is None:
            return None
        name = call.params["name"]
        if decode_header_value(mcp_name.decode("latin-1")) != name:
            return None
        return call if self._headers_agree(scope, name, call.params.get("arguments", {})) else None

    def read(self, message: bytes) -> PlainCall | None:
        """Return the plain call that a JSON-RPC message is, else None."""
        try:
            read = self._decoder.decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        params = read.params
        connection = self._connection(params.meta)
        if connection is None:
            return None
        given: dict[str, Any] = {"name": params.name, "_meta": params.meta}
        if params.arguments is not msgspec.UNSET:
            given["arguments"] = params.arguments
        if params.proposed_key is not msgspec.UNSET:
            given["idempotencyKey"] = params.proposed_key
        return PlainCall(read.id, given, connection)

    def _accept(self, scope: Scope, accept: bytes) -> bool:
        """Return whether the client takes JSON, and a stream of events, should the call take long."""
        known = self._accepts.get(accept)
        if known is None:
            known = all(check_accept_headers(Request(scope)))
            _remember(self._accepts, accept, known)
        return known

    def _connection(self, meta: Mapping[str, Any]) -> Connection | None:
        """Return the client that an envelope speaks of, None if there is anything about it.

        It is one object for all requests with the same envelope, which the SDK would make afresh for each.
        """
        if meta.get(types.PROTOCOL_VERSION_META_KEY) != VERSION or "progressToken" in meta:
            return None
        envelope = {}
        for name, value in meta.items():
            if name in _ENVELOPE:
                envelope[name] = value
            elif name.startswith(_RESERVED):
                return None
        known_as = msgspec.json.encode(envelope)
        try:
            return self._connections[known_as]
        except KeyError:
            connection = _judged(envelope)
            _remember(self._connections, known_as, connection)
            return connection

    def _headers_agree(self, scope: Scope, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Return whether those arguments that the tool wants in headers, too, are there and the same."""
        schema = None if self._input_schema is None else self._input_schema(tool)
        if schema is None:
            return True
        known = self._annotated.get(tool)
        if known is None or known[0] is not schema:
            known = (schema, bool(x_mcp_header_map(schema)))
            if len(self._annotated) >= _REMEMBERED_MAX:
                self._annotated.clear()
            self._annotated[tool] = known
        return not known[1] or validate_mcp_param_headers(schema, arguments, Headers(scope=scope)) is None


def _judged(envelope: Mapping[str, Any]) -> Connection | None:
    """Return the client of an envelope as the SDK makes it, None if it is not in order or wants more than an answer."""
    capabilities = envelope.get(_CAPABILITIES)
    if not isinstance(capabilities, dict) or _wants_tasks(capabilities.get("extensions") or ()):
        return None
    try:
        methods.validate_client_request(METHOD, VERSION, {"name": "", "_meta": envelope})
    except ValidationError:
        return None
    return Connection.from_envelope(VERSION, envelope.get(types.CLIENT_INFO_META_KEY), capabilities)


def _wants_tasks(extensions: Iterable[str]) -> bool:
    return any(name.endswith("/tasks") for name in extensions)


def _remember(among: dict[bytes, Any], key: bytes, value: object) -> None:
    """Keep what was found of `key`; when there is too much of it, begin again."""
    if len(key) > _REMEMBERED_BYTES_MAX:
        return
    if len(among) >= _REMEMBERED_MAX:
        among.clear()
    among[key] = value
