"""The door: an MCP server that takes calls for a node, or for a cluster, and answers with what stands in the log.

Knows the requests of MCP in both protocol eras; what is behind the door is a `Door`. Knows no transports.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

from mcp import MCPError, types
from mcp.server import NotificationOptions, Server
from mcp.server.caching import CACHEABLE_METHODS, CacheHint
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from semel.errors import BadArguments, SemelError
from semel.gateway import meta
from semel.gateway.doors.announcing import Announcer
from semel.gateway.doors.asked import (
    ANONYMOUS,
    KEYS_OF_CLIENTS,
    Asked,
    Context,
    asked,
    set_level,
)
from semel.gateway.doors.door import Door, NodeDoor
from semel.gateway.doors.driving import asked_for, called, failure
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.inquiries import INTERACTIVE, Inquiry
from semel.gateway.doors.refusing import as_protocol_error, data_of, held, may_ask_again
from semel.gateway.doors.tasking import Desk
from semel.gateway.doors.taskoffer import handler_of, offer
from semel.node.backend import Backend

__all__ = ["ANONYMOUS", "KEYS_OF_CLIENTS", "as_protocol_error", "make_door", "make_server"]

_PASSED_ON: Mapping[str, type[Any]] = {
    "resources/list": types.PaginatedRequestParams,
    "resources/templates/list": types.PaginatedRequestParams,
    "resources/read": types.ReadResourceRequestParams,
    "prompts/list": types.PaginatedRequestParams,
    "prompts/get": types.GetPromptRequestParams,
    "completion/complete": types.CompleteRequestParams,
}
"""What is asked of the servers behind the door and is no call, and the form of its parameters."""


def make_server(
    backend: Backend,
    *,
    instructions: str | None = None,
    client_keys: Sequence[str] = KEYS_OF_CLIENTS,
    require_key: bool = False,
    announcer: Announcer | None = None,
    tasks: Desk | None = None,
) -> Server[Any]:
    """Return the MCP server of a node.

    Args:
        backend: the node.
        instructions: what the served server says of itself to models.
        client_keys: names in `_meta` that may hold an idempotency key.
        require_key: refuse a call of a once tool that brings no key.
        announcer: tells clients when something changes.
        tasks: the node's tasks, if a call may become one.
    """
    door = NodeDoor(backend, require_key=require_key)
    return make_door(door, instructions=instructions, client_keys=client_keys, announcer=announcer, tasks=tasks)


def make_door(
    door: Door,
    *,
    instructions: str | None = None,
    client_keys: Sequence[str] = KEYS_OF_CLIENTS,
    tickets: bool = True,
    announcer: Announcer | None = None,
    tasks: Desk | None = None,
) -> Server[Any]:
    """Return an MCP server of both eras for what is behind `door`.

    With `tickets`, a client of the new era gets one in the place of an error after which it should ask again. With an
    `announcer`, clients are told when something changes. With `tasks`, a call may become one.
    """
    handlers = _Handlers(door, client_keys=client_keys, tickets=tickets, announcer=announcer, tasks=tasks)
    server = _Offering(
        door,
        "semel",
        version=version("semel"),
        instructions=instructions,
        cache_hints=dict.fromkeys(CACHEABLE_METHODS, CacheHint()),  # for what servers of the handshake eras give
        get_tool_input_schema=door.input_schema,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_subscriptions_listen=None if announcer is None else announcer.listen,
    )
    for method, form in _PASSED_ON.items():
        server.add_request_handler(method, form, handlers.pass_on)
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, _set_level)
    if announcer is not None:
        _serve_subscriptions(server, announcer)
    if tasks is not None:
        offer(server, handler_of(tasks, as_protocol_error), lambda: tasks)
    return server


class _Handlers:
    """What is done with the requests that a door is for."""

    def __init__(
        self,
        door: Door,
        *,
        client_keys: Sequence[str],
        tickets: bool,
        announcer: Announcer | None,
        tasks: Desk | None,
    ) -> None:
        self._door = door
        self._client_keys = client_keys
        self._tickets = tickets
        self._announcer = announcer
        self._tasks = tasks

    async def list_tools(self, context: Context, _params: types.PaginatedRequestParams | None) -> Any:
        """Answer `tools/list`."""
        if self._announcer is not None:
            self._announcer.met(context)
        try:
            tools = [_shown(tool, context.protocol_version) for tool in await self._door.tools()]
        except SemelError as error:
            raise as_protocol_error(error) from error
        return {"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "public"}

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> Any:
        """Answer `tools/call`."""
        try:
            given = asked(context, params, self._client_keys)
        except SemelError as error:
            raise as_protocol_error(error) from error
        rounds = [given]
        try:
            async with Hearing(context, asks=not given.as_task) as hearing:
                ask = partial(called, self._door, params.name, params.arguments or {}, rounds, hearing)
                tasks = self._tasks
                result = await (ask() if tasks is None else tasks.answer(context, params.name, given, ask))
        except SemelError as error:
            if self._tickets and may_ask_again(error, given, context.protocol_version):
                return held(error, given)
            if isinstance(error, BadArguments) and given.also.get(meta.ERRORS_AS_RESULTS) is not True:
                return {"resultType": "complete", **failure(str(error), {"_meta": {meta.ERROR: data_of(error)}})}
            raise as_protocol_error(error) from error
        except asyncio.CancelledError:
            if _unwanted(context, given):
                self._door.cancel(rounds[-1])
            raise
        if given.also.get(meta.ERRORS_AS_RESULTS) is not True:
            _raise_protocol_error(result)
        return {"resultType": "complete", **_fitting(result, context.protocol_version)}

    async def pass_on(self, context: Context, _params: Any) -> Any:
        """Answer what is no call."""
        if self._announcer is not None:
            self._announcer.met(context)
        try:
            given = Inquiry.of(context)
            async with Hearing(context, collects=given.method in INTERACTIVE) as hearing:
                return {"resultType": "complete", **await asked_for(self._door, given, hearing)}
        except SemelError as error:
            raise as_protocol_error(error) from error


class _Offering(Server[Any]):
    """A server that offers what is behind its door just now."""

    def __init__(self, door: Door, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._door = door

    def get_capabilities(self, *arguments: Any, **named: Any) -> types.ServerCapabilities:
        """Return what is there; whether changes are told is the transport's to say."""
        served = super().get_capabilities(NotificationOptions(True, True, True), *arguments[1:], **named)
        offered = types.ServerCapabilities.model_validate(dict(self._door.offers()))
        told = "subscriptions/listen" in self._request_handlers
        for kind in (served.tools, served.prompts, served.resources):
            if kind is not None:
                kind.list_changed = told or None
        if served.resources is not None:
            served.resources.subscribe = (
                told and offered.resources is not None and offered.resources.subscribe
            ) or None
        for name in ("prompts", "resources", "logging", "completions"):
            if getattr(offered, name) is None:
                setattr(served, name, None)
        return served


