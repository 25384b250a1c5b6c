"""The door: an MCP server that takes calls for a node and answers with what stands in its log.

Knows the `Backend` protocol and both protocol eras; neither nodes, logs nor transports.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from mcp import MCPError, types
from mcp.server import Server, ServerRequestContext
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from semel.errors import BadKey, CallError, SemelError
from semel.gateway import meta
from semel.gateway.announcing import Announcer
from semel.gateway.answers import result_of
from semel.node.backend import Backend

ANONYMOUS = "anonymous"
KEYS_OF_CLIENTS = ("claudecode/toolUseId",)
"""Names in `_meta` by which clients already name their calls, each use of a tool once."""

_Context = ServerRequestContext[Any, Any]


def make_server(
    backend: Backend,
    *,
    instructions: str | None = None,
    client_keys: Sequence[str] = KEYS_OF_CLIENTS,
    announcer: Announcer | None = None,
) -> Server[Any]:
    """Return the MCP server of a node.

    `client_keys` are names in `_meta` that may hold an idempotency key; `announcer` tells clients of changes.
    """

    async def list_tools(context: _Context, _params: types.PaginatedRequestParams | None) -> Any:
        if announcer is not None:
            announcer.met(context)
        tools = [_shown(tool, context.protocol_version) for tool in backend.tools()]
        return {"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "public"}

    async def call_tool(context: _Context, params: types.CallToolRequestParams) -> Any:
        try:
            reply = await backend.call(
                params.name,
                params.arguments or {},
                key=find_key(context, client_keys),
                caller=find_caller(context),
                client=_client(context),
                made=_said(context).get(meta.KEY_MADE) is True,
            )
        except SemelError as error:
            raise as_protocol_error(error) from error
        return {"resultType": "complete", **_fitting(result_of(reply), context.protocol_version)}

    def input_schema(name: str) -> Mapping[str, Any] | None:
        return next((tool["inputSchema"] for tool in backend.tools() if tool["name"] == name), None)

    return Server(
        "semel",
        version=version("semel"),
        instructions=instructions,
        get_tool_input_schema=input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_subscriptions_listen=None if announcer is None else announcer.listen,
    )


def find_key(context: _Context, client_keys: Sequence[str]) -> str | None:
    """Return the idempotency key of a request: ours in `_meta`, the HTTP header's, the client's own, or none.

    The header may be in quotes, as the IETF's draft of `Idempotency-Key` has it, or bare, as most send it.

    Raises:
        BadKey: it is not a string, or there are two headers.
    """
    said = _said(context)
    if meta.KEY in said:
        return _text(said[meta.KEY], meta.KEY)
    if context.request is not None:
        headers = context.request.headers.getlist("idempotency-key")
        if len(headers) > 1:
            raise BadKey("there are two Idempotency-Key headers: send one. Nothing was run")
        if headers:
            bare: str = headers[0].strip()
            return bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare
    for name in client_keys:
        if name in said:
            return _text(said[name], name)
    return None


def find_caller(context: _Context) -> str:
    """Return who asks: whom the transport has authenticated, else who the request says it is, else "anonymous".

    The name that a client program gives itself is deliberately not asked: two programs that retry one key must
    come to one call. And a claim never outranks a proof.

    Raises:
        BadKey: the caller is not a string.
    """
    token = get_access_token()
    if token is not None:
        return token.subject or token.client_id
    said = _said(context)
    return _text(said[meta.CALLER], meta.CALLER) if meta.CALLER in said else ANONYMOUS


def as_protocol_error(error: SemelError) -> MCPError:
    """Return `error` as JSON-RPC has it: the request's fault, or the cluster's; `data` says which error it is."""
    code = types.INVALID_PARAMS if isinstance(error, CallError) else types.INTERNAL_ERROR
    return MCPError(code, str(error), {"source": "semel", "code": error.code, "retrySafe": error.retry_safe})


def _fitting(result: dict[str, Any], protocol_version: str) -> dict[str, Any]:
    """Return a result as a protocol version can carry it: earlier ones know structured objects only."""
    if protocol_version in MODERN_PROTOCOL_VERSIONS or isinstance(result.get("structuredContent", {}), dict):
        return result
    return {name: value for name, value in result.items() if name != "structuredContent"}  # the content says the same


def _shown(tool: Mapping[str, Any], protocol_version: str) -> Mapping[str, Any]:
    """Return a tool as a protocol version can show it: earlier ones know output schemas of objects only."""
    if protocol_version in MODERN_PROTOCOL_VERSIONS or tool.get("outputSchema", {}).get("type", "object") == "object":
        return tool
    return {name: value for name, value in tool.items() if name != "outputSchema"}


def _said(context: _Context) -> Mapping[str, object]:
    return context.meta or {}


def _client(context: _Context) -> str:
    """Return what the client program calls itself, for information; "" if it does not say."""
    params = context.session.client_params
    return "" if params is None else f"{params.client_info.name}/{params.client_info.version}"


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadKey(f"{name} in _meta must be a string, and is {json.dumps(value)[:100]}. Nothing was run")
    return value
