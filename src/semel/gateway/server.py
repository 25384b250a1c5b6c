"""The door: an MCP server that takes calls for a node, or for a cluster, and answers with what stands in the log.

Knows the `Backend` protocol and both protocol eras; neither nodes, logs nor transports.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

from mcp import MCPError, types
from mcp.server import Server
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from semel.errors import CallError, Draining, KeyMissing, KeyReused, NoLeader, SemelError, Undecided
from semel.gateway import meta
from semel.gateway.announcing import Announcer
from semel.gateway.answers import result_of
from semel.gateway.asked import ANONYMOUS, KEYS_OF_CLIENTS, Asked, Context, asked
from semel.gateway.ticket import ROUNDS_MAX, Ticket
from semel.node.backend import Backend

__all__ = ["ANONYMOUS", "KEYS_OF_CLIENTS", "Door", "as_protocol_error", "make_door", "make_server"]

_TITLES: Mapping[type[SemelError], tuple[str, int]] = {
    KeyMissing: ("Idempotency-Key is missing", 400),
    KeyReused: ("Idempotency-Key is already used", 422),
    Undecided: ("A request is outstanding for this Idempotency-Key", 409),
}
"""The three problems that the IETF's draft of `Idempotency-Key` knows, as it titles and numbers them. (A retry while
the call runs is none here: it waits for the same outcome.)"""


class Door(Protocol):
    """Where tools and answers come from: a node, or a cluster out there."""

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools as MCP's tools/list shows them."""
        ...

    async def call(self, tool: str, arguments: Mapping[str, Any], given: Asked) -> Mapping[str, Any]:
        """Return the CallToolResult of a call.

        Raises:
            SemelError: there is none; the text says why, and what a retry would do.
        """
        ...

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return what a tool takes, if that is known without asking."""
        ...


def make_server(
    backend: Backend,
    *,
    instructions: str | None = None,
    client_keys: Sequence[str] = KEYS_OF_CLIENTS,
    require_key: bool = False,
    announcer: Announcer | None = None,
) -> Server[Any]:
    """Return the MCP server of a node.

    Args:
        backend: the node.
        instructions: what the served server says of itself to models.
        client_keys: names in `_meta` that may hold an idempotency key.
        require_key: refuse a call of a once tool that brings no key.
        announcer: tells clients when the tools change.
    """
    door = _NodeDoor(backend, require_key=require_key)
    return make_door(door, instructions=instructions, client_keys=client_keys, announcer=announcer)


def make_door(
    door: Door,
    *,
    instructions: str | None = None,
    client_keys: Sequence[str] = KEYS_OF_CLIENTS,
    tickets: bool = True,
    announcer: Announcer | None = None,
) -> Server[Any]:
    """Return an MCP server of both eras for what is behind `door`.

    With `tickets`, a client of the new era gets one in the place of an error after which it should ask again. With an
    `announcer`, clients are told when the tools change.
    """

    async def list_tools(context: Context, _params: types.PaginatedRequestParams | None) -> Any:
        if announcer is not None:
            announcer.met(context)
        try:
            tools = [_shown(tool, context.protocol_version) for tool in await door.tools()]
        except SemelError as error:
            raise as_protocol_error(error) from error
        return {"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "public"}

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> Any:
        given: Asked | None = None
        try:
            given = asked(context, params, client_keys)
            result = await door.call(params.name, params.arguments or {}, given)
        except SemelError as error:
            if tickets and given is not None and _may_ask_again(error, given, context.protocol_version):
                return _held(error, given)
            raise as_protocol_error(error) from error
        return {"resultType": "complete", **_fitting(result, context.protocol_version)}

    return Server(
        "semel",
        version=version("semel"),
        instructions=instructions,
        get_tool_input_schema=door.input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_subscriptions_listen=None if announcer is None else announcer.listen,
    )


def as_protocol_error(error: SemelError) -> MCPError:
    """Return `error` as JSON-RPC has it: the request's fault, or the cluster's; `data` says which error it is."""
    code = types.INVALID_PARAMS if isinstance(error, CallError) else types.INTERNAL_ERROR
    return MCPError(code, str(error), _data(error))


class _NodeDoor:
    """A node, as the door sees it."""

    def __init__(self, backend: Backend, *, require_key: bool) -> None:
        self._backend = backend
        self._require_key = require_key

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        return self._backend.tools()

    async def call(self, tool: str, arguments: Mapping[str, Any], given: Asked) -> Mapping[str, Any]:
        if self._require_key and not given.named and self._effect(tool) == "once":
            raise KeyMissing(
                f"this node runs {tool} only under an idempotency key of the client's: send one in "
                f'_meta["{meta.KEY}"], or in the header Idempotency-Key. Nothing was run'
            )
        reply = await self._backend.call(
            tool, arguments, key=given.key, caller=given.caller, client=given.client, made=given.made
        )
        return result_of(reply)

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        return next((tool["inputSchema"] for tool in self._backend.tools() if tool["name"] == name), None)

    def _effect(self, name: str) -> str | None:
        tool = next((tool for tool in self._backend.tools() if tool["name"] == name), None)
        return None if tool is None else str((tool.get("_meta") or {}).get(meta.EFFECT, "once"))


def _may_ask_again(error: SemelError, given: Asked, protocol_version: str) -> bool:
    """Return True if the client will ask again by itself, and that may help.

    Not when a node is busy: requests that come again at once would make it busier.
    """
    passing = isinstance(error, NoLeader | Undecided | Draining)
    return passing and given.rounds < ROUNDS_MAX and protocol_version in MODERN_PROTOCOL_VERSIONS


def _held(error: SemelError, given: Asked) -> dict[str, Any]:
    """Return an InputRequiredResult that asks for nothing but to be asked again, and says why."""
    ticket = Ticket(key=given.key, caller=given.caller, made=given.made, rounds=given.rounds + 1)
    why = {**_data(error), "message": str(error)}
    said = {meta.KEY: given.key, meta.HELD: why}
    return {"resultType": "input_required", "requestState": ticket.text(), "_meta": said}


def _data(error: SemelError) -> dict[str, Any]:
    """Return what a program may want to know of an error."""
    data: dict[str, Any] = {"source": "semel", "code": error.code, "retrySafe": error.retry_safe}
    if type(error) in _TITLES:
        data["title"], data["status"] = _TITLES[type(error)]
    return data


def _fitting(result: Mapping[str, Any], protocol_version: str) -> Mapping[str, Any]:
    """Return a result as a protocol version can carry it: earlier ones know structured objects only."""
    if protocol_version in MODERN_PROTOCOL_VERSIONS or isinstance(result.get("structuredContent", {}), dict):
        return result
    return {name: value for name, value in result.items() if name != "structuredContent"}  # the content says the same


def _shown(tool: Mapping[str, Any], protocol_version: str) -> Mapping[str, Any]:
    """Return a tool as a protocol version can show it: earlier ones know output schemas of objects only."""
    if protocol_version in MODERN_PROTOCOL_VERSIONS or tool.get("outputSchema", {}).get("type", "object") == "object":
        return tool
    return {name: value for name, value in tool.items() if name != "outputSchema"}
