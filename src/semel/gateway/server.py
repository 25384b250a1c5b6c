"""The door: an MCP server that takes calls for a node, or for a cluster, and answers with what stands in the log.

Knows the `Backend` protocol and both protocol eras; neither nodes, logs nor transports.
"""

import asyncio
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

from mcp import MCPError, types
from mcp.server import NotificationOptions, Server
from mcp.server.caching import CACHEABLE_METHODS, CacheHint
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types.methods import is_input_required

from semel.core.call import Status
from semel.errors import BadArguments, CallError, Draining, KeyMissing, KeyReused, NoLeader, SemelError, Undecided
from semel.gateway import meta
from semel.gateway.announcing import Announcer
from semel.gateway.answers import result_of
from semel.gateway.asked import (
    ANONYMOUS,
    KEYS_OF_CLIENTS,
    Asked,
    Context,
    asked,
    call_meta,
    check_text,
    follow,
    set_level,
)
from semel.gateway.hearing import Hearing
from semel.gateway.taskmode import EXTENSION, with_support
from semel.gateway.tasks import CAPABILITY_OF_2025, ERA_2025, Tasks
from semel.gateway.ticket import HELD_MAX, Ticket
from semel.node.asides import Unanswered
from semel.node.backend import Backend, Reply

__all__ = ["ANONYMOUS", "KEYS_OF_CLIENTS", "Door", "as_protocol_error", "make_door", "make_server"]

_PASSED_ON: Mapping[str, type[Any]] = {
    "resources/list": types.PaginatedRequestParams,
    "resources/templates/list": types.PaginatedRequestParams,
    "resources/read": types.ReadResourceRequestParams,
    "prompts/list": types.PaginatedRequestParams,
    "prompts/get": types.GetPromptRequestParams,
    "completion/complete": types.CompleteRequestParams,
}
"""What is asked of the servers behind the door and is no call, and the form of its parameters."""

_ROUNDS_MAX = 32
"""How often a tool may ask a client of the handshake eras in the course of one request, before that is an error."""

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

    async def call(self, tool: str, arguments: Mapping[str, Any], given: Asked, hearing: Hearing) -> dict[str, Any]:
        """Return the CallToolResult of a call, or an InputRequiredResult; `hearing` hears what the tool says.

        Raises:
            SemelError: there is none; the text says why, and what a retry would do.
        """
        ...

    async def ask(self, method: str, params: Mapping[str, Any], hearing: Hearing) -> dict[str, Any]:
        """Return the result of a request that is no call.

        Raises:
            MCPError: the answer is an error.
            SemelError: there is no answer.
        """
        ...

    def cancel(self, given: Asked) -> None:
        """Have a call's tool stopped; best effort."""
        ...

    def offers(self) -> Mapping[str, Any]:
        """Return what there is, as MCP's ServerCapabilities has it."""
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
    tasks: Tasks | None = None,
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
    tasks: Tasks | None = None,
) -> Server[Any]:
    """Return an MCP server of both eras for what is behind `door`.

    With `tickets`, a client of the new era gets one in the place of an error after which it should ask again. With an
    `announcer`, clients are told when something changes. With `tasks`, a call may become one.
    """

    async def list_tools(context: Context, _params: types.PaginatedRequestParams | None) -> Any:
        if announcer is not None:
            announcer.met(context)
        try:
            tools = [_shown(tool, context.protocol_version) for tool in await door.tools()]
            if tasks is not None and context.protocol_version == ERA_2025:
                tools = [with_support(tool) for tool in tools]
        except SemelError as error:
            raise as_protocol_error(error) from error
        return {"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "public"}

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> Any:
        try:
            given = asked(context, params, client_keys)
        except SemelError as error:
            raise as_protocol_error(error) from error
        rounds = [given]
        try:
            async with Hearing(context) as hearing:

                async def ask() -> Mapping[str, Any]:
                    return await _called(door, params.name, params.arguments or {}, rounds, hearing)

                result = await (ask() if tasks is None else tasks.answer(context, params.name, given.id, ask))
        except SemelError as error:
            if tickets and _may_ask_again(error, given, context.protocol_version):
                return _held(error, given)
            if isinstance(error, BadArguments) and given.also.get(meta.ERRORS_AS_RESULTS) is not True:
                return {"resultType": "complete", **_failure(str(error), {"_meta": {meta.ERROR: _data(error)}})}
            raise as_protocol_error(error) from error
        except asyncio.CancelledError:
            if _unwanted(context, given):
                door.cancel(rounds[-1])
            raise
        if given.also.get(meta.ERRORS_AS_RESULTS) is not True:
            _raise_protocol_error(result)
        return {"resultType": "complete", **_fitting(result, context.protocol_version)}

    async def pass_on(context: Context, _params: Any) -> Any:
        if announcer is not None:
            announcer.met(context)
        try:
            said = {**(context.params or {}), "_meta": call_meta(context)}
            check_text(said)
            async with Hearing(context, collects=False) as hearing:
                return {"resultType": "complete", **await _asked_for(door, context.method, said, hearing)}
        except SemelError as error:
            raise as_protocol_error(error) from error

    server = _Offering(
        door,
        "semel",
        version=version("semel"),
        instructions=instructions,
        cache_hints=dict.fromkeys(CACHEABLE_METHODS, CacheHint()),  # for what servers of the handshake eras give
        get_tool_input_schema=door.input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_subscriptions_listen=None if announcer is None else announcer.listen,
    )
    for method, form in _PASSED_ON.items():
        server.add_request_handler(method, form, pass_on)
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, _set_level)
    if announcer is not None:
        _serve_subscriptions(server, announcer)
    if tasks is not None:
        tasks.offer(server, as_protocol_error)
    return server


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
        if EXTENSION in self.extensions and named.get("protocol_version") not in MODERN_PROTOCOL_VERSIONS:
            served.tasks = CAPABILITY_OF_2025
        return served


