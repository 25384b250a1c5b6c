"""What the SDK does not know of tasks: their methods, who may ask which, and what of them has to go past it.

For any server whose calls may become tasks: a node's, that of `semel connect`, and an author's own. What a task is,
its `Desk` knows.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from mcp import MCPError, types
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from semel.errors import SemelError
from semel.gateway import meta
from semel.gateway.doors.asked import ERA_2025, Asked, Context
from semel.gateway.taskmode import EXTENSION, TaskMode, mode_of, with_support

Ask = Callable[[], Awaitable[Mapping[str, Any]]]
"""Asks for the answer to a tools/call."""

CAPABILITY_OF_2025: Mapping[str, Any] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
"""What a server says to clients of 2025-11-25. It has no list of tasks: without authentication nobody knows whose they
are, and everybody would see them all."""

_WRAPPED = "dev.semel/task-of-2025"
"""In `_meta`, a task on its way through the SDK, which knows no tools/call of a handshake era that gives one."""


class TaskParams(types.RequestParams):
    """What asks after a task."""

    task_id: str


class UpdateParams(TaskParams):
    """What answers a task's questions."""

    input_responses: dict[str, Any]


METHODS: Mapping[str, type[TaskParams]] = {
    "tasks/get": TaskParams,
    "tasks/update": UpdateParams,
    "tasks/cancel": TaskParams,
    "tasks/result": TaskParams,
}
"""The requests on tasks, of both eras, and the form of their parameters."""


class Desk(Protocol):
    """Where calls become tasks and tasks are asked after."""

    async def answer(self, context: Context, tool: str, given: Asked, ask: Ask) -> Mapping[str, Any]:
        """Return what `ask` answers to a tools/call, or a task, if its client can take one.

        Raises:
            MCPError: the tool wants to be called as a task and the request does not let it, or the other way round.
            SemelError: whatever `ask` raises.
        """
        ...

    async def serve(self, context: Context, params: Any) -> dict[str, Any]:
        """Answer a request on a task, one of `METHODS`; raises MCPError and SemelError."""
        ...


Handler = Callable[[Context, Any], Awaitable[HandlerResult]]
Mode = Callable[[Mapping[str, Any]], TaskMode]
"""Tells whether the calls of a tool as it is listed become tasks."""


def handler_of(desk: Desk, told: Callable[[SemelError], MCPError]) -> Handler:
    """Return what serves the requests on tasks; `told` is how it tells errors."""

    async def handle(context: Context, params: Any) -> HandlerResult:
        try:
            return await desk.serve(context, params)
        except SemelError as error:
            raise told(error) from error

    return handle


def offer(server: Server[Any], handle: Handler, mode: Mode = mode_of) -> None:
    """Have a server serve the requests on tasks by `handle`, and say so; `mode` is that of tools as it lists them."""
    server.extensions[EXTENSION] = {}
    server.middleware.append(_Passage(mode))
    for method, form in METHODS.items():
        server.add_request_handler(method, form, handle)


def offers_its_own(server: Server[Any]) -> bool:
    """Return whether a server has tasks already."""
    return EXTENSION in server.extensions or any(server.get_request_handler(method) for method in METHODS)


def as_given_in_2025(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of 2025-11-25 to a tools/call that has become a task, as the SDK lets it through."""
    return {"content": [], "_meta": {_WRAPPED: dict(task)}}


class _Passage:
    """What of tasks has to go past the SDK, which knows none."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        if ctx.method == "subscriptions/listen" and _wants_tasks(ctx) and not declares(ctx):
            raise missing_capability()
        result = await call_next(ctx)
        if not isinstance(result, dict):
            return result
        match ctx.method:
            case "initialize" if result.get("protocolVersion") == ERA_2025:
                return {**result, "capabilities": {**result["capabilities"], "tasks": CAPABILITY_OF_2025}}
            case "tools/list" if ctx.protocol_version == ERA_2025:
                return {**result, "tools": [with_support(tool, self._mode(tool)) for tool in result["tools"]]}
            case "tools/call" if (task := (result.get("_meta") or {}).get(_WRAPPED)) is not None:
                return {"task": task}
            case _:
                return result


def _wants_tasks(context: Context) -> bool:
    """Return whether a client asks to be told of tasks."""
    wanted = (context.params or {}).get("notifications")
    return isinstance(wanted, dict) and bool(wanted.get("taskIds"))


# Who may ask.


def declares(context: Context) -> bool:
    """Return whether this very request says that its client can take tasks."""
    return takes_tasks((context.params or {}).get("_meta") or {})


def takes_tasks(said: Mapping[str, Any]) -> bool:
    """Return whether a request's `_meta` says that its client can take tasks."""
    capabilities = said.get(CLIENT_CAPABILITIES_META_KEY)
    extensions = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    return isinstance(extensions, dict) and isinstance(extensions.get(EXTENSION), dict)


def admit(context: Context, task_id: str) -> bool:
    """Return whether a request on a task is of the new era, once it may be answered in its own.

    Raises:
        MCPError: its version has no such method, its headers name another task, or it does not declare the extension.
    """
    modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
    absent = "tasks/result" if modern else "tasks/update"
    if context.method == absent or not (modern or context.protocol_version == ERA_2025):
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", context.method)
    if not modern:
        return False
    if context.request is not None and decode_header_value(context.request.headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(types.HEADER_MISMATCH, f"the header {MCP_NAME_HEADER} does not name the task of the request")
    if not declares(context):
        raise missing_capability()
    return True


# What is refused.


def missing_capability() -> MCPError:
    """Return the error for a client that cannot take tasks where there is no other way."""
    needed: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    text = f"this needs a client that declares the extension {EXTENSION}. Nothing was run"
    return MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, text, needed)


def only_as_task(tool: str) -> MCPError:
    """Return the error for a client of 2025-11-25 that does not ask for the task that it would get."""
    return MCPError(types.METHOD_NOT_FOUND, f"{tool} can be called as a task only. Nothing was run")


def never_as_task(tool: str) -> MCPError:
    """Return the error for a client of 2025-11-25 that asks for a task of a tool that gives none."""
    text = f"{tool} cannot be called as a task. Nothing was run"
    return MCPError(types.METHOD_NOT_FOUND, text, {meta.TASK: str(TaskMode.NEVER)})


def already_over(status: str) -> MCPError:
    """Return the error for a client of 2025-11-25 that cancels what has ended."""
    return MCPError(types.INVALID_PARAMS, f"the task is {status} already")


def not_stopped_yet() -> MCPError:
    """Return the error for a client of 2025-11-25 that must be told that a task is cancelled, which is not yet so."""
    return MCPError(types.INTERNAL_ERROR, "the tool was told to stop, and has not stopped yet")
