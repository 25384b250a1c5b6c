"""What a `Desk` is, where calls become tasks and tasks are asked after, and which requests on them it may answer.

There is one for a node, and one for the client of `semel connect`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from mcp import MCPError, types
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from semel.gateway import meta
from semel.gateway.doors.asked import ERA_2025, Asked, Context
from semel.gateway.taskmode import EXTENSION, TaskMode

Ask = Callable[[], Awaitable[Mapping[str, Any]]]
"""Asks for the answer to a tools/call."""

_WRAPPED = "dev.semel/task-of-2025"
"""In `_meta`, a task on its way through the SDK, which knows no tools/call of a handshake era that gives one."""


class TaskParams(types.RequestParams):
    """What asks after a task."""

    task_id: str


class UpdateParams(TaskParams):
    """What answers a task's questions."""

    input_responses: dict[str, Any]


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

    def states(self, context: Context, task_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield a task in the form of the extension, and again when it may have changed, until it is over.

        Raises:
            UnknownTask: there is none of that id, or not for this caller; or its result is forgotten.
            SemelError: it cannot be told just now.
        """
        ...


def as_given_in_2025(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of 2025-11-25 to a tools/call that has become a task, as the SDK lets it through."""
    return {"content": [], "_meta": {_WRAPPED: dict(task)}}


def given_in_2025(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the task of such an answer, None if it is of another kind."""
    task: Mapping[str, Any] | None = (result.get("_meta") or {}).get(_WRAPPED)
    return task


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