def as_protocol_error(error: SemelError) -> MCPError:
    """Return `error` as JSON-RPC has it: the request's fault, or the cluster's; `data` says which error it is."""
    code = types.INVALID_PARAMS if isinstance(error, CallError) else types.INTERNAL_ERROR
    return MCPError(code, str(error), _data(error))


class NodeDoor:
    """A node, as the door sees it."""

    def __init__(self, backend: Backend, *, require_key: bool) -> None:
        self._backend = backend
        self._require_key = require_key

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools as MCP's tools/list shows them."""
        return self._backend.tools()

    async def call(self, tool: str, arguments: Mapping[str, Any], given: Asked, hearing: Hearing) -> dict[str, Any]:
        """Return the result of a call, or what its tool asks for."""
        if self._require_key and not given.named and self._effect(tool) == "once":
            raise KeyMissing(
                f"this node runs {tool} only under an idempotency key of the client's: send one in "
                f'_meta["{meta.KEY}"], or in the header Idempotency-Key. Nothing was run'
            )
        for key, reply in given.replies.items():
            self._backend.asides.answer(given.id, key, result=reply)
        for key, error in given.refused.items():
            self._backend.asides.answer(given.id, key, error=error)
        calling = asyncio.ensure_future(
            self._backend.call(
                tool,
                arguments,
                key=given.key,
                caller=given.caller,
                client=given.client,
                made=given.made,
                details=given.details,
                party=hearing,
            )
        )
        try:
            while not calling.done() and not hearing.questions:  # one that was asked may be withdrawn at once
                await hearing.until_called(calling)
            return _result_of(calling.result(), given) if calling.done() else _asking(hearing, given)
        finally:
            calling.cancel()  # the call itself goes on

    async def ask(self, method: str, params: Mapping[str, Any], hearing: Hearing) -> dict[str, Any]:
        """Return what the servers behind the node answer."""
        try:
            return await self._backend.ask(method, params, hearing)
        except Unanswered as error:
            raise MCPError.from_error_data(types.ErrorData.model_validate(error.error)) from error

    def cancel(self, given: Asked) -> None:
        """Have a call's tool stopped."""
        self._backend.asides.cancel(given.id)

    def offers(self) -> Mapping[str, Any]:
        """Return what the servers behind the node offer."""
        return self._backend.offers()

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return what a tool takes."""
        return next((tool["inputSchema"] for tool in self._backend.tools() if tool["name"] == name), None)

    def _effect(self, name: str) -> str | None:
        tool = next((tool for tool in self._backend.tools() if tool["name"] == name), None)
        return None if tool is None else str((tool.get("_meta") or {}).get(meta.EFFECT, "once"))


async def _called(
    door: Door, tool: str, arguments: Mapping[str, Any], rounds: list[Asked], hearing: Hearing
) -> Mapping[str, Any]:
    """Return the result of a call; a client of the handshake eras is asked here what its tool wants to know.

    That adds to the `rounds` of the call. A client of 2026-07-28 is told what it wants, and comes again.
    """
    for _ in range(_ROUNDS_MAX):
        result = await door.call(tool, arguments, rounds[-1], hearing)
        if hearing.modern or not is_input_required(result):
            return result
        replies, refused = await _answers(result, hearing)
        rounds.append(follow(rounds[-1], str(result.get("requestState")), replies, refused))
        if refused.keys() - rounds[-1].refused.keys():  # it can only be told of answers
            return _failure(f"{tool} asks for more input, and cannot have it: {_texts(refused)}", result)
    return _failure(f"{tool} has asked for more input {_ROUNDS_MAX} times in one request", {})


async def _asked_for(door: Door, method: str, params: Mapping[str, Any], hearing: Hearing) -> dict[str, Any]:
    """Return the result of a request that is no call, as `_called` does of a call."""
    for _ in range(_ROUNDS_MAX):
        result = await door.ask(method, params, hearing)
        if hearing.modern or not is_input_required(result):
            return result
        replies, refused = await _answers(result, hearing)
        if refused:
            raise MCPError(types.INVALID_REQUEST, f"{method} asks for input, and cannot have it: {_texts(refused)}")
        params = {**params, "inputResponses": replies}
        if "requestState" in result:
            params["requestState"] = result["requestState"]
    raise MCPError(types.INTERNAL_ERROR, f"{method} has asked for input {_ROUNDS_MAX} times in one request")


async def _answers(result: Mapping[str, Any], hearing: Hearing) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a client answers to all that an InputRequiredResult asks for, by name, and its errors."""
    replies, refused = {}, {}
    for name, each in (result.get("inputRequests") or {}).items():
        try:
            replies[name] = await hearing.ask(each["method"], each.get("params") or {})
        except MCPError as error:
            refused[name] = error.error.model_dump(exclude_none=True)
    return replies, refused


