"""Clients that listen to tasks (`notifications/tasks`): at a node, through `semel connect`, in an author's server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

import semel
from semel.core.call import Status
from semel.gateway.clients.passage import open_passage
from semel.gateway.doors import tasklistening, tasks
from semel.gateway.doors.announcing import Announcer
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import make_server
from tests.gateway.authors import Pay, until
from tests.gateway.fakes import FakeNode
from tests.gateway.taskwire import EXTENSION, HEADERS, NEW, Wire, asking, make_node, text

pytestmark = pytest.mark.anyio


class Stream:
    """What a client that listens is told, line by line."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self, limit_s: float = 10) -> dict[str, Any]:
        async with asyncio.timeout(limit_s):
            async for line in self._lines:
                if line.startswith("data: {"):
                    message: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return message
        raise AssertionError("the stream has ended")

    async def task(self) -> dict[str, Any]:
        message = await self.next()
        assert message["method"] == "notifications/tasks", message
        assert message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "listening"
        params: dict[str, Any] = message["params"]
        return params


@asynccontextmanager
async def listening(wire: Wire, *task_ids: str, agreed: int | None = None, **also: Any) -> AsyncIterator[Stream]:
    """Listen to tasks, once the server has agreed to tell of the first `agreed` of them."""
    said = {
        "io.modelcontextprotocol/protocolVersion": NEW,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
    }
    params = {"notifications": {"taskIds": list(task_ids), **also}, "_meta": said}
    body = {"jsonrpc": "2.0", "id": "listening", "method": "subscriptions/listen", "params": params}
    headers = {**HEADERS, "MCP-Protocol-Version": NEW, "Mcp-Method": "subscriptions/listen"}
    async with wire.http.stream("POST", "/mcp", json=body, headers=headers, timeout=None) as response:
        stream = Stream(response.aiter_lines())
        first = await stream.next()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["notifications"] == {"taskIds": list(task_ids[:agreed]), **also}
        yield stream


@asynccontextmanager
async def at_a_node(node: FakeNode) -> AsyncIterator[Wire]:
    server = make_server(node, announcer=Announcer(), tasks=tasks.Tasks(node))
    async with (
        serve_http(make_app(server, node.readiness), "127.0.0.1", 0) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
    ):
        yield Wire(http, NEW, node)


@asynccontextmanager
async def through_connect(node: FakeNode) -> AsyncIterator[Wire]:
    async with (
        at_a_node(node) as near,
        semel.connect(str(near.http.base_url)) as client,
        open_passage(client, introduction_s=5) as server,
        serve_http(make_app(server, lambda: None), "127.0.0.1", 0) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
    ):
        yield Wire(http, NEW, node)


WAYS = (at_a_node, through_connect)
Way = Callable[[FakeNode], Any]


@pytest.mark.parametrize("way", WAYS)
async def test_who_listens_is_told_how_a_task_stands_and_of_each_change(way: Way) -> None:
    node = make_node()
    node.script.append((Status.INPUT_REQUIRED, asking("name")))
    async with way(node) as wire:
        task_id = (await wire.call("always"))["taskId"]
        async with listening(wire, task_id) as stream:
            asked = await stream.task()
            assert (asked["status"], [*asked["inputRequests"]]) == ("input_required", ["1.name"])
            await wire.update(task_id, **{"1_name": "Ann"})
            assert (await stream.task())["status"] == "working"
            await node.end(node.calls[-1].id, Status.OK, text("done"))
            done = await stream.task()
            polled = await wire.get(task_id)
    for told in (done, polled):  # what is told is what tasks/get answers
        del told["_meta"]
    assert {**done, "resultType": "complete"} == polled
    assert done["result"]["content"] == text("done")["content"]


async def test_a_task_that_was_over_before_is_told_of_all_the_same() -> None:
    node = make_node()
    async with at_a_node(node) as wire:
        task_id = (await wire.call("always"))["taskId"]
        await node.end(node.calls[0].id, Status.OK, text("done"))
        async with listening(wire, task_id) as stream:
            assert (await stream.task())["status"] == "completed"


async def test_a_task_that_is_answered_in_part_or_given_up_elsewhere_is_told_of() -> None:
    node = make_node()
    node.script.append((Status.INPUT_REQUIRED, asking("a", "b")))
    async with at_a_node(node) as wire, at_a_node(node) as other:
        task_id = (await wire.call("always"))["taskId"]
        async with listening(wire, task_id) as stream:
            assert (await stream.task())["inputRequests"].keys() == {"1.a", "1.b"}
            await other.update(task_id, **{"1_a": "x"})
            assert (await stream.task())["inputRequests"].keys() == {"1.b"}
            await other.ask("tasks/cancel", {"taskId": task_id})
            assert (await stream.task())["status"] == "cancelled"