def _raise_protocol_error(result: Mapping[str, Any]) -> None:
    """Raise what a tool's server answered in the place of a result, as it came."""
    error = (result.get("_meta") or {}).get(meta.PROTOCOL_ERROR)
    if error is not None:
        raise MCPError.from_error_data(types.ErrorData.model_validate(error))


def _unwanted(context: Context, given: Asked) -> bool:
    """Return whether a client that stopped waiting wants the tool to stop, too.

    It says so in a notification; in 2026-07-28 over HTTP, by closing the stream of its answer. But so does a connection
    that breaks: where the client has named the call, it can still ask what came of it, and the call goes on.
    """
    channel = context.session._request_outbound  # what it knows of a cancellation, the SDK shows handlers nowhere else
    if channel.cancel_requested.is_set():
        return True
    return context.request is not None and context.protocol_version in MODERN_PROTOCOL_VERSIONS and not given.named


async def _set_level(context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    set_level(context, params.level)
    return types.EmptyResult()


def _serve_subscriptions(server: Server[Any], announcer: Announcer) -> None:
    async def subscribe(context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        announcer.subscribe(context, str(params.uri))
        return types.EmptyResult()

    async def unsubscribe(context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        announcer.unsubscribe(context, str(params.uri))
        return types.EmptyResult()

    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, subscribe)
    server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, unsubscribe)


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
