"""Tasks through `semel connect`, in both forms: what its client gets of a node's tasks, and of several nodes'."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, types
from mcp.server import Server

import semel
from semel.core.call import Status
from semel.gateway.clients import passedtasks
from semel.gateway.clients.passage import open_passage
from semel.gateway.doors import tasks
from semel.gateway.doors.http import make_app, serve_http
from tests.gateway.authors import until
from tests.gateway.fakes import FakeNode
from tests.gateway.taskwire import EXTENSION, NEW, OLD, RETENTION_MS, Wire, asking, make_node, open_wire, text

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def open_passage_to(*nodes: Wire) -> AsyncIterator[Server[Any]]:
    """Yield the server of `semel connect`, whose pipe is left out."""
    async with (
        semel.connect([str(each.http.base_url) for each in nodes]) as client,
        open_passage(client, introduction_s=5) as server,
    ):
        yield server


@asynccontextmanager
async def open_passed(node: FakeNode, version: str = NEW) -> AsyncIterator[Wire]:
    """Yield a client that asks a node through `semel connect`."""
    async with (
        open_wire(node, NEW) as near,
        open_passage_to(near) as server,
        serve_http(make_app(server, lambda: None), "127.0.0.1", 0) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
    ):
        yield Wire(http, version, node)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AUTO_S", 0.1)
    monkeypatch.setattr(passedtasks, "CANCEL_S", 0.2)


@pytest.fixture
async def old() -> AsyncIterator[Wire]:
    async with open_passed(make_node(), OLD) as opened:
        yield opened


async def test_a_task_passes_through_semel_connect() -> None:
    async with open_passed(make_node()) as wire:
        discovered = await wire.ask("server/discover", {})
        assert EXTENSION in discovered["capabilities"]["extensions"]
        assert "tasks" not in discovered["capabilities"]
        made = await wire.call("always")
        assert made["resultType"] == "task"
        assert (await wire.get(made["taskId"]))["status"] == "working"
        (record,) = wire.node.records.values()
        assert await wire.ask("tasks/cancel", {"taskId": made["taskId"]}) is not None
        assert wire.node.cancelled == [record.id]
        await wire.node.end(record.id, Status.OK, text("done"))
        done = await wire.get(made["taskId"])
        assert (done["status"], done["result"]["content"]) == ("completed", text("done")["content"])
        assert (await wire.fail("tasks/get", {"taskId": "no task"}))["code"] == -32602
        undeclared = await wire.fail("tasks/get", {"taskId": made["taskId"]}, declares=False)
        assert undeclared["code"] == -32021
        never = asyncio.create_task(wire.call("never"))
        await asyncio.sleep(0.3)
        assert not never.done()
        (record,) = [each for each in wire.node.records.values() if each.status is Status.RUNNING]
        await wire.node.end(record.id, Status.OK, text("at last"))
        assert (await never)["resultType"] == "complete"


# The form of 2025-11-25.


async def start(old: Wire, name: str = "auto") -> str:
    made = await old.ask("tools/call", {"name": name, "arguments": {}, "task": {"ttl": 60_000}})
    assert made.keys() == {"task"}
    task_id: str = made["task"]["taskId"]
    return task_id


async def test_a_client_of_2025_has_its_own_tasks(old: Wire) -> None:
    client = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    assert (await old.ask("initialize", client))["capabilities"]["tasks"] == {
        "cancel": {},
        "requests": {"tools": {"call": {}}},
    }
    shown = {each["name"]: each.get("execution") for each in (await old.ask("tools/list", {}))["tools"]}
    optional = {"taskSupport": "optional"}
    assert shown == {
        "auto": optional,
        "always": optional,
        "required": {"taskSupport": "required"},
        "never": None,
        "look": None,
    }
    task_id = await start(old)
    (call,) = old.node.records
    working = await old.get(task_id)
    assert (working["status"], working["ttl"], working["pollInterval"]) == ("working", RETENTION_MS, 5000)
    before = len(old.node.asked_how)
    waiting = asyncio.create_task(old.ask("tasks/result", {"taskId": task_id}))
    await until(lambda: len(old.node.asked_how) > before)
    assert not waiting.done()
    await old.node.end(call, Status.OK, text("done", structuredContent=[1]))
    result = await waiting
    assert result["content"] == text("done")["content"]
    assert "structuredContent" not in result
    assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": task_id}
    assert (await old.get(task_id))["status"] == "completed"
    assert len(old.node.calls) == 1


async def test_a_call_of_2025_that_ends_at_once_is_a_task_all_the_same(old: Wire) -> None:
    outcomes = {Status.OK: ("completed", text("done")), Status.ERROR: ("failed", text("no money", isError=True))}
    for status, (word, result) in outcomes.items():
        old.node.script.append((status, result))
        made = await old.ask("tools/call", {"name": "auto", "arguments": {}, "task": {}})
        assert made["task"]["status"] == word
        told = await old.ask("tasks/result", {"taskId": made["task"]["taskId"]})
        assert told["content"] == result["content"]


async def test_a_node_is_not_told_of_tasks_by_the_tools_that_it_runs(old: Wire) -> None:
    await start(old)
    (call,) = old.node.calls
    assert b"task" not in bytes(call.meta)


async def test_an_ordinary_call_of_2025_is_answered_when_it_is_done(old: Wire) -> None:
    old.node.script.append((Status.OK, text("done")))
    assert (await old.call("always"))["content"] == text("done")["content"]


@pytest.mark.parametrize("name", ["never", "look"])
async def test_what_cannot_be_a_task_says_so_to_a_client_of_2025(old: Wire, name: str) -> None:
    refused = await old.fail("tools/call", {"name": name, "arguments": {}, "task": {}})
    assert (refused["code"], "cannot be called as a task" in refused["message"]) == (-32601, True)
    refused = await old.fail("tools/call", {"name": "required", "arguments": {}})
    assert (refused["code"], "as a task only" in refused["message"]) == (-32601, True)
    assert old.node.calls == []
    for method, params in (("tasks/list", {}), ("tasks/update", {"taskId": "x", "inputResponses": {}})):
        assert (await old.fail(method, params))["code"] == -32601
    assert (await old.fail("tasks/get", {"taskId": "no task"}))["data"]["code"] == "unknown_task"


async def test_a_cancelled_task_of_2025_is_so_when_it_is_answered(old: Wire) -> None:
    task_id = await start(old)
    (call,) = old.node.records
    late = await old.fail("tasks/cancel", {"taskId": task_id})
    assert (late["code"], "has not stopped yet" in late["message"]) == (-32603, True)
    asked = asyncio.create_task(old.ask("tasks/cancel", {"taskId": task_id}))
    await until(lambda: len(old.node.cancelled) > 1)
    await old.node.end(call, Status.CANCELLED, text("stopped", isError=True))
    assert (await asked)["status"] == "cancelled"
    refused = await old.fail("tasks/cancel", {"taskId": task_id})
    assert (refused["code"], refused["message"]) == (-32602, "the task is cancelled already")
    result = await old.ask("tasks/result", {"taskId": task_id})
    assert (result["content"], result["isError"]) == (text("stopped")["content"], True)


async def test_an_error_of_the_protocol_is_the_result_of_a_task_of_2025(old: Wire) -> None:
    task_id = await start(old)
    (call,) = old.node.records
    error = {"code": -32000, "message": "it broke off"}
    told = text("auto failed", isError=True, _meta={"dev.semel/protocol-error": error})
    await old.node.end(call, Status.ERROR, told)
    refused = await old.fail("tasks/result", {"taskId": task_id})
    assert (refused["code"], refused["message"]) == (-32000, "it broke off")


async def test_what_a_task_asks_is_asked_while_its_client_of_2025_waits() -> None:
    node = make_node()
    node.script += [(Status.INPUT_REQUIRED, asking("name")), (Status.OK, text("hello"))]
    asked: list[str] = []

    async def answer(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ann"})

    async with (
        open_wire(node, NEW) as near,
        open_passage_to(near) as server,
        Client(server, mode="legacy", elicitation_callback=answer) as client,
    ):
        # Below the client's session, which checks answers and has no form for one that gives a task.
        send = client.session._dispatcher.send_raw_request
        made = await send("tools/call", {"name": "auto", "arguments": {}, "task": {}})
        task_id = made["task"]["taskId"]
        assert (await send("tasks/get", {"taskId": task_id}))["status"] == "input_required"
        result = await send("tasks/result", {"taskId": task_id})
    assert (result["content"], asked) == (text("hello")["content"], ["name?"])
    given = json.loads(bytes(node.calls[-1].answers or b""))
    assert given["inputResponses"] == {"name": {"action": "accept", "content": {"name": "Ann"}}}


async def test_a_task_of_2025_is_asked_after_at_the_next_node_when_one_is_gone() -> None:
    node = make_node()
    async with open_wire(node, NEW) as staying, contextlib.AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(open_wire(node, NEW))
        async with (
            open_passage_to(leaving, staying) as server,
            serve_http(make_app(server, lambda: None), "127.0.0.1", 0) as port,
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
        ):
            old = Wire(http, OLD, node)
            task_id = await start(old)
            before = len(node.asked_how)
            waiting = asyncio.create_task(old.ask("tasks/result", {"taskId": task_id}))
            await until(lambda: len(node.asked_how) > before)
            await stack.aclose()
            (call,) = node.records
            await node.end(call, Status.OK, text("done"))
            assert (await waiting)["content"] == text("done")["content"]
