"""Makes MCP servers of Python objects: those of the `mcp` SDK and of `fastmcp` as they are, or of marked functions.

`fastmcp` is looked for only if somebody has imported it.
"""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mcp import MCPError
from mcp.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from semel.core.call import Effect
from semel.errors import TargetError
from semel.gateway import meta
from semel.gateway.declare import Declaration, declaration_of
from semel.gateway.results import described

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


def serve_functions(functions: Sequence[Callable[..., Any]], *, name: str, place: str) -> Server[Any]:
    """Return a server of marked functions; the SDK makes the schemas of their type hints.

    Raises:
        TargetError: two of them have one name, or one has no schema; `place` is where they were found.
    """
    server = MCPServer(name, log_level="WARNING")
    seen: dict[str, Callable[..., Any]] = {}
    for function in functions:
        declared = _declared(function)
        if (other := seen.setdefault(declared.name, function)) is not function:
            raise TargetError(
                f"{place}: two tools are named {declared.name!r}: the functions {other.__qualname__} and "
                f"{function.__qualname__}. Give one of them another: @semel.tool(name=…)"
            )
        try:
            _add(server, function, declared)
        except Exception as error:  # the SDK raises of many kinds for a signature that has no schema
            raise TargetError(f"{place}: no schema can be made of {function.__qualname__}: {error}") from error
    return server._lowlevel_server  # as in `server_of`


def _add(server: MCPServer[Any], function: Callable[..., Any], declared: Declaration) -> None:
    said: dict[str, Any] = {meta.EFFECT: str(declared.effect)}
    if declared.timeout_s is not None:
        said[meta.TIMEOUT] = declared.timeout_s
    if declared.serialize_by is not None:
        said[meta.SERIALIZE_BY] = declared.serialize_by
    server.add_tool(
        _telling(function),
        name=declared.name,
        description=declared.description or inspect.getdoc(function),
        annotations=ToolAnnotations(
            read_only_hint=declared.effect is Effect.READ,
            idempotent_hint=declared.effect is not Effect.ONCE,
        ),
        meta=said,
    )


def _declared(function: Callable[..., Any]) -> Declaration:
    declared = declaration_of(function)
    assert declared is not None
    return declared


def _telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` so that what it raises is told to the caller, which the SDK does for its ToolError only."""

    def told(error: Exception) -> ToolError:
        _log.warning("tool %s raised", function.__name__, exc_info=error)
        return ToolError(described(error))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*arguments: Any, **named: Any) -> Any:
            try:
                return await function(*arguments, **named)
            except (MCPError, ToolError):
                raise
            except Exception as error:
                raise told(error) from error

        return run_async

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except (MCPError, ToolError):
            raise
        except Exception as error:
            raise told(error) from error

    return run
