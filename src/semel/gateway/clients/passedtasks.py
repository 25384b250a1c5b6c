"""The tasks of a cluster for the client of `semel connect`: those of its version, made of those of 2026-07-28.

A `Desk` at which nothing is kept: the task is the nodes', and each request on it is asked of one of them.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from mcp import MCPError, types
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from semel.gateway.doors.asked import Asked, Context, call_meta, check_text, find_caller
from semel.gateway.doors.driving import failure
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.inquiries import Inquiry
from semel.gateway.doors.tasking import (
    Ask,
    TaskParams,
    admit,
    already_over,
    as_given_in_2025,
    not_stopped_yet,
    only_as_task,
)
from semel.gateway.doors.tasks import CANCEL_S
from semel.gateway.doors.taskview import UNDER_WAY, as_of_2025, result_of_2025

_LOOK_FIRST_S = 0.05
"""The pause before a task is looked at again whose client waits for its result; it doubles, up to what the nodes
advise, which is a tenth of the time that the task has taken."""

AskNodes = Callable[[Inquiry, Hearing], Awaitable[dict[str, Any]]]
"""Asks nodes, until one answers; as `ask` of a `Door`."""


class PassedTasks:
    """The tasks of one passage; `nodes` asks the cluster behind it."""

    def __init__(self, nodes: AskNodes) -> None:
        self._nodes = nodes

    async def answer(self, context: Context, tool: str, given: Asked, ask: Ask) -> Mapping[str, Any]:
        """Return what a node answers to a tools/call, in the form of the client's version if it is a task."""
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return await ask()
        try:
            result = await ask()
        except MCPError as error:
            if error.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY:
                raise only_as_task(tool) from error
            raise
        if result.get("resultType") != "task":
            return result  # as a node of a version gives it that cannot be told that a task is wanted
        task = result if result["status"] in UNDER_WAY else await _Asking(context, self._nodes).get(result["taskId"])
        return as_given_in_2025(as_of_2025(task))

    async def serve(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Answer a request on a task."""
        modern = admit(context, params.task_id)
        asking = _Asking(context, self._nodes)
        if modern:
            return await asking.nodes(context.method, context.params or {})
        match context.method:
            case "tasks/get":
                return as_of_2025(await asking.get(params.task_id))
            case "tasks/cancel":
                return as_of_2025(await asking.cancelled(params.task_id))
            case _:
                return await asking.result(params.task_id)

    def states(self, context: Context, task_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield a task as it stands, again and again, until it is over."""
        return _Asking(context, self._nodes).states(task_id)


class _Asking:
    """One request of the client's, for which nodes are asked."""

    def __init__(self, context: Context, nodes: AskNodes) -> None:
        self._context = context
        self._nodes = nodes

    async def nodes(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the nodes."""
        said = {**params, "_meta": call_meta(self._context)}
        check_text(said)
        async with Hearing(self._context, collects=False) as hearing:
            return await self._nodes(Inquiry(method=method, params=said, caller=find_caller(self._context)), hearing)

    async def get(self, task_id: str) -> dict[str, Any]:
        """Return a task as it stands, in the form of the extension."""
        return await self.nodes("tasks/get", {"taskId": task_id})

    async def cancelled(self, task_id: str) -> dict[str, Any]:
        """Return a task once it is over, which it is told to be."""
        task = await self.get(task_id)
        if task["status"] not in UNDER_WAY:
            raise already_over(task["status"])
        await self.nodes("tasks/cancel", {"taskId": task_id})
        try:
            async with asyncio.timeout(CANCEL_S):
                return await self._until_over(task_id)
        except TimeoutError:
            raise not_stopped_yet() from None

    async def result(self, task_id: str) -> dict[str, Any]:
        """Wait for a task's result, as 2025-11-25 has it; the client is asked meanwhile what the task asks."""
        task = await self._until_over(task_id, answers=True)
        if "error" in task:
            raise MCPError.from_error_data(types.ErrorData.model_validate(task["error"]))
        if "result" not in task:  # the extension tells none of a task that was cancelled
            return result_of_2025(task_id, failure(str(task.get("statusMessage", "the task was cancelled")), task))
        return result_of_2025(task_id, task["result"])

    async def _until_over(self, task_id: str, *, answers: bool = False) -> dict[str, Any]:
        """Look at a task until it is over; if it asks meanwhile, and with `answers`, so is the client."""
        async with aclosing(self.states(task_id)) as states:
            async for task in states:
                if answers and task["status"] == "input_required":
                    await self._answer(task_id, task["inputRequests"])
        return task

    async def states(self, task_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield a task as it stands, again and again, until it is over."""
        pause_s = _LOOK_FIRST_S
        while True:
            task = await self.get(task_id)
            yield task
            if task["status"] not in UNDER_WAY:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, task["pollIntervalMs"] / 1000)

    async def _answer(self, task_id: str, requests: Mapping[str, Any]) -> None:
        async with Hearing(self._context) as hearing:
            replies = {
                key: await hearing.ask(each["method"], each.get("params") or {}) for key, each in requests.items()
            }
        await self.nodes("tasks/update", {"taskId": task_id, "inputResponses": replies})
