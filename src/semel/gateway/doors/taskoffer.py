"""Offers tasks in a server of the SDK's, which knows none: their methods, and what of them has to go past it.

For any server whose calls may become tasks: a node's, that of `semel connect`, and an author's own.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp import MCPError
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult

from semel.errors import SemelError
from semel.gateway.doors.asked import ERA_2025, Context
from semel.gateway.doors.tasking import Desk, TaskParams, UpdateParams, declares, given_in_2025, missing_capability
from semel.gateway.doors.tasklistening import TaskListening, names_tasks
from semel.gateway.taskmode import EXTENSION, TaskMode, mode_of, with_support

CAPABILITY_OF_2025: Mapping[str, Any] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
"""What a server says to clients of 2025-11-25. It has no list of tasks: where nobody is authenticated, whoever has the
handle of a task may ask after it, and such a list would give everybody all of them."""

METHODS: Mapping[str, type[TaskParams]] = {
    "tasks/get": TaskParams,
    "tasks/update": UpdateParams,
    "tasks/cancel": TaskParams,
    "tasks/result": TaskParams,
}
"""The requests on tasks, of both eras, and the form of their parameters."""


Handler = Callable[[Context, Any], Awaitable[HandlerResult]]
Mode = Callable[[Mapping[str, Any]], TaskMode]
"""Tells whether the calls of a tool as it is listed become tasks."""


def handler_of(desk: Desk, told: Callable[[SemelError], MCPError]) -> Handler:
    """Return what serves the requests on tasks at a desk; `told` is how it tells errors."""

    async def handle(context: Context, params: Any) -> HandlerResult:
        try:
            return await desk.serve(context, params)
        except SemelError as error:
            raise told(error) from error

    return handle


def offer(server: Server[Any], handle: Handler, desk: Callable[[], Desk | None], mode: Mode = mode_of) -> None:
    """Have a server serve the requests on tasks by `handle`, and say so.

    `desk` gives what it is told by how tasks stand that it listens to, and `mode` is that of tools as it lists them.
    """
    server.extensions[EXTENSION] = {}
    server.middleware.append(_Passage(TaskListening(desk), mode))
    for method, form in METHODS.items():
        server.add_request_handler(method, form, handle)


def offers_its_own(server: Server[Any]) -> bool:
    """Return whether a server has tasks already."""
    return EXTENSION in server.extensions or any(server.get_request_handler(method) for method in METHODS)


class _Passage:
    """What of tasks has to go past the SDK, which knows none."""

    def __init__(self, listening: TaskListening, mode: Mode) -> None:
        self._listening = listening
        self._mode = mode

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        if ctx.method == "subscriptions/listen" and names_tasks(ctx):
            if not declares(ctx):
                raise missing_capability()
            return await self._listening.serve(ctx, call_next)
        result = await call_next(ctx)
        if not isinstance(result, dict):
            return result
        match ctx.method:
            case "initialize" if result.get("protocolVersion") == ERA_2025:
                return {**result, "capabilities": {**result["capabilities"], "tasks": CAPABILITY_OF_2025}}
            case "tools/list" if ctx.protocol_version == ERA_2025:
                return {**result, "tools": [with_support(tool, self._mode(tool)) for tool in result["tools"]]}
            case "tools/call" if ctx.protocol_version == ERA_2025 and (task := given_in_2025(result)) is not None:
                return {"task": task}
            case _:
                return result
