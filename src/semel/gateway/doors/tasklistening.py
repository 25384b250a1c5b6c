"""Tells a client that listens (`subscriptions/listen`) how the tasks stand that it names, whenever that changes.

The SDK's own listening knows no tasks: what a client is told of them goes over the same stream, from beside it. Whose
tasks those are, and how they stand, a `Desk` knows.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
from mcp import MCPError, types
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY

from semel.errors import SemelError, UnknownTask
from semel.gateway.doors.asked import Context
from semel.gateway.doors.tasking import Desk

TASKS_MAX = 64
"""Of so many tasks one stream tells; of more, its client is told that it has to ask."""

WATCHED_MAX = 4096
"""Of so many tasks all streams together tell: each is looked at again and again, be it seldom."""

AGAIN_S = 1.0
"""The pause before a task is looked at again of which it cannot be told just now how it stands."""

AGREE_S = 5.0
"""How long a stream waits for word of its tasks before it begins without them."""

_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_NOT_NEWS = ("resultType", "pollIntervalMs")
"""What of a task is of one answer, and no change of the task."""


def names_tasks(context: Context) -> bool:
    """Return whether a client that listens wants to be told of tasks."""
    return bool(_task_ids(context))


class TaskListening:
    """The streams of one server; `desk` gives what knows its tasks, if anything does just now."""

    def __init__(self, desk: Callable[[], Desk | None]) -> None:
        self._desk = desk
        self._watched = 0

    async def serve(self, context: Context, call_next: CallNext) -> HandlerResult:
        """Serve a stream, which tells of tasks as well: of those that are agreed upon as it begins."""
        desk = self._desk()
        task_ids = _task_ids(context)[: min(TASKS_MAX, WATCHED_MAX - self._watched)]
        self._watched += len(task_ids)
        stream: Any = _Stream(context)
        telling = {} if desk is None else {each: _Telling(stream, desk, each) for each in task_ids}
        try:
            if telling:
                await asyncio.wait([each.agreed for each in telling.values()], timeout=AGREE_S)
            stream.task_ids = [task_id for task_id, each in telling.items() if each.agrees()]
            return await call_next(replace(context, session=stream))
        finally:
            self._watched -= len(task_ids)
            for each in telling.values():
                each.end()


class _Stream:
    """The session of a request that listens, in whose acknowledgement the tasks are named that it hears of."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._own: Any = context.session
        self._acknowledged = asyncio.Event()
        self.task_ids: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    async def send_notification(self, notification: Any, related_request_id: types.RequestId | None = None) -> None:
        """Send what the SDK has to say; with the first of it, the stream has begun."""
        if notification.method == _ACKNOWLEDGED:
            honored = notification.params.notifications.model_copy(update={"taskIds": self.task_ids})
            params = notification.params.model_copy(update={"notifications": honored})
            notification = notification.model_copy(update={"params": params})
        await self._own.send_notification(notification, related_request_id)
        self._acknowledged.set()

    async def tell(self, state: Mapping[str, Any]) -> None:
        """Tell how a task stands, once the stream has begun."""
        await self._acknowledged.wait()
        told = {name: value for name, value in state.items() if name != "resultType"}
        told["_meta"] = {**told.get("_meta", {}), SUBSCRIPTION_ID_META_KEY: self.context.request_id}
        await self._own.send_notification(_Status(params=told), self.context.request_id)


class _Telling:
    """One task on one stream; `agreed` is done once it is known whether it can be told of."""

    def __init__(self, stream: _Stream, desk: Desk, task_id: str) -> None:
        self._stream = stream
        self._said: Mapping[str, Any] = {}
        self.agreed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._tell(desk, task_id), name="tell of a task")

    def agrees(self) -> bool:
        """Return whether it is told of; if that is not known by now, it is not."""
        if not self.agreed.done():
            self.end()
        return self.agreed.done() and self.agreed.result()

    def end(self) -> None:
        """Tell no more."""
        self._task.cancel()

    async def _tell(self, desk: Desk, task_id: str) -> None:
        """Tell how a task stands, and again whenever that changes, until it is over."""
        try:
            while True:
                try:
                    return await self._tell_while_known(desk, task_id)
                except (UnknownTask, MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError):
                    return None  # there is none any more, or nobody who listens
                except SemelError:
                    if not self.agreed.done():
                        return None
                await asyncio.sleep(AGAIN_S)
        finally:
            if not self.agreed.done():
                self.agreed.set_result(False)

    async def _tell_while_known(self, desk: Desk, task_id: str) -> None:
        async with aclosing(desk.states(self._stream.context, task_id)) as states:
            async for state in states:
                if not self.agreed.done():
                    self.agreed.set_result(True)
                news = {name: value for name, value in state.items() if name not in _NOT_NEWS}
                if news != self._said:
                    await self._stream.tell(state)
                self._said = news


class _Status(types.Notification[dict[str, Any], str]):
    method: str = "notifications/tasks"


def _task_ids(context: Context) -> list[str]:
    wanted = (context.params or {}).get("notifications")
    task_ids = wanted.get("taskIds") if isinstance(wanted, dict) else None
    if not isinstance(task_ids, list):
        return []
    return list(dict.fromkeys(each for each in task_ids if isinstance(each, str)))
