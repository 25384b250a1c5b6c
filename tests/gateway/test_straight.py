"""A plain call of a tool in this process ends the same, whether it goes straight or the SDK's way."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import MCPError, types
from mcp.server import Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver import Context, MCPServer
from pydantic import ValidationError

from semel.gateway.asker import Asker
from semel.gateway.upstreams.connection import Connection
from semel.gateway.upstreams.courier import Errand
from semel.gateway.upstreams.servers import InProcess
from semel.gateway.upstreams.straight import Straight

pytestmark = pytest.mark.anyio

Handle = Callable[[ServerRequestContext[Any, Any], types.CallToolRequestParams], Awaitable[Any]]

ASKERS = {
    "nobody special": Asker(),
    "one that can a lot": Asker(capabilities={"extensions": {"x/y": {}}, "experimental": {"odd": {}}}),
    "one that says a lot": Asker(capabilities={"experimental": {"odd": {"x": "x" * 5000}}}),
    "one that can nonsense": Asker(capabilities={"extensions": "none"}),
    "one with meta": Asker(meta={"traceparent": "00-1", "example.org/x": {"y": None}, "dev.semel/key": "k"}),
}


def low_level() -> Server[Any]:
    """Return a server whose tool `how` does as its argument says."""

    async def list_tools(_context: object, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="how", input_schema={"type": "object"})])

    async def call_tool(context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams) -> Any:
        how = (params.arguments or {}).get("how", "nothing")
        result = RESULTS.get(how)
        return await ACTS[how](context, params) if result is None else result

    return Server("low", on_list_tools=list_tools, on_call_tool=call_tool, version="3")  # type: ignore[arg-type]  # on purpose


TEXT = {"type": "text", "text": "é\udc80"}

RESULTS: Mapping[str, Any] = {
    "model": types.CallToolResult(content=[types.TextContent(type="text", text="1")], structured_content={"x": None}),
    "error": types.CallToolResult(content=[], is_error=True),
    "image": types.CallToolResult(content=[types.ImageContent(type="image", data="AA==", mime_type="image/png")]),
    "annotated": types.CallToolResult(
        content=[types.TextContent(type="text", text="1", annotations=types.Annotations(priority=0.5))]
    ),
    "meta": types.CallToolResult(content=[], _meta={"a": 1, "io.modelcontextprotocol/serverInfo": None}),
    "dict": {"content": [TEXT], "resultType": "complete"},
    "dict without a type": {"content": []},
    "dict with more": {"content": [], "more": 1, "ttlMs": 5},
    "dict of no result": {"content": 7},
    "empty": {},
    "list": [1],
    "word": "word",
    "error data": types.ErrorData(code=-32099, message="no", data={"x": 1}),
    "rounds": types.InputRequiredResult(
        input_requests={
            "q": types.ElicitRequest(
                params=types.ElicitRequestURLParams(
                    mode="url", message="m", url="https://example.org", elicitation_id="e"
                )
            )
        },
        request_state="s",
    ),
    "another kind": {"resultType": "example.org/other", "x": 1},
}


async def _raise(error: Exception) -> Any:
    raise error


async def _say(context: ServerRequestContext[Any, Any], _params: object) -> Any:
    session = context.session
    await session.send_tool_list_changed()
    await session.send_resource_updated("x://y")
    await session.send_notification(types.ResourceListChangedNotification(), related_request_id=context.request_id)
    return types.CallToolResult(content=[])


async def _ask(context: ServerRequestContext[Any, Any], _params: object) -> Any:
    await context.session.list_roots()


async def _look(context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams) -> Any:
    """Tell all that a handler can see of its request."""
    session = context.session
    seen = {
        "method": context.method,
        "version": [context.protocol_version, session.protocol_version],
        "params": params.model_dump(mode="json", by_alias=True),
        "raw": context.params,
        "meta": context.meta,
        "state": context.lifespan_context,
        "request": context.request,
        "client": None if session.client_params is None else session.client_params.model_dump(mode="json"),
        "can": None if session.client_capabilities is None else session.client_capabilities.model_dump(mode="json"),
        "ask": session.can_send_request,
        "id": type(context.request_id).__name__,
    }
    return types.CallToolResult(content=[], structured_content=seen)


async def _invalid(_context: object, _params: object) -> Any:
    types.Tool.model_validate({})


ACTS: Mapping[str, Handle] = {
    "nothing": lambda _context, _params: _raise(KeyError("how")),
    "raise": lambda _context, _params: _raise(RuntimeError("é")),
    "mcp error": lambda _context, _params: _raise(MCPError(-32001, "here", {"uri": "x"})),
    "invalid": _invalid,
    "say": _say,
    "ask": _ask,
    "look": _look,
}


@asynccontextmanager
async def connected(server: Server[Any]) -> AsyncIterator[Connection]:
    """Open a connection as an upstream does."""
    connection = Connection(
        "low",
        InProcess(server),
        state={"of": "lifespan"},
        on_lost=lambda: None,
        on_event=lambda _kind, _uri: None,
    )
    async with connection:
        yield connection


async def both(server: Server[Any], params: Mapping[str, Any], asker: Asker | None = None) -> tuple[Any, Any]:
    """Return what comes of a call that goes straight, and of the same by the SDK's way."""
    ends = []
    heard: list[tuple[str, Mapping[str, Any]]] = []

    def hear(method: str, said: Mapping[str, Any]) -> None:
        heard.append((method, said))

    async with connected(server) as connection:
        assert isinstance(connection._short, Straight)
        connection._short._heard = connection.heard = hear  # type: ignore[method-assign]  # what would go further
        for short in (connection._short, None):
            connection._short = short
            heard.clear()
            try:
                end: Any = await connection.send("tools/call", params, asker or Asker(), Errand())
            except MCPError as error:
                end = error.error.model_dump()
            except ValidationError as error:
                end = (type(error), error.title)
            except Exception as error:
                end = repr(error)
            ends.append((end, list(heard)))
    return ends[0], ends[1]


