"""The wire between the SDK's client session and its transport: what passes there unchanged, that is, as it came.

The session's own callbacks know typed models of one version each. Here a client's capabilities, a server's questions
and its notifications pass as JSON, so that nothing of them is lost.
"""

import itertools
from collections.abc import Mapping
from typing import Any, Protocol

import anyio.abc
from mcp.shared.direct_dispatcher import DirectDispatcher
from mcp.shared.dispatcher import (
    CallOptions,
    DispatchContext,
    Dispatcher,
    OnNotify,
    OnNotifyIntercept,
    OnRequest,
    ProgressFnT,
)
from mcp.shared.transport_context import TransportContext
from mcp_types import CLIENT_CAPABILITIES_META_KEY, LOG_LEVEL_META_KEY

from semel.gateway.asker import ASKER, NOBODY, QUESTIONS
from semel.gateway.upstreams.plainrequest import METHOD

DEFAULT_LEVEL = "info"
"""Of which level on a client of the handshake eras hears log lines, as long as it has not said so: that is the server's
to decide, and one of 2026-07-28 decides nothing for itself."""


class TaskGiven(Exception):
    """The answer to a call is a task in the place of a result, which the SDK's session does not let through."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        super().__init__("a task in the place of a result")
        self.task = task


class Hears(Protocol):
    """Who hears what a server says of its own accord."""

    async def asked(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a question; raises MCPError."""
        ...

    def heard(self, method: str, params: Mapping[str, Any]) -> None:
        """Take a notification."""
        ...


class Wire:
    """A `Dispatcher` of the SDK in front of another.

    `capabilities` is what a server is told of clients as long as none of them asks.
    """

    def __init__(self, inner: Dispatcher[Any], hears: Hears, capabilities: Mapping[str, Any]) -> None:
        self._inner = inner
        self._hears = hears
        self._capabilities = capabilities
        self._tokens = itertools.count(1)
        self._progress: dict[object, ProgressFnT] = {}

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Send a request, with the capabilities of whoever asks for it.

        Raises:
            TaskGiven: the answer is a task.
        """
        stamped = self._stamped(method, params)
        answer = await self._sent(method, stamped, opts)
        if method == METHOD and (task := _task_in(answer, stamped or {})) is not None:
            raise TaskGiven(task)
        return answer

    async def _sent(self, method: str, stamped: Mapping[str, Any] | None, opts: CallOptions | None) -> dict[str, Any]:
        told = (opts or {}).get("on_progress")
        if told is None or not isinstance(self._inner, DirectDispatcher):
            return await self._inner.send_raw_request(method, stamped, opts)
        # Within this process the SDK hands the callback over, and no token. A tool may look for one all the same.
        token = next(self._tokens)
        self._progress[token] = told
        try:
            said = {**((stamped or {}).get("_meta") or {}), "progressToken": token}
            return await self._inner.send_raw_request(method, {**(stamped or {}), "_meta": said}, opts)
        finally:
            del self._progress[token]

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send a notification."""
        await self._inner.notify(method, params, opts)

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Receive until the connection ends."""

        async def take_request(
            context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None
        ) -> dict[str, Any]:
            if method in QUESTIONS:
                return await self._hears.asked(method, params or {})
            return await on_request(context, method, params)

        async def take_notification(
            context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None
        ) -> None:
            told = self._progress.get((params or {}).get("progressToken"))
            if method == "notifications/progress" and told is not None and params is not None:
                await told(params["progress"], params.get("total"), params.get("message"))
                return
            self._hears.heard(method, params or {})
            await on_notify(context, method, params)

        await self._inner.run(take_request, take_notification, on_notify_intercept, task_status=task_status)

    def _stamped(self, method: str, params: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if method == "initialize":
            return {**(params or {}), "capabilities": self._capabilities}
        said = (params or {}).get("_meta")
        if not isinstance(said, dict) or CLIENT_CAPABILITIES_META_KEY not in said:
            return params
        asker = ASKER.get()
        capabilities = self._capabilities if asker is NOBODY else asker.capabilities
        said = {**said, CLIENT_CAPABILITIES_META_KEY: dict(capabilities)}
        if asker.logs_unasked:
            said.setdefault(LOG_LEVEL_META_KEY, DEFAULT_LEVEL)
        return {**(params or {}), "_meta": said}


def _task_in(answer: Mapping[str, Any], sent: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the task that an answer is, None if it is a result, or neither."""
    if "task" in sent:
        return task if isinstance(task := answer.get("task"), dict) else None
    is_modern = CLIENT_CAPABILITIES_META_KEY in (sent.get("_meta") or {})
    return answer if is_modern and answer.get("resultType") == "task" else None
