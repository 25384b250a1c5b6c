"""Servers that give tasks of their own: each is seen through to the outcome of its call, in both forms."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import types
from mcp.server import Server
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from semel.core.call import Status
from semel.gateway import meta
from semel.gateway.doors.tasking import TaskParams
from semel.gateway.taskmode import EXTENSION
from semel.gateway.upstreams import polling
from semel.gateway.upstreams.servers import InProcess, Served
from semel.gateway.upstreams.target import Target, load_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.asides import Aside, Unanswered
from semel.node.tools import Done, Gone
from semel.serving import Node

from .conftest import Write
from .fakes import attempt, text, told
from .nodes import said
from .task_far import Far, far, near
from .test_bad_servers import asking
from .test_through import NEW, OLD, Listener, client_of
from .test_upstream import until

pytestmark = pytest.mark.anyio

ERAS = ("old", "new")
each_once = pytest.mark.parametrize("behind", ["old, on stdio", "new, over HTTP"], indirect=True)
"""For what does not hang on both the era and the transport."""

RELATED = "io.modelcontextprotocol/related-task"
ASKABLE = {CLIENT_CAPABILITIES_META_KEY: {"elicitation": {}}, meta.PARTY: "one", "progressToken": 1}


@dataclass
class Behind:
    """A toolbox before such a server, and what the server was asked to do."""

    box: McpToolbox
    era: str
    noted: Callable[[], list[str]]

    def count(self, line: str) -> int:
        return self.noted().count(line)


@asynccontextmanager
async def toolbox(write: Write, entry: Mapping[str, Any]) -> AsyncIterator[McpToolbox]:
    box = McpToolbox(load_target(str(write(json.dumps({"mcpServers": {"tasks": entry}}), "mcp.json"))))
    await box.start()
    try:
        yield box
    finally:
        await box.close()


@asynccontextmanager
async def distant(era: str, write: Write) -> AsyncIterator[tuple[Far, Behind]]:
    async with far(era) as server, toolbox(write, {"type": "http", "url": server.url}) as box:
        yield server, Behind(box, era, lambda: server.noted)


@asynccontextmanager
async def beside(era: str, write: Write, tmp_path: Path) -> AsyncIterator[Behind]:
    file = tmp_path / "noted"
    async with toolbox(write, near(era, file)) as box:
        yield Behind(box, era, lambda: file.read_text().splitlines())


@pytest.fixture(params=[f"{era}, {where}" for era in ERAS for where in ("on stdio", "over HTTP")])
async def behind(request: pytest.FixtureRequest, write: Write, tmp_path: Path) -> AsyncIterator[Behind]:
    era, where = request.param.split(", ")
    if where == "on stdio":
        async with beside(era, write, tmp_path) as here:
            yield here
    else:
        async with distant(era, write) as (_, there):
            yield there


class Way:
    """A client that answers what it is asked, and hears of progress."""

    def __init__(self, answer: Mapping[str, Any] | None = None) -> None:
        self.answer = answer
        self.asked: list[Mapping[str, Any]] = []
        self.heard: list[tuple[str, Mapping[str, Any]]] = []

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        self.heard.append((method, params))

    async def ask(self, _method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(params)
        if self.answer is None:
            await asyncio.Event().wait()
        if "code" in (self.answer or {}):
            raise Unanswered(self.answer or {})
        return {"action": "accept", "content": self.answer}


def aside(way: Way) -> Aside:
    return way  # type: ignore[return-value]


def done(end: Done | Gone) -> Done:
    assert isinstance(end, Done), end
    return end


# The ends.


async def test_a_task_is_asked_after_until_it_is_done_and_its_result_is_the_calls(behind: Behind) -> None:
    end = await behind.box.run(attempt("finish"))
    assert done(end).status is Status.OK
    assert told(end) == {"content": [{"type": "text", "text": "done"}]}
    fetched = ["tasks/result"] if behind.era == "old" else []
    assert behind.noted() == ["call order-42", "tasks/get", "tasks/get", *fetched]


async def test_a_tools_own_error_is_the_outcome(behind: Behind) -> None:
    end = await behind.box.run(attempt("fail"))
    assert (done(end).status, text(end)) == (Status.ERROR, "no such account")


async def test_a_protocols_error_is_the_outcome_with_code_and_data(behind: Behind) -> None:
    end = await behind.box.run(attempt("error"))
    assert (done(end).status, text(end)) == (Status.ERROR, "error failed: out of paper (protocol error -32000)")
    kept = told(end)["_meta"][meta.PROTOCOL_ERROR]
    assert kept == {"code": -32000, "message": "out of paper", "data": {"tray": 2}}


async def test_a_task_that_its_server_cancels_ends_the_call_as_cancelled(behind: Behind) -> None:
    end = await behind.box.run(attempt("cancelled"))
    assert done(end).status is Status.CANCELLED
    assert text(end) == "cancelled was cancelled by its server, and may have acted: the operator did not like it"
    assert behind.count("tasks/cancel") == 0


async def test_a_plain_answer_is_taken_all_the_same(behind: Behind) -> None:
    assert text(await behind.box.run(attempt("plain"))) == "no task at all"


@pytest.mark.parametrize(("era", "code"), [("shy old", -32601), ("shy new", -32021)])
async def test_a_server_that_does_not_say_that_it_has_tasks_is_not_asked_for_one(
    era: str, code: int, write: Write, tmp_path: Path
) -> None:
    async with beside(era, write, tmp_path) as behind:
        end = await behind.box.run(attempt("finish"))
        assert done(end).status is Status.ERROR
        assert text(end) == f"finish failed: finish is run as a task only (protocol error {code})"
        assert behind.noted() == []


# The end of the time, and of the caller's patience.


@each_once
@pytest.mark.parametrize("tool", ["for_ever", "busy", "lazy"])
async def test_a_task_beyond_the_time_limit_is_cancelled_and_asked_after_in_measure(behind: Behind, tool: str) -> None:
    end = await behind.box.run(attempt(tool, timeout_s=1.0))
    assert done(end).status is Status.TIMED_OUT
    await until(lambda: behind.count("tasks/cancel") == 1, "it is told to stop")
    assert behind.count("tasks/get") <= 11


async def test_a_call_that_is_not_wanted_any_more_has_its_task_cancelled(behind: Behind) -> None:
    call = attempt("for_ever", timeout_s=60)
    running = asyncio.create_task(behind.box.run(call))
    await until(lambda: behind.count("tasks/get") > 0, "it is asked after")
    behind.box.stop(call.call.id)
    end = await running
    assert done(end).status is Status.CANCELLED
    assert "It was told to stop, and may have acted" in text(end)
    await until(lambda: behind.count("tasks/cancel") == 1, "it is told to stop")


@pytest.mark.parametrize("era", ERAS)
async def test_word_of_a_change_is_heard_before_it_is_looked_at_again(
    era: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "LOOK_MAX_S", 600.0)
    async with beside(era, write, tmp_path) as behind:
        assert text(await behind.box.run(attempt("told", timeout_s=30))) == "done"


async def test_progress_of_a_task_reaches_who_asked(write: Write, tmp_path: Path) -> None:
    way = Way()
    async with beside("old", write, tmp_path) as behind:
        assert text(await behind.box.run(asking("progress", ASKABLE), aside(way))) == "done"
    assert way.heard == [("notifications/progress", {"progress": 1, "message": "half way"})]


# Questions.


async def test_what_a_task_asks_is_put_to_the_caller_once_and_the_answer_reaches_it(behind: Behind) -> None:
    way = Way({"name": "Ann"})
    end = await behind.box.run(asking("ask", ASKABLE), aside(way))
    assert (done(end).status, text(end)) == (Status.OK, "{'name': 'Ann'}")
    (asked,) = way.asked
    assert asked["message"] == "Who are you?"
    assert RELATED not in asked.get("_meta", {})
    answered = "answered task-1" if behind.era == "old" else "answered ['first']"
    assert behind.count(answered) == 1


async def test_several_questions_are_answered_together(write: Write, tmp_path: Path) -> None:
    way = Way({"name": "Ann"})
    async with beside("new", write, tmp_path) as behind:
        end = await behind.box.run(asking("ask_twice", ASKABLE), aside(way))
        assert text(end) == "{'name': 'Ann'}, {'name': 'Ann'}"
        assert (len(way.asked), behind.count("answered ['first', 'second']")) == (2, 1)


async def test_a_task_that_cannot_have_its_answer_is_told_to_stop(write: Write, tmp_path: Path) -> None:
    for client in (ASKABLE, {}):
        way = Way({"code": -1, "message": "the user says no"})
        async with beside("new", write, tmp_path) as behind:
            end = await behind.box.run(asking("ask", client), aside(way))
            assert done(end).status is Status.ERROR
            why = "the user says no" if client else "elicitation is not supported by the client of this request"
            assert text(end) == (
                f"ask asks for more input, and cannot have it: {why}. It was told to stop, and may have acted"
            )
            assert behind.noted().pop() == "tasks/cancel"


async def test_a_question_ends_with_the_call(behind: Behind) -> None:
    way, call = Way(), asking("ask", ASKABLE)
    running = asyncio.create_task(behind.box.run(call, aside(way)))
    await until(lambda: bool(way.asked), "it is asked")
    behind.box.stop(call.call.id)
    assert done(await running).status is Status.CANCELLED
    await until(lambda: behind.count("tasks/cancel") == 1, "it is told to stop")


# Garbage.


@each_once
@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("no_id", "the server 'tasks' gave a task in the place of a result, and no taskId with it"),
        ("odd_id", "the server 'tasks' gave a task in the place of a result, and no taskId with it"),
        ("unknown", "the server 'tasks' does not know this call's task any more: Task not found: 'task-1'"),
        ("no_status", "what it answers to tasks/get has no status that MCP knows: None"),
        ("odd_status", "what it answers to tasks/get has no status that MCP knows: 'dreaming'"),
        ("wrong_id", "what it answers to tasks/get is not of this task"),
        ("ailing", "the disk is full (protocol error -32603)"),
    ],
)
async def test_a_task_of_which_nothing_can_be_learnt_is_lost_and_not_asked_for_again(
    behind: Behind, monkeypatch: pytest.MonkeyPatch, tool: str, said: str
) -> None:
    monkeypatch.setattr(polling, "SILENCE_S", 0.5)
    end = await behind.box.run(attempt(tool))
    assert isinstance(end, Gone), end
    assert end.reason.endswith(said)
    assert behind.count("call order-42") == 1
    assert text(await behind.box.run(attempt("plain"))) == "no task at all"


async def test_a_server_that_says_nothing_of_a_task_is_asked_again_and_then_the_task_is_lost(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "SILENCE_S", 0.5)
    monkeypatch.setattr(polling, "ANSWER_S", 0.2)
    async with beside("new", write, tmp_path) as behind:
        end = await behind.box.run(attempt("deaf"))
        assert isinstance(end, Gone)
        assert end.reason.endswith("no answer to tasks/get within 0.2 s")
        assert behind.count("tasks/get") > 1


async def test_questions_that_are_none_keep_a_task_waiting_until_its_time_is_over(write: Write, tmp_path: Path) -> None:
    async with beside("new", write, tmp_path) as behind:
        end = await behind.box.run(attempt("no_questions", timeout_s=1))
        assert done(end).status is Status.TIMED_OUT


async def test_a_result_that_is_none_is_an_error_that_says_that_the_tool_ran(behind: Behind) -> None:
    end = await behind.box.run(attempt("no_result"))
    assert done(end).status is Status.ERROR
    assert text(end).startswith("no_result ran, and what its server answered is no result of a tool: ")
    end = await behind.box.run(attempt("lost_result"))
    assert done(end).status is Status.ERROR
    assert text(end).startswith("lost_result ran, and ")


# Connections.


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_ends_with_the_process_that_it_is_in(era: str, write: Write, tmp_path: Path) -> None:
    async with beside(era, write, tmp_path) as behind:
        end = await behind.box.run(attempt("die"))
        assert isinstance(end, Gone)
        assert end.reason == "the server 'tasks' went away during the call: it exited with code 7"
        assert text(await behind.box.run(attempt("finish"))) == "done"
        assert behind.count("call order-42") == 2


@pytest.mark.parametrize("era", ERAS)
async def test_over_http_a_task_outlives_what_breaks_before_it(era: str, write: Write) -> None:
    async with distant(era, write) as (server, behind):
        server.breaks.update({"tasks/get": 2, "tasks/result": 2, "tasks/update": 2})
        assert text(await behind.box.run(attempt("finish"))) == "done"
        way = Way({"name": "Ann"})
        assert text(await behind.box.run(asking("ask", ASKABLE), aside(way))) == "{'name': 'Ann'}"
        assert (len(way.asked), behind.count("call order-42")) == (1, 2)
        told_by = "tasks/result" if era == "old" else "tasks/update"
        assert not server.breaks["tasks/get"] + server.breaks[told_by]
        assert {name for _, name in server.named} == {"task-1", "task-2"}
        assert server.tasks.wanted == [{"ttl": 70_000} if era == "old" else None] * 2  # a minute beyond the time limit


async def test_a_task_is_asked_after_in_another_session_if_its_own_is_forgotten(write: Write) -> None:
    async with distant("old", write) as (server, behind):
        running = asyncio.create_task(behind.box.run(attempt("for_ever", timeout_s=60)))
        await until(lambda: behind.count("tasks/get") > 0, "it is asked after")
        server.forget()
        server.tasks.calls["task-1"] = "finish"
        assert text(await running) == "done"
        assert behind.count("call order-42") == 1


async def test_a_request_that_waits_for_the_client_may_break_however_long_it_was_open(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person takes longer to answer than many a proxy lets a silent stream be."""
    monkeypatch.setattr(polling, "SILENCE_S", 0.05)
    async with distant("old", write) as (server, behind):
        way = Way()
        call = asyncio.create_task(behind.box.run(asking("ask", ASKABLE), aside(way)))
        await until(lambda: len(way.asked) == 1, "it is asked")
        await asyncio.sleep(2 * polling.SILENCE_S)
        way.answer = {"name": "Ada"}
        server.cut()
        assert text(done(await call)) == "{'name': 'Ada'}"
        assert behind.count("tasks/result") == 2


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_comes_back_without_its_tasks_leaves_the_call_open(era: str, write: Write) -> None:
    async with distant(era, write) as (server, behind):
        running = asyncio.create_task(behind.box.run(attempt("for_ever", timeout_s=60)))
        await until(lambda: behind.count("tasks/get") > 0, "it is asked after")
        server.forget()
        server.restart()
        end = await running
        assert isinstance(end, Gone)
        assert "does not know this call's task any more" in end.reason
        assert behind.count("call order-42") == 1