async def test_what_a_tool_asks_in_the_middle_of_its_run_is_told() -> None:
    node = make_node()
    async with at_a_node(node) as wire:
        task_id = (await wire.call("always"))["taskId"]
        async with listening(wire, task_id) as stream:
            assert (await stream.task())["status"] == "working"
            aside = node.asides.of(node.calls[0].id)
            running = asyncio.create_task(aside.ask("elicitation/create", {"message": "Sure?"}))
            ((key, _),) = (await stream.task())["inputRequests"].items()
            await wire.ask("tasks/update", {"taskId": task_id, "inputResponses": {key: {"action": "decline"}}})
            assert await running == {"action": "decline"}
            assert (await stream.task())["status"] == "working"


async def test_of_several_tasks_each_is_told_of_and_of_what_is_not_the_callers_nothing() -> None:
    node = make_node()
    async with at_a_node(node) as wire:
        mine = [(await wire.call("always"))["taskId"] for _ in range(2)]
        async with listening(wire, *mine, "whatever", agreed=2, toolsListChanged=True) as stream:
            assert {(await stream.task())["taskId"] for _ in mine} == set(mine)
            await node.end(node.calls[1].id, Status.OK, text("done"))
            assert (await stream.task())["taskId"] == mine[1]
        async with listening(wire, "whatever", agreed=0, toolsListChanged=True):
            pass
        refused = await wire.fail("subscriptions/listen", {"notifications": {"taskIds": mine}}, declares=False)
        assert refused["code"] == -32021


async def test_who_names_too_many_tasks_is_told_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasklistening, "TASKS_MAX", 2)
    async with at_a_node(make_node()) as wire:
        task_ids = [(await wire.call("always"))["taskId"] for _ in range(3)]
        async with listening(wire, *task_ids, agreed=2):
            pass


async def test_a_node_that_cannot_tell_for_a_while_tells_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasklistening, "AGAIN_S", 0.05)
    node = make_node()
    async with at_a_node(node) as wire:
        task_id = (await wire.call("always"))["taskId"]
        async with listening(wire, task_id) as stream:
            assert (await stream.task())["status"] == "working"
            records, node.lost = dict(node.records), True
            node.records.clear()
            before = len(node.asked_how)
            node.watches.touch_all()
            await until(lambda: len(node.asked_how) > before)
            node.records.update(records)
            node.lost = False
            await node.end(node.calls[0].id, Status.OK, text("done"))
            assert (await stream.task())["status"] == "completed"


async def test_a_stream_begins_without_a_task_of_which_it_is_not_known_in_time_how_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasklistening, "AGREE_S", 0.1)
    node = make_node()
    async with through_connect(node) as wire:
        task_id = (await wire.call("always"))["taskId"]
        records, node.lost = dict(node.records), True  # so that it is asked for again and again
        node.records.clear()
        async with listening(wire, task_id, agreed=0, toolsListChanged=True) as stream:
            node.records.update(records)
            node.lost = False
            with pytest.raises(TimeoutError):
                await stream.next(0.5)


async def test_who_stops_listening_is_watched_for_no_more() -> None:
    node = make_node()
    async with at_a_node(node) as wire:
        task_id = (await wire.call("always"))["taskId"]
        async with listening(wire, task_id):
            assert node.watches._watching
        await until(lambda: not node.watches._watching)


async def test_an_authors_server_tells_of_a_task_that_another_node_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "AUTO_S", 0.1)
    one, two = Pay(f"sqlite://{tmp_path}/log.db"), Pay(f"sqlite://{tmp_path}/log.db")
    async with client_of(one) as leading, client_of(two) as wire:
        await leading.call("charge", {"account": "who leads", "amount": 0})
        task_id = (await wire.call("wait"))["taskId"]
        async with listening(wire, task_id) as stream:
            assert (await stream.task())["status"] == "working"
            one.held.set()
            done = await stream.task()
    assert (done["status"], done["result"]["content"][0]["text"]) == ("completed", "let go")


@asynccontextmanager
async def client_of(pay: Pay) -> AsyncIterator[Wire]:
    async with (
        serve_http(pay.server.streamable_http_app(), "127.0.0.1", 0) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
    ):
        await until(lambda: pay.semel.url)
        yield Wire(http)
