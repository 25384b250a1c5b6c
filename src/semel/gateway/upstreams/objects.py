"""Makes MCP servers of Python objects: those of the `mcp` SDK and of `fastmcp` as they are, or of marked functions.

`fastmcp` is looked for only if somebody has imported it.
"""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio.to_thread
from mcp import MCPError
from mcp.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ToolAnnotations

from semel.core.call import Effect
from semel.errors import TargetError
from semel.gateway import meta
from semel.gateway.results import described
from semel.gateway.upstreams.declare import Declaration, checked_hook, declaration_of
from semel.gateway.upstreams.function import Function, needs_arguments_alone
from semel.gateway.upstreams.servers import Hook, InProcess
from semel.gateway.upstreams.threads import Threads

_log = logging.getLogger(__name__)


def server_of(value: object) -> Server[Any] | None:
    """Return the low-level server that `value` is or holds."""
    if isinstance(value, Server):
        return value
    if isinstance(value, MCPServer):
        return value._lowlevel_server  # the SDK's own client unwraps it in this way; there is no public name yet
    fastmcp = sys.modules.get("fastmcp")
    if fastmcp is not None and isinstance(value, fastmcp.FastMCP):
        held = value._mcp_server  # fastmcp's own transports serve it by this name
        assert isinstance(held, Server)
        return held
    return None


def serve_functions(functions: Sequence[Callable[..., Any]], *, name: str, place: str) -> InProcess:
    """Return a server of marked functions, with their hooks; the SDK makes the schemas of their type hints.

    Raises:
        TargetError: two of them have one name, or one has no schema; `place` is where they were found.
    """
    threads = Threads("semel-function")
    tools: dict[str, Tool] = {}
    hooks: dict[str, Hook] = {}
    seen: dict[str, Callable[..., Any]] = {}
    for function in functions:
        declared = _declared(function)
        if (other := seen.setdefault(declared.name, function)) is not function:
            raise TargetError(
                f"{place}: two tools are named {declared.name!r}: the functions {other.__qualname__} and "
                f"{function.__qualname__}. Give one of them another: @semel.tool(name=…)"
            )
        try:
            tool = tools[declared.name] = _tool(function, declared, threads)
        except Exception as error:  # the SDK raises of many kinds for a signature that has no schema
            raise TargetError(f"{place}: no schema can be made of {function.__qualname__}: {error}") from error
        if declared.reconcile is not None:
            hooks[declared.name] = hook_of(tool, declared.reconcile, place)
    server = MCPServer[Any](name, tools=list(tools.values()), log_level="WARNING")
    bare = {name: Function(tool).call for name, tool in tools.items() if needs_arguments_alone(tool)}
    return InProcess(server._lowlevel_server, hooks, bare)  # the name is as in `server_of`


def _tool(function: Callable[..., Any], declared: Declaration, threads: Threads) -> Tool:
    said: dict[str, Any] = {meta.EFFECT: str(declared.effect)}
    if declared.timeout_s is not None:
        said[meta.TIMEOUT] = declared.timeout_s
    if declared.serialize_by is not None:
        said[meta.SERIALIZE_BY] = declared.serialize_by
    if declared.task is not None:
        said[meta.TASK] = str(declared.task)
    return Tool.from_function(
        _telling(function, threads),
        name=declared.name,
        description=declared.description or inspect.getdoc(function),
        annotations=ToolAnnotations(
            read_only_hint=declared.effect is Effect.READ,
            idempotent_hint=declared.effect is not Effect.ONCE,
        ),
        meta=said,
    )


def hook_of(tool: Tool, function: Callable[..., Any], place: str) -> Hook:
    """Return a hook that takes the arguments that the tool takes, and gives what it would have given, or None.

    `tool` lends its types: what the hook is given and what it gives are made of JSON, and into JSON, as for the tool.
    """
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = {parameter.name for parameter in parameters}
    for parameter in parameters:
        injected = parameter.name == tool.context_kwarg or parameter.name in tool.resolved_params
        if injected and parameter.default is parameter.empty:
            raise TargetError(
                f"{place}: the reconcile hook {function.__qualname__} takes {parameter.name!r}, which is no argument "
                f"of a call: it is there only while {tool.name} runs"
            )
    is_async = inspect.iscoroutinefunction(function)

    async def ask(arguments: dict[str, Any]) -> dict[str, Any] | None:
        taken = tool.fn_metadata.validate_arguments(arguments)
        given = {name: value for name, value in taken.items() if takes_all or name in names}
        known = await tool.fn_metadata.call_fn(function, is_async, given)
        if inspect.isawaitable(known):  # of a wrapper that does not say that it is async
            known = await known
        if known is None:
            return None
        return tool.fn_metadata.convert_result(known).model_dump(mode="json", by_alias=True, exclude_none=True)

    return ask


def hooks_of(server: object, given: Mapping[str, Callable[..., Any]], *, place: str) -> dict[str, Hook]:
    """Return the reconcile hooks of a server's tools by their names; `place` is what was given them.

    A hook of an MCPServer's tool returns what the tool's function would have; one of a low-level server's, the
    CallToolResult.

    Raises:
        TargetError: one of them cannot be asked.
    """
    hooks: dict[str, Hook] = {}
    for name, function in given.items():
        if not isinstance(server, MCPServer):
            hooks[name] = _plain_hook(checked_hook(function, function, place=place))
            continue
        tool = server._tool_manager.get_tool(name)  # the server itself has no public name for it
        if tool is None:
            there = ", ".join(each.name for each in server._tool_manager.list_tools()) or "none"
            raise TargetError(f"{place}(reconcile=…): the server has no tool {name!r}; it has: {there}")
        hooks[name] = hook_of(tool, checked_hook(tool.fn, function, place=place), place)
    return hooks


def _plain_hook(function: Callable[..., Any]) -> Hook:
    """Return a hook that takes the arguments as they came, and gives a CallToolResult, or None."""
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = {parameter.name for parameter in parameters}

    async def ask(arguments: dict[str, Any]) -> dict[str, Any] | None:
        call = functools.partial(function, **{n: value for n, value in arguments.items() if takes_all or n in names})
        known = await anyio.to_thread.run_sync(call) if not inspect.iscoroutinefunction(function) else call()
        if inspect.isawaitable(known):
            known = await known
        if known is None:
            return None
        if not isinstance(known, CallToolResult):
            raise TypeError(f"{function.__name__} gave {type(known).__name__}, and must give a CallToolResult or None")
        return known.model_dump(mode="json", by_alias=True, exclude_none=True)

    return ask


def _declared(function: Callable[..., Any]) -> Declaration:
    declared = declaration_of(function)
    assert declared is not None
    return declared


def _telling(function: Callable[..., Any], threads: Threads) -> Callable[..., Any]:
    """Return `function` as an async one; if it is not, it runs in a thread.

    What it raises is told to the caller, which the SDK does for its ToolError only.
    """
    is_async = inspect.iscoroutinefunction(function)

    @functools.wraps(function)
    async def run(*arguments: Any, **named: Any) -> Any:
        try:
            if is_async:
                return await function(*arguments, **named)
            value = await threads.run(functools.partial(function, *arguments, **named))
            return (
                await value if inspect.isawaitable(value) else value
            )  # of a wrapper that does not say that it is async
        except (MCPError, ToolError):
            raise
        except Exception as error:
            _log.warning("tool %s raised", function.__name__, exc_info=error)
            raise ToolError(described(error)) from error

    return run