async def test_a_server_that_stays_away_leaves_the_call_open(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "SILENCE_S", 0.5)
    async with distant("new", write) as (server, behind):
        server.breaks["tasks/get"] = 1000
        end = await behind.box.run(attempt("finish"))
        assert isinstance(end, Gone)
        assert end.reason == ("the server 'tasks' has said nothing of this call's task for 0.5 s: HTTP 502 Bad Gateway")


async def test_a_server_of_this_process_may_give_tasks_too() -> None:
    server, looks = Server("here"), itertools.count(1)

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="report", input_schema={"type": "object"})])

    async def call_tool(context: Any, _params: Any) -> Any:
        assert EXTENSION in context.session.client_params.capabilities.extensions
        return {"resultType": "task", "taskId": "t", "status": "working"}

    async def get(_context: Any, params: TaskParams) -> Any:
        working = next(looks) == 1
        result = {} if working else {"result": {"content": [{"type": "text", "text": "done"}]}}
        return {"taskId": params.task_id, "status": "working" if working else "completed", **result}

    server.extensions[EXTENSION] = {}
    server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    server.add_request_handler("tasks/get", TaskParams, get)
    box = McpToolbox(Target("here", {"here": Served(InProcess(server))}))
    await box.start()
    try:
        assert text(await box.run(attempt("report"))) == "done"
        assert text(await box.run(asking("report", ASKABLE), aside(Way()))) == "done"  # not the short way
    finally:
        await box.close()