def _texts(errors: Mapping[str, Any]) -> str:
    return "; ".join(str(error["message"]) for error in errors.values())


def _raise_protocol_error(result: Mapping[str, Any]) -> None:
    """Raise what a tool's server answered in the place of a result, as it came."""
    error = (result.get("_meta") or {}).get(meta.PROTOCOL_ERROR)
    if error is not None:
        raise MCPError.from_error_data(types.ErrorData.model_validate(error))


def _failure(text: str, result: Mapping[str, Any]) -> dict[str, Any]:
    said = {**(result.get("_meta") or {}), meta.SOURCE: "semel"}
    return {"content": [{"type": "text", "text": text}], "isError": True, "_meta": said}


def _result_of(reply: Reply, given: Asked) -> dict[str, Any]:
    """Return the result of a reply; what it takes to go on, where the tool asks for more, is in a ticket."""
    result, record = result_of(reply), reply.record
    if record.status is Status.INPUT_REQUIRED:
        following = {"round": record.id.round + 1, "state": result.get("requestState"), "answers": None}
        result["requestState"] = _ticket(given, why="wants", **following).text()
    return result


def _asking(hearing: Hearing, given: Asked) -> dict[str, Any]:
    """Return an InputRequiredResult with what a running tool asks, which waits for the answer meanwhile."""
    questions = dict(hearing.questions)
    ticket = _ticket(given, why="asks", questions=tuple(questions))
    asked_for = {key: {"method": each.method, "params": each.params} for key, each in questions.items()}
    said = {meta.KEY: given.key}
    return {"resultType": "input_required", "inputRequests": asked_for, "requestState": ticket.text(), "_meta": said}


def _ticket(given: Asked, **named: Any) -> Ticket:
    """Return a ticket for the same call, in the same round."""
    answers = given.details.answers
    same: dict[str, Any] = {
        "held": given.held,
        "round": given.details.round,
        "answers": None if answers is None else dict(answers),
    }
    return Ticket(key=given.key, caller=given.caller, made=given.made, **{**same, **named})


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


def _may_ask_again(error: SemelError, given: Asked, protocol_version: str) -> bool:
    """Return True if the client will ask again by itself, and that may help.

    Not when a node is busy: requests that come again at once would make it busier.
    """
    passing = isinstance(error, NoLeader | Undecided | Draining)
    return passing and given.held < HELD_MAX and protocol_version in MODERN_PROTOCOL_VERSIONS


def _held(error: SemelError, given: Asked) -> dict[str, Any]:
    """Return an InputRequiredResult that asks for nothing but to be asked again, and says why."""
    ticket = _ticket(given, held=given.held + 1)
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
