"""Sees a task through that a server gave in the place of a result: asks how it stands until it is over.

Knows both forms as they are on the wire, that of 2025-11-25 and the extension of 2026-07-28 (SEP-2663); not how a
server is reached again, nor what a run comes to.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import anyio
from mcp import MCPError, types
from pydantic import ValidationError

from semel.core.call import Status
from semel.gateway.asker import QUESTIONS, Asker
from semel.gateway.taskmode import RELATED
from semel.gateway.upstreams.connection import Connection
from semel.gateway.upstreams.courier import Errand

LOOK_MIN_S = 0.1
LOOK_MAX_S = 10.0
"""The pause between two looks is the server's to say, within these bounds; where it says none, a tenth of the task's
age. The longest is a fraction of a run's default time limit, so that no task is over for long and nobody knows."""

ANSWER_S = 10.0
"""How long a server may take to say how a task stands; the next look is a new request."""

SILENCE_S = 30.0
"""For so long a server may say nothing of a task that can be understood before the task is lost: enough for a restart,
and under a run's default time limit, so that a lost task is told from a long one."""

CANCEL_S = 1.0
"""How long a server may take to hear that a task is not wanted any more; the run ends meanwhile."""

_STATUSES = ("working", "input_required", "completed", "failed", "cancelled")
_UNKNOWN = (types.INVALID_PARAMS, types.METHOD_NOT_FOUND)
"""The codes with which a server says that there is no such task, or that it has no tasks."""


class ConnectionGone(Exception):
    """The server, or its task, went away in the middle of a call: nobody can know whether the tool acted."""


class Parted(Exception):
    """The connection is lost; the task may not be."""


class TaskEnded(Exception):
    """The task came to an end that is no result, and no error of its server's; the text goes on after the tool's name.

    `status` is the outcome of the call.
    """

    def __init__(self, text: str, status: Status = Status.ERROR) -> None:
        super().__init__(text)
        self.status = status


class _Silence(Exception):
    """One request on the task had no answer; the task may be as well as before."""


