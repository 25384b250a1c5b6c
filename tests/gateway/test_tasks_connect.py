"""Tasks through `semel connect`, in both forms: what its client gets of a node's tasks, and of several nodes'."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

import semel
from semel.core.call import Status
from semel.gateway.clients.passage import open_passage
from semel.gateway.doors.http import make_app, serve_http
from tests.gateway.fakes import FakeNode
from tests.gateway.taskwire import EXTENSION, NEW, Wire, make_node, open_wire, text

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def open_passed(node: FakeNode) -> AsyncIterator[Wire]:
    """The same through `semel connect`, but for its pipe."""
    async with (
        open_wire(node, NEW) as near,
        semel.connect(str(near.http.base_url)) as client,
        open_passage(client, introduction_s=5) as server,
        serve_http(make_app(server, lambda: None), "127.0.0.1", 0) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
    ):
        yield Wire(http, NEW, node)


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