@pytest.mark.parametrize("asker", ASKERS.values(), ids=ASKERS)
@pytest.mark.parametrize("how", [*RESULTS, *ACTS])
async def test_what_a_handler_gives_raises_says_and_sees_is_the_same(how: str, asker: Asker) -> None:
    """Whatever a low-level server's handler does."""
    params = {"name": "how", "arguments": {"how": how, "none": None}, "_meta": dict(asker.meta)}
    straight, long = await both(low_level(), params, asker)
    assert straight == long


@pytest.mark.parametrize("params", [{"name": "how"}, {"name": "how", "arguments": None}, {"name": "other"}])
async def test_arguments_may_be_left_out(params: dict[str, Any]) -> None:
    """As the protocol has it."""
    straight, long = await both(low_level(), params)
    assert straight == long


async def test_a_server_without_tools_says_so() -> None:
    """Its error is the SDK's."""
    straight, long = await both(Server("none"), {"name": "how", "arguments": {}})
    assert straight == long


async def _refuse(_context: ServerRequestContext[Any, Any], _next: CallNext) -> HandlerResult:
    raise MCPError(-32002, "not you")


async def _answer(_context: ServerRequestContext[Any, Any], _next: CallNext) -> HandlerResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text="from outside")])


async def _answer_nothing(_context: ServerRequestContext[Any, Any], _next: CallNext) -> HandlerResult:
    return None


async def _rewrite(context: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    context.params = {**(context.params or {}), "arguments": {"how": "look"}}
    return await call_next(context)


async def _misdirect(context: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    context.params = {"name": 7}
    return await call_next(context)


async def _redirect(context: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    context.method = "no/such"
    return await call_next(context)


async def _look_on(context: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    result = await call_next(context)
    assert isinstance(result, dict)
    return {**result, "_meta": {**result["_meta"], "seen": sorted(result)}}


@pytest.mark.parametrize("middleware", [_refuse, _answer, _answer_nothing, _rewrite, _misdirect, _redirect, _look_on])
async def test_middlewares_have_their_say(middleware: Any) -> None:
    """On the way in and on the way out."""

    async def of_calls(context: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        result: HandlerResult = await (middleware if context.method == "tools/call" else _pass)(context, call_next)
        return result

    server = low_level()
    server.middleware.append(of_calls)
    straight, long = await both(server, {"name": "how", "arguments": {"how": "model"}})
    assert straight == long


async def _pass(context: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    return await call_next(context)


def high_level() -> MCPServer[Any]:
    """Return a server as most authors write it."""
    server = MCPServer("high", log_level="CRITICAL")

    @server.tool()
    async def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    def blocks(a: int) -> str:
        return str(a)

    @server.tool()
    async def tells(context: Context) -> str:
        await context.info("hello")
        await context.report_progress(1, 2)
        return str(context.request_id is not None)

    @server.tool()
    async def fails() -> None:
        raise ValueError("no")

    @server.tool()
    async def wrong() -> int:
        return "x"  # type: ignore[return-value]  # on purpose

    return server


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("add", {"a": 1, "b": 2}),
        ("add", {"a": "x"}),
        ("add", {}),
        ("blocks", {"a": 1}),
        ("tells", {}),
        ("fails", {}),
        ("wrong", {}),
        ("missing", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:The logging capability is deprecated")
async def test_the_tools_of_an_mcp_server_do_as_ever(name: str, arguments: dict[str, Any]) -> None:
    """With the SDK's own middlewares around them."""
    straight, long = await both(high_level()._lowlevel_server, {"name": name, "arguments": arguments})
    assert straight == long


async def test_what_a_request_leaves_to_be_closed_is_closed_at_its_end() -> None:
    """By the SDK's own rule."""
    closed: list[str] = []

    async def leave(context: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if context.method == "tools/call":
            context.session._connection.exit_stack.callback(closed.append, "closed")  # there is no public name for it
        return await call_next(context)

    server = low_level()
    server.middleware.append(leave)
    await both(server, {"name": "how", "arguments": {"how": "model"}})
    assert closed == ["closed", "closed"]
