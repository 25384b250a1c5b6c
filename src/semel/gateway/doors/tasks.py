"""Tasks at the door: a call that takes long is answered with a handle, and asked after, answered or given up by it.

The tasks extension of MCP 2026-07-28 (SEP-2663), and the tasks of 2025-11-25 but for their list. A task is nothing but
a semel call: it stands in the log before its handle is given, its handle is a token that every node reads, and so
there is nothing of it to be lost with a node. Knows the `Witness`; how a task is told is `taskview`'s.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp import MCPError, types
from mcp.server import Server
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from semel.core.call import CallId, Record, Status
from semel.errors import KeyReused, KeyStale, SemelError, Unconfirmed, Undecided, UnknownTask
from semel.gateway import meta
from semel.gateway.doors.asked import ANONYMOUS, Context, find_caller
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.taskid import TaskId
from semel.gateway.doors.taskview import (
    RELATED,
    View,
    answers_to,
    as_of_2025,
    created,
    detailed,
    going_on,
    still_asked,
    view,
)
from semel.gateway.taskmode import EXTENSION, TaskMode, mode_of
from semel.node.asides import Party, Question
from semel.node.backend import Details, Witness, tool_named
from semel.node.settled import settling

ERA_2025 = "2025-11-25"
"""The one version before the extension that knows tasks."""

AUTO_S = 2.0
"""A call of an `auto` tool becomes a task if it has not ended by then. Most calls end sooner and cost no second
request; and no client, proxy or user has given up yet, the most impatient of which do after five to ten seconds."""

CAPABILITY_OF_2025 = types.ServerTasksCapability(
    cancel=types.TasksCancelCapability(),
    requests=types.ServerTasksRequestsCapability(tools=types.TasksToolsCapability(call=types.TasksCallCapability())),
)
"""What a server says to clients of 2025-11-25. It has no list of tasks: without authentication nobody knows whose they
are, and everybody would see them all."""

WITHDRAWN_S = 1.0
"""How long it is waited for a running tool to have taken an answer, so that it is not seen to ask again."""

CANCEL_S = 3.0
"""How long a client of 2025-11-25, which must be told that a task is cancelled, waits for that."""

TRIES_MAX = 8
"""How often an answer is tried again that others were quicker than, each time on what they left to answer."""

_WRAPPED = "dev.semel/task-of-2025"
"""In `_meta`, a task on its way through the SDK, which knows no tools/call of a handshake era that gives one."""


class _TaskParams(types.RequestParams):
    task_id: str


class _UpdateParams(_TaskParams):
    input_responses: dict[str, Any]


class Tasks:
    """The tasks of one node's clients."""

    def __init__(self, backend: Witness) -> None:
        self._backend = backend

    def offer(self, server: Server[Any], told: Callable[[SemelError], MCPError]) -> None:
        """Have a server serve the methods of tasks and say so; `told` is how it tells errors."""

        def telling(handle: Callable[[Context, Any], Awaitable[dict[str, Any]]]) -> Any:
            async def handled(context: Context, params: Any) -> dict[str, Any]:
                try:
                    return await handle(context, params)
                except SemelError as error:
                    raise told(error) from error

            return handled

        server.extensions[EXTENSION] = {}
        server.middleware.append(_Passage())
        server.add_request_handler("tasks/get", _TaskParams, telling(self._get))
        server.add_request_handler("tasks/update", _UpdateParams, telling(self._update))
        server.add_request_handler("tasks/cancel", _TaskParams, telling(self._cancel))
        server.add_request_handler("tasks/result", _TaskParams, telling(self._result))

    # The beginning.

    async def answer(
        self, context: Context, tool: str, call: CallId, ask: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> Mapping[str, Any]:
        """Return what `ask` answers to a tools/call, or the handle of a task, if its client can take one.

        Raises:
            MCPError: the tool wants to be called as a task and the request does not let it, or the other way round.
            SemelError: whatever `ask` raises.
        """
        mode = self._mode(tool)
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            able = declares(context)
            if mode is TaskMode.REQUIRED and not able:
                raise missing_capability()
            if mode is TaskMode.NEVER or not able:
                return await ask()
            after_s = AUTO_S if mode is TaskMode.AUTO else None
            return await self._begin(call, ask, after_s, created)
        wanted = context.protocol_version == ERA_2025 and "task" in (context.params or {})
        if wanted and mode is TaskMode.NEVER:
            raise MCPError(types.METHOD_NOT_FOUND, f"{tool} cannot be called as a task. Nothing was run")
        if mode is TaskMode.REQUIRED and not wanted:
            raise MCPError(types.METHOD_NOT_FOUND, f"{tool} can be called as a task only. Nothing was run")
        if not wanted:
            return await ask()
        return {"content": [], "_meta": {_WRAPPED: await self._begin(call, ask, None, as_of_2025)}}

    def _mode(self, tool: str) -> TaskMode:
        shown = tool_named(self._backend.tools(), tool)
        return TaskMode.NEVER if shown is None else mode_of(shown)

    async def _begin(
        self,
        call: CallId,
        ask: Callable[[], Awaitable[Mapping[str, Any]]],
        after_s: float | None,
        shape: Callable[[View, int, int], dict[str, Any]],
    ) -> Mapping[str, Any]:
        """Return the task that a call has become, once it stands in the log; its answer, if that comes in `after_s`."""
        answer = await self._until_begun(call, ask, after_s)
        if answer is not None and after_s is not None:
            return answer
        rounds = await self._rounds(call)
        if not rounds:
            raise Undecided(f"the call {call.key!r} has begun and cannot be found: ask again under its key")
        task = TaskId.of(rounds[0], self._backend.cluster_id)
        return self._told(shape, view(task.text(), rounds))

    async def _until_begun(
        self, call: CallId, ask: Callable[[], Awaitable[Mapping[str, Any]]], after_s: float | None = None
    ) -> Mapping[str, Any] | None:
        """Wait for the answer until the call stands in the log, but for `after_s` at least; None if there is none yet.

        What is waited for no more goes on all the same.
        """
        answer = asyncio.ensure_future(ask())
        begun = asyncio.ensure_future(self._backend.begun(call))
        try:
            if after_s is not None:
                await asyncio.wait([answer], timeout=after_s)
            await asyncio.wait([answer, begun], return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            answer.cancel()
            begun.cancel()
            await asyncio.gather(answer, begun, return_exceptions=True)

    # What is asked of a task.

    async def _get(self, context: Context, params: _TaskParams) -> dict[str, Any]:
        modern = _admit(context, params.task_id, since=ERA_2025)
        task = await self._find(context, params.task_id)
        if task.last.status is Status.INPUT_REQUIRED and not task.requests:  # it only wants to be called again
            answers, _ = answers_to(task.rounds, {})
            await self._go_on(task, answers or {})
            task = await self._find(context, params.task_id)
        return self._told(detailed if modern else as_of_2025, task)

    async def _update(self, context: Context, params: _UpdateParams) -> dict[str, Any]:
        """Begin the next round with what is answered; or, if that is not all, a round that asks for the rest."""
        _admit(context, params.task_id)
        await self._deliver(context, params.task_id, params.input_responses)
        return {}

    async def _cancel(self, context: Context, params: _TaskParams) -> dict[str, Any]:
        """Have the tool told to stop; a call that waits for answers is ended at once."""
        modern = _admit(context, params.task_id, since=ERA_2025)
        task = await self._find(context, params.task_id)
        if not modern and task.over:
            raise MCPError(types.INVALID_PARAMS, f"the task is {task.status} already")
        if task.last.status is Status.RUNNING:
            self._backend.asides.cancel(task.last.id)
        await self._while_waiting(context, params.task_id, _given_up)
        return {} if modern else await self._cancelled(context, params.task_id)

    async def _result(self, context: Context, params: _TaskParams) -> dict[str, Any]:
        """Wait for the result, as 2025-11-25 has it: by asking for the call again, under its key."""
        if context.protocol_version != ERA_2025:
            raise _no_method(context)
        task = await self._asking(context, params.task_id)
        if task.error is not None:
            raise MCPError(task.error["code"], task.error["message"], task.error.get("data"))
        result = dict(task.result or {})
        if not isinstance(result.get("structuredContent", {}), dict):
            del result["structuredContent"]  # this version knows objects only; the content says the same
        return {**result, "_meta": {**result.get("_meta", {}), RELATED: {"taskId": params.task_id}}}

    async def _asking(self, context: Context, task_id: str) -> View:
        """Return a task of 2025-11-25 once it is over; its client is asked meanwhile what its tool wants to know."""
        async with Hearing(context) as hearing:
            while True:
                await self._wait(await self._find(context, task_id), hearing)
                task = await self._find(context, task_id)
                if task.over:
                    return task
                asked = task.requests.items()
                replies = {key: await hearing.ask(each["method"], each.get("params") or {}) for key, each in asked}
                await self._deliver(context, task_id, replies)

    async def _cancelled(self, context: Context, task_id: str) -> dict[str, Any]:
        """Return a task of 2025-11-25 once it is over."""
        task = await self._find(context, task_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await self._wait(task)
        task = await self._find(context, task_id)
        if not task.over:
            raise MCPError(types.INTERNAL_ERROR, f"{task.last.tool} was told to stop, and has not stopped yet")
        return self._told(as_of_2025, task)

    # The call behind it.

    async def _find(self, context: Context, task_id: str) -> View:
        """Return the task of that id as it stands.

        Raises:
            UnknownTask: no node gave that id, or gave it to another caller; or its result is forgotten.
            Unconfirmed: the log does not tell just now.
        """
        task = TaskId.read(task_id)
        if task is None or not _may_see(context, task):
            raise _unknown()
        try:
            rounds = await self._rounds(CallId(task.caller, task.key))
        except Unconfirmed as error:
            raise Unconfirmed(f"this node cannot tell how the task stands just now, ask again: {error}") from error
        if not rounds or not task.names(rounds[0], self._backend.cluster_id):
            raise _unknown()
        if any(each.forgotten for each in rounds):
            raise UnknownTask("the task has expired: its result is forgotten")
        listener = _Listener()
        with self._backend.asides.waiting(rounds[-1].id, listener):
            return view(task_id, rounds, listener.questions)

    async def _rounds(self, call: CallId) -> list[Record]:
        """Return what the log has of a call, round by round."""
        rounds: list[Record] = []
        while not rounds or rounds[-1].status is Status.INPUT_REQUIRED:
            wanted = CallId(call.caller, call.key, len(rounds) + 1)
            record = await self._backend.stand(wanted)
            if record is None:
                break
            assert record.id == wanted, record.id
            rounds.append(record)
        return rounds

    async def _deliver(self, context: Context, task_id: str, responses: Mapping[str, Any]) -> None:
        """Hand what is answered to the tool that asks: to its run, or in its next round.

        If that is not all, a round begins that asks for the rest. What is not asked is let go.
        """

        def next_round(task: View) -> Mapping[str, Any] | None:
            answers, rest = answers_to(task.rounds, responses)
            if answers is None or not rest:
                return answers
            return settling(answers, Status.INPUT_REQUIRED, still_asked(task.rounds, rest))

        task = await self._find(context, task_id)
        if task.last.status is Status.RUNNING:
            await self._reply(task.last.id, responses)
        else:
            await self._while_waiting(context, task_id, next_round)

    async def _reply(self, call: CallId, responses: Mapping[str, Any]) -> None:
        """Answer what a running tool asks, and wait until it has taken it."""
        listener = _Listener()
        with self._backend.asides.waiting(call, listener):
            answered = [key for key in responses if key in listener.questions]
            for key in answered:
                listener.questions[key].answer(result=responses[key])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WITHDRAWN_S):
                    while any(key in listener.questions for key in answered):
                        listener.withdrew.clear()
                        await listener.withdrew.wait()

    async def _while_waiting(
        self, context: Context, task_id: str, next_round: Callable[[View], Mapping[str, Any] | None]
    ) -> None:
        """Begin the next round of a task that waits for answers, with what `next_round` makes of it; None ends that.

        If somebody else begins it first, what they left is looked at again.
        """
        for _ in range(TRIES_MAX):
            task = await self._find(context, task_id)
            answers = next_round(task) if task.last.status is Status.INPUT_REQUIRED else None
            if answers is None:
                return None
            try:
                return await self._go_on(task, answers)
            except KeyReused:
                continue
        raise Undecided("others answer this task at the same time: look how it stands, and answer again")

    async def _go_on(self, task: View, answers: Mapping[str, Any]) -> None:
        """Begin the next round of a task, and wait until it stands in the log."""
        last = task.last
        number = last.id.round + 1

        async def ask() -> Mapping[str, Any]:
            await self._ask(last, number, answers)
            return {}

        await self._until_begun(CallId(last.id.caller, last.id.key, number), ask)

    async def _wait(self, task: View, party: Party | None = None) -> None:
        """Wait until what runs of a task comes to an end; `party` hears what it asks."""
        last = task.last
        answers = None if last.answers is None else json.loads(bytes(last.answers))
        try:
            await self._ask(last, last.id.round, answers, party)
        except KeyStale as error:
            raise UnknownTask("the task has expired: its result is forgotten") from error

    async def _ask(
        self, record: Record, number: int, answers: Mapping[str, Any] | None, party: Party | None = None
    ) -> None:
        """Ask for a round of a call, as its client did."""
        await self._backend.call(
            record.tool,
            json.loads(bytes(record.arguments)),
            key=record.id.key,
            caller=record.id.caller,
            client=record.client,
            details=Details(meta=json.loads(bytes(record.meta)), round=number, answers=answers),
            party=party,
        )

    def _told(self, shape: Callable[[View, int, int], dict[str, Any]], task: View) -> dict[str, Any]:
        return shape(task, self._backend.retention_ms, time.time_ns() // 1_000_000)


class _Listener:
    """A `Party` that looks what a running tool asks, and hears nothing else."""

    def __init__(self) -> None:
        self.questions: dict[str, Question] = {}
        self.withdrew = asyncio.Event()

    def told(self, method: str, params: dict[str, Any]) -> None:
        """Let a notification pass: of tasks there are none."""

    def asked(self, question: Question) -> None:
        """Take a question."""
        self.questions[question.key] = question

    def withdrawn(self, key: str) -> None:
        """Note that a question needs no answer any more."""
        self.questions.pop(key, None)
        self.withdrew.set()


class _Passage:
    """What of tasks has to go past the SDK, which knows none."""

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        if ctx.method == "subscriptions/listen" and _wants_tasks(ctx) and not declares(ctx):
            raise missing_capability()
        result = await call_next(ctx)
        if ctx.method == "tools/call" and isinstance(result, dict):
            task = (result.get("_meta") or {}).get(_WRAPPED)
            if task is not None:
                return {"task": task}
        return result


def _wants_tasks(context: Context) -> bool:
    """Return whether a client asks to be told of tasks."""
    wanted = (context.params or {}).get("notifications")
    return isinstance(wanted, dict) and bool(wanted.get("taskIds"))


def declares(context: Context) -> bool:
    """Return whether this very request says that its client can take tasks."""
    return takes_tasks((context.params or {}).get("_meta") or {})


def takes_tasks(said: Mapping[str, Any]) -> bool:
    """Return whether a request's `_meta` says that its client can take tasks."""
    capabilities = said.get(CLIENT_CAPABILITIES_META_KEY)
    extensions = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    return isinstance(extensions, dict) and isinstance(extensions.get(EXTENSION), dict)


def missing_capability() -> MCPError:
    """Return the error for a client that cannot take tasks where there is no other way."""
    needed: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    text = f"this needs a client that declares the extension {EXTENSION}. Nothing was run"
    return MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, text, needed)


def _admit(context: Context, task_id: str, since: str | None = None) -> bool:
    """Return whether a request on a task is of the new era, once it may be answered in its own.

    Raises:
        MCPError: its version has no such method, its headers name another task, or it does not declare the extension.
    """
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        if since is None or context.protocol_version != since:
            raise _no_method(context)
        return False
    if context.request is not None and decode_header_value(context.request.headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(types.HEADER_MISMATCH, f"the header {MCP_NAME_HEADER} does not name the task of the request")
    if not declares(context):
        raise missing_capability()
    return True


def _may_see(context: Context, task: TaskId) -> bool:
    """Return whether a request is of the caller to whom a task belongs.

    Whom the transport has authenticated sees their own alone. Where nobody is authenticated, a request that says who
    asks must say the truth; one that says nothing has the id itself, which only the caller was told.
    """
    caller = find_caller(context)
    return caller == task.caller or (get_access_token() is None and caller == ANONYMOUS)


def _given_up(task: View) -> dict[str, Any]:
    """Return the round that ends a call that waits for answers."""
    text = f"{task.last.tool} was given up by its caller while it waited for answers, and was not run again"
    result = {"content": [{"type": "text", "text": text}], "isError": True, "_meta": {meta.SOURCE: "semel"}}
    return settling(going_on(task.rounds), Status.CANCELLED, result)


def _unknown() -> UnknownTask:
    return UnknownTask("there is no such task, or it is not this caller's")


def _no_method(context: Context) -> MCPError:
    return MCPError(types.METHOD_NOT_FOUND, "Method not found", context.method)