# What a node makes of it.


@pytest.fixture(params=ERAS)
async def node(request: pytest.FixtureRequest, write: Write, tmp_path: Path) -> AsyncIterator[Node]:
    entry = near(request.param, tmp_path / "noted")
    file = write(json.dumps({"mcpServers": {"tasks": entry}}), "mcp.json")
    async with Node(file, log=f"sqlite://{tmp_path}/log.db", listen="127.0.0.1:0") as running:
        yield running


async def test_a_lost_task_is_in_doubt_or_begun_again_as_any_lost_call(node: Node, tmp_path: Path) -> None:
    for _ in range(2):
        answer = await node.call("die", {}, key="order-1")
        assert answer.outcome == "in_doubt"
    answer = await node.call("die_once", {}, key="order-2")
    assert (answer.outcome, answer.attempt, answer.result) == ("ok", 2, "done")
    calls = [line for line in (tmp_path / "noted").read_text().splitlines() if line.startswith("call")]
    assert calls == ["call order-1", "call order-2", "call order-2"]


@pytest.mark.parametrize("era", [NEW, OLD], ids=["client of 2026-07-28", "client of the handshake"])
async def test_a_client_need_know_no_tasks(node: Node, era: str) -> None:
    listener = Listener()
    async with client_of(node, listener, era) as client:
        shown = {tool.name: tool.execution for tool in (await client.list_tools()).tools}
        support = None if era == NEW else types.ToolExecution(task_support="optional")
        assert shown["ask"] == support
        result = await client.call_tool("ask", {})
        assert said(result) == "{'name': 'ann'}"
    assert listener.asked == ["Who are you?"]
