"""Tasks at the door: a call that takes long is answered with a handle, and asked after, answered or given up by it.

The tasks extension of MCP 2026-07-28 (SEP-2663), and the tasks of 2025-11-25 but for their list. A task is nothing but
a semel call: it stands in the log before its handle is given, its handle is a token that every node reads, and so
there is nothing of it to be lost with a node. Knows the `Witness`; how a task is told is `taskview`'s.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from mcp import MCPError
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from semel.core.call import CallId, Record, Status
from semel.errors import KeyReused, KeyStale, Unconfirmed, Undecided, UnknownTask
from semel.gateway import meta
from semel.gateway.doors.asked import ANONYMOUS, Asked, Context, find_caller
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.taskid import TaskId
from semel.gateway.doors.tasking import (
    Ask,
    TaskParams,
    UpdateParams,
    admit,
    already_over,
    as_given_in_2025,
    declares,
    missing_capability,
    never_as_task,
    not_stopped_yet,
    only_as_task,
)
from semel.gateway.doors.taskview import (
    UNDER_WAY,
    View,
    answers_to,
    as_of_2025,
    created,
    detailed,
    going_on,
    result_of_2025,
    still_asked,
    view,
)
from semel.gateway.taskmode import TaskMode, mode_of
from semel.node.asides import Party
from semel.node.backend import Details, ToolTable, Witness
from semel.node.settled import settling

AUTO_S = 2.0
"""A call of an `auto` tool becomes a task if it has not ended by then. Most calls end sooner and cost no second
request; and no client, proxy or user has given up yet, the most impatient of which do after five to ten seconds."""

CANCEL_S = 3.0
"""How long a client of 2025-11-25, which must be told that a task is cancelled, waits for that."""

LOOK_AGAIN_S = 15.0
"""A task of which nothing is heard is looked at all the same; a node inside a server may be another one by then."""

TRIES_MAX = 8
"""How often an answer is tried again that others were quicker than, each time on what they left to answer."""


class Tasks:
    """The tasks of one node's clients; a `Desk`."""

    def __init__(self, backend: Witness) -> None:
        self._backend = backend
        self._modes = ToolTable(backend.tools, mode_of)

    # The beginning.

    async def answer(self, context: Context, tool: str, given: Asked, ask: Ask) -> Mapping[str, Any]:
        """Return what `ask` answers to a tools/call, or the handle of a task, if its client can take one.

        Raises:
            MCPError: the tool wants to be called as a task and the request does not let it, or the other way round.
            SemelError: whatever `ask` raises.
        """
        mode = self._modes.get(tool) or TaskMode.NEVER
        if given.as_task and mode is TaskMode.NEVER:
            raise never_as_task(tool)
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            able = declares(context)
            if mode is TaskMode.REQUIRED and not able:
                raise missing_capability()
            if mode is TaskMode.NEVER or not able:
                return await ask()
            after_s = AUTO_S if mode is TaskMode.AUTO and not given.as_task else None
            return await self._begin(given.id, ask, after_s, created)
        if mode is TaskMode.REQUIRED and not given.as_task:
            raise only_as_task(tool)
        return as_given_in_2025(await self._begin(given.id, ask, None, _of_2025)) if given.as_task else await ask()

    async def _begin(
        self,
        call: CallId,
        ask: Ask,
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

    async def _until_begun(self, call: CallId, ask: Ask, after_s: float | None = None) -> Mapping[str, Any] | None:
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

    async def serve(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Answer a request on a task."""
        modern = admit(context, params.task_id)
        match context.method:
            case "tasks/get":
                return await self._get(context, params.task_id, detailed if modern else _of_2025)
            case "tasks/cancel":
                return await self._cancel(context, params.task_id, modern=modern)
            case "tasks/update":
                assert isinstance(params, UpdateParams)
                await self._deliver(context, params.task_id, params.input_responses)
                return {}
            case _:
                return await self._result(context, params.task_id)

    async def _get(
        self, context: Context, task_id: str, shape: Callable[[View, int, int], dict[str, Any]]
    ) -> dict[str, Any]:
        task = await self._find(context, task_id)
        if task.last.status is Status.INPUT_REQUIRED and not task.requests:  # it only wants to be called again
            answers, _ = answers_to(task.rounds, {})
            await self._go_on(task, answers or {})
            task = await self._find(context, task_id)
        return self._told(shape, task)

    async def states(self, context: Context, task_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield a task as it stands, and again when that may have changed, until it is over."""
        task, changed = self._named(context, task_id), asyncio.Event()
        end = await self._backend.watch(CallId(task.caller, task.key), changed.set)
        try:
            while True:
                changed.clear()
                state = await self._get(context, task_id, detailed)
                yield state
                if state["status"] not in UNDER_WAY:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await changed.wait()
        finally:
            end()

    async def _cancel(self, context: Context, task_id: str, *, modern: bool) -> dict[str, Any]:
        """Have the tool told to stop; a call that waits for answers is ended at once."""
        task = await self._find(context, task_id)
        if not modern and task.over:
            raise already_over(task.status)
        if task.last.status is Status.RUNNING:
            self._backend.asides.cancel(task.last.id)
        await self._while_waiting(context, task_id, _given_up)
        return {} if modern else await self._cancelled(context, task_id)

    async def _result(self, context: Context, task_id: str) -> dict[str, Any]:
        """Wait for the result, as 2025-11-25 has it: by asking for the call again, under its key."""
        task = await self._asking(context, task_id)
        if task.error is not None:
            raise MCPError(task.error["code"], task.error["message"], task.error.get("data"))
        return result_of_2025(task_id, task.result or {})

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
            raise not_stopped_yet()
        return self._told(_of_2025, task)

    # The call behind it.

    async def _find(self, context: Context, task_id: str) -> View:
        """Return the task of that id as it stands.

        Raises:
            UnknownTask: no node gave that id, or gave it to another caller; or its result is forgotten.
            Unconfirmed: the log does not tell just now.
        """
        task = self._named(context, task_id)
        try:
            rounds = await self._rounds(CallId(task.caller, task.key))
        except Unconfirmed as error:
            raise Unconfirmed(f"this node cannot tell how the task stands just now, ask again: {error}") from error
        if not rounds or not task.names(rounds[0], self._backend.cluster_id):
            raise _unknown()
        if any(each.forgotten for each in rounds):
            raise UnknownTask("the task has expired: its result is forgotten")
        return view(task_id, rounds, await self._backend.questions(rounds[-1].id))

    @staticmethod
    def _named(context: Context, task_id: str) -> TaskId:
        """Return what an id names; raises UnknownTask if that is nothing, or another caller's."""
        task = TaskId.read(task_id)
        if task is None or not _may_see(context, task):
            raise _unknown()
        return task

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
        """Answer what a running tool asks; from then on it is not seen to ask at this node."""
        asked = await self._backend.questions(call)
        for key in asked.keys() & responses.keys():
            self._backend.asides.answer(call, key, result=responses[key])

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


def _of_2025(task: View, retention_ms: int, now_ms: int) -> dict[str, Any]:
    return as_of_2025(detailed(task, retention_ms, now_ms))


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