class Polling:
    """One task, from the answer that gave it to its end.

    Raises:
        ConnectionGone: the answer names no task.
    """

    def __init__(self, server: str, given: Mapping[str, Any]) -> None:
        task_id = given.get("taskId")
        if not isinstance(task_id, str) or not task_id:
            raise ConnectionGone(f"the server {server!r} gave a task in the place of a result, and no taskId with it")
        self._server = server
        self._id = task_id
        self._state = given
        self._news = asyncio.Event()
        """Set when it may stand otherwise than when it was looked at last."""
        self._began_s = self._heard_s = asyncio.get_running_loop().time()
        self._asked: dict[str, asyncio.Task[dict[str, Any]]] = {}
        """What the task has asked, in the form of 2026-07-28, by its keys; each is asked once."""
        self._told: set[str] = set()
        """The keys of the answers that have reached it."""

    async def over(self, connection: Connection, asker: Asker) -> dict[str, Any]:
        """Return the result of the call once the task is over; what it asks meanwhile goes to `asker`.

        Whoever cancels this has the task cancelled.

        Raises:
            MCPError: the call failed with this protocol error.
            pydantic.ValidationError: the task is completed, and its result is no result of a tool.
            TaskEnded: it came to another end.
            Parted: the connection is lost; this may go on over another one.
            ConnectionGone: nobody can know any more what comes of the task.
        """
        with connection.attending(asker, self._id, self._news.set) as attended:
            try:
                result = await self._until_over(connection, attended)
                await connection.settle(attended)
                return result
            except (asyncio.CancelledError, TaskEnded):
                await self._cancel(connection, attended)
                raise

    def withdraw(self) -> None:
        """Let what is still being asked of the client be asked no more."""
        for each in self._asked.values():
            each.cancel()

    @property
    def patience_s(self) -> float:
        """How much longer nothing need be heard of the task before it is lost."""
        return self._heard_s + SILENCE_S - asyncio.get_running_loop().time()

    def silent(self, reason: str) -> None:
        """Note that nothing was heard of the task; raises ConnectionGone if that has been so for too long."""
        if self.patience_s <= 0:
            raise ConnectionGone(
                f"the server {self._server!r} has said nothing of this call's task for {SILENCE_S:g} s: {reason}"
            )

    async def _until_over(self, connection: Connection, asker: Asker) -> dict[str, Any]:
        """Look at the task until it is over."""
        if self._state.get("status") in (None, "working"):
            await self._pause()
        while True:
            self._news.clear()
            try:
                self._note(await self._ask(connection, asker, "tasks/get"))
                result = await self._act(connection, asker)
                if result is not None:
                    return result
            except _Silence as silence:
                self.silent(str(silence))
            await self._pause()

    async def _act(self, connection: Connection, asker: Asker) -> dict[str, Any] | None:
        """Do what the task's state asks for, and return its result if there is one."""
        match self._state["status"]:
            case "input_required" if connection.modern:
                await self._answer(connection, asker)
            case "input_required":
                return await self._result(connection, asker)  # in its course the server asks
            case "completed" if connection.modern:
                if not isinstance(result := self._state.get("result"), dict):
                    raise TaskEnded("ran, and its server does not give the result: there is none in its task")
                return _fit(result)
            case "failed" if connection.modern:
                raise self._failure()
            case "completed" | "failed":
                return await self._result(connection, asker)
            case "cancelled":
                said = self._said("it gives no reason")
                raise TaskEnded(f"was cancelled by its server, and may have acted: {said}", Status.CANCELLED)
        return None

    # What is asked of the server.

    async def _ask(
        self, connection: Connection, asker: Asker, method: str, *, blocks: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Return what the server answers to a request on the task; one that `blocks` may take as long as the task."""
        if connection.lost:
            raise Parted
        errand, limit_s = Errand(), None if blocks else ANSWER_S
        try:
            async with asyncio.timeout(limit_s):
                return await connection.ask(method, {"taskId": self._id, **more}, asker, errand)
        except TimeoutError:
            raise _Silence(f"no answer to {method} within {ANSWER_S:g} s") from None
        except MCPError as error:
            if blocks:  # while it was open, there was nothing else to be heard
                self._heard_s = asyncio.get_running_loop().time()
            if errand.forgotten or connection.explains(error):
                connection.lose()
                raise Parted from error
            if (reason := errand.broken or errand.refused or errand.said) is not None:
                raise _Silence(reason) from error
            if method != "tasks/get":
                raise
            if error.code in _UNKNOWN:
                raise ConnectionGone(
                    f"the server {self._server!r} does not know this call's task any more: {error.message}"
                ) from error
            raise _Silence(f"{error.message} (protocol error {error.code})") from error

    def _note(self, said: Mapping[str, Any]) -> None:
        """Take what the server says of the task, if that is what it says."""
        if said.get("taskId") != self._id:
            raise _Silence("what it answers to tasks/get is not of this task")
        if said.get("status") not in _STATUSES:
            raise _Silence(f"what it answers to tasks/get has no status that MCP knows: {said.get('status')!r:.100}")
        self._state = said
        self._heard_s = asyncio.get_running_loop().time()

    async def _result(self, connection: Connection, asker: Asker) -> dict[str, Any] | None:
        """Return what the call came to, as 2025-11-25 has it; None if that cannot be told yet."""
        status = self._state["status"]
        try:
            answer = await self._ask(connection, asker, "tasks/result", blocks=True)
        except MCPError as error:
            if status == "failed":
                raise
            if status == "completed":
                text = f"ran, and its server does not give the result: {error.message} (protocol error {error.code})"
                raise TaskEnded(text) from error
            return None  # it may have failed meanwhile, of which this is the error; the next look tells
        return _fit(answer)

    async def _cancel(self, connection: Connection, asker: Asker) -> None:
        """Have the task cancelled, as far as a server heeds that."""
        if self._state.get("status") in ("completed", "failed", "cancelled"):
            return
        with anyio.move_on_after(CANCEL_S, shield=True), contextlib.suppress(MCPError, Parted, _Silence):
            await self._ask(connection, asker, "tasks/cancel")

    # What the task asks, in the form of 2026-07-28.

    async def _answer(self, connection: Connection, asker: Asker) -> None:
        """Put to the client what the task asks, and give it the answers once there are all of them."""
        requests = self._state.get("inputRequests")
        if not isinstance(requests, dict):
            raise _Silence("it says that it needs input, and not which")
        for key in (each for each in requests if each not in self._asked):
            self._asked[key] = asyncio.create_task(_put(requests[key], connection), name="a task's question")
            self._asked[key].add_done_callback(self._replied)
        due = {key: self._asked[key] for key in requests if key not in self._told}
        try:
            answers = {key: each.result() for key, each in due.items() if each.done()}
        except MCPError as error:  # it can only be told of answers
            raise TaskEnded(
                f"asks for more input, and cannot have it: {error.message}. It was told to stop, and may have acted"
            ) from error
        if not due or len(answers) < len(due):
            return
        try:
            await self._ask(connection, asker, "tasks/update", inputResponses=answers)
        except MCPError as error:
            raise _Silence(f"it does not take the answers: {error.message} (protocol error {error.code})") from error
        self._told |= answers.keys()
        self._news.set()

    def _replied(self, asked: "asyncio.Task[dict[str, Any]]") -> None:
        if not asked.cancelled():
            asked.exception()  # it is looked at if the task still asks
        self._news.set()

    # How it stands.

    def _failure(self) -> MCPError:
        """Return the error with which the call failed."""
        try:
            return MCPError.from_error_data(types.ErrorData.model_validate(self._state.get("error")))
        except ValidationError:
            return MCPError(types.INTERNAL_ERROR, self._said("its task failed, and gives no error"))

    def _said(self, otherwise: str) -> str:
        message = self._state.get("statusMessage")
        return message if isinstance(message, str) and message else otherwise

    async def _pause(self) -> None:
        """Wait until the task is to be looked at again, or may stand otherwise."""
        pause_ms = self._state.get("pollIntervalMs", self._state.get("pollInterval"))
        if not isinstance(pause_ms, int | float) or isinstance(pause_ms, bool):
            pause_ms = 100 * (asyncio.get_running_loop().time() - self._began_s)
        pause_ms = min(max(1000 * LOOK_MIN_S, pause_ms), 1000 * LOOK_MAX_S)  # whatever number it is, or is none
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), pause_ms / 1000)


async def _put(request: Any, connection: Connection) -> dict[str, Any]:
    """Return the client's answer to what a task asks."""
    method, params = (request.get("method"), request.get("params")) if isinstance(request, dict) else (None, None)
    if method not in QUESTIONS:
        raise MCPError(types.INVALID_REQUEST, f"{method!r:.100} is nothing that a client can be asked")
    return await connection.asked(method, params if isinstance(params, dict) else {})


def _fit(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a call as its task gave it; raises ValidationError if it is none."""
    types.CallToolResult.model_validate(answer, by_name=False)
    said = {name: value for name, value in (answer.get("_meta") or {}).items() if name != RELATED}
    return {**answer, "resultType": "complete", "_meta": said}  # without the name of a task that is nobody's business
