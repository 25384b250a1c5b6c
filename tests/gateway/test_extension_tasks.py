"""Tasks in an author's own server: given by semel, as a node gives them, and asked after at any node of the cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, types
from mcp.server import Server
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

from semel import Semel
from semel.gateway.doors import tasks
from semel.gateway.doors.http import serve_http
from tests.gateway.authors import Pay, low, until
from tests.gateway.taskwire import EXTENSION, NEW, OLD, Wire

pytestmark = pytest.mark.anyio


ALWAYS = {"dev.semel/task": "always"}


@pytest.fixture
def log(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/log.db"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AUTO_S", 0.1)


@asynccontextmanager
async def open_wire(server: MCPServer[Any] | Server[Any], version: str = NEW) -> AsyncIterator[Wire]:
    async with (
        serve_http(server.streamable_http_app(), "127.0.0.1", 0) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
    ):
        yield Wire(http, version)


async def ended(wire: Wire, task_id: str) -> dict[str, Any]:
    """Return a task once it is over."""
    async with asyncio.timeout(10):
        while (task := await wire.get(task_id))["status"] == "working":
            await asyncio.sleep(0.02)
    return task


async def test_a_call_that_takes_long_becomes_a_task_and_ends_with_its_result(log: str) -> None:
    pay = Pay(log)
    async with open_wire(pay.server) as wire:
        capabilities = (await wire.ask("server/discover", {}))["capabilities"]
        assert capabilities["extensions"].keys() == {"dev.semel/once", EXTENSION}
        assert "tasks" not in capabilities
        soon = await wire.call("charge", {"account": "ann", "amount": 5})
        assert (soon["resultType"], soon["content"][0]["text"]) == ("complete", "charged ann 5")
        made = [await wire.call("wait", meta={"dev.semel/idempotency-key": "w"}) for _ in range(2)]
        assert (made[0]["resultType"], made[0]["status"]) == ("task", "working")
        assert made[0]["taskId"] == made[1]["taskId"]
        assert (await wire.get(made[0]["taskId"]))["status"] == "working"
        pay.held.set()
        done = await ended(wire, made[0]["taskId"])
    assert (done["status"], done["result"]["content"][0]["text"]) == ("completed", "let go")
    assert done["result"]["_meta"]["dev.semel/outcome"] == "ok"
    assert [name for name, _ in pay.runs] == ["ann", "wait"]


async def test_a_task_that_runs_is_told_to_stop(log: str) -> None:
    pay = Pay(log)
    async with open_wire(pay.server) as wire:
        task_id = (await wire.call("wait"))["taskId"]
        await wire.ask("tasks/cancel", {"taskId": task_id})
        stopped = await ended(wire, task_id)
        assert (stopped["status"], "may have acted" in stopped["statusMessage"]) == ("cancelled", True)
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            params = {"taskId": "whatever", "inputResponses": {}}
            assert (await wire.fail(method, params))["data"]["code"] == "unknown_task"
            assert (await wire.fail(method, params, declares=False))["code"] == -32021


async def test_a_task_is_asked_after_at_any_node_and_outlives_the_one_that_gave_it(log: str) -> None:
    one, two = Pay(log), Pay(log)
    async with open_wire(one.server) as staying:
        await until(lambda: one.semel.url)
        await staying.call("charge", {"account": "who leads", "amount": 0})  # this one
        async with open_wire(two.server) as leaving:
            await until(lambda: two.semel.url)
            task_id = (await leaving.call("wait"))["taskId"]
            assert (await staying.get(task_id))["status"] == "working"
        assert (await staying.get(task_id))["status"] == "working"
        one.held.set()
        assert (await ended(staying, task_id))["status"] == "completed"
    assert (len(one.runs), len(two.runs)) == (2, 0)


async def test_the_run_of_a_task_sees_the_request_that_asked_for_it(log: str) -> None:
    server = MCPServer("heads", extensions=[Semel(log, listen="127.0.0.1:0")], log_level="WARNING")

    @server.tool(meta=ALWAYS)
    def head(ctx: Context[Any, Any]) -> str:
        return (ctx.headers or {})["x-tenant"]

    async with open_wire(server) as wire:
        made = {tenant: await wire.call("head", {}, headers={"x-tenant": tenant}) for tenant in map(str, range(20))}
        for tenant, task in made.items():
            done = await ended(wire, task["taskId"])
            assert done["result"]["content"][0]["text"] == tenant


async def test_the_run_of_a_task_may_say_that_the_tools_have_changed_although_its_request_is_over(log: str) -> None:
    pay = Pay(log)

    async def learn(ctx: Context[Any, Any]) -> str:
        await pay.held.wait()
        pay.server.add_tool(pay.count, name="count_again")
        await ctx.request_context.session.send_tool_list_changed()
        return "learnt"

    pay.server.add_tool(learn, meta=ALWAYS)
    async with open_wire(pay.server) as wire:
        task_id = (await wire.call("learn"))["taskId"]
        pay.held.set()
        assert (await ended(wire, task_id))["result"]["content"][0]["text"] == "learnt"
        await until(lambda: "count_again" in {tool["name"] for tool in pay.tools()})


async def test_what_a_tool_asks_is_asked_by_its_task(log: str) -> None:
    async def ask(context: Any) -> Any:
        answers = (context.params or {}).get("inputResponses")
        if answers is None:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            params = {"mode": "form", "message": "Name?", "requestedSchema": schema}
            asked = {"name": {"method": "elicitation/create", "params": params}}
            return {"resultType": "input_required", "inputRequests": asked, "requestState": "s"}
        return {"resultType": "complete", "content": [{"type": "text", "text": answers["name"]["content"]["name"]}]}

    server = low({"ask": ask})
    Semel(log, listen="127.0.0.1:0").install(server)
    listed = server.get_request_handler("tools/list")
    assert listed is not None

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        shown = await listed.handler(context, params)
        return types.ListToolsResult(tools=[tool.model_copy(update={"meta": ALWAYS}) for tool in shown.tools])

    server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    async with open_wire(server) as wire:
        task_id = (await wire.call("ask"))["taskId"]
        waiting = await ended(wire, task_id)
        assert (waiting["status"], [*waiting["inputRequests"]]) == ("input_required", ["1.name"])
        await wire.update(task_id, **{"1_name": {"name": "Ann"}})
        assert (await ended(wire, task_id))["result"]["content"][0]["text"] == "Ann"


# The form of 2025-11-25.


async def test_a_client_of_2025_says_which_call_is_a_task(log: str) -> None:
    pay = Pay(log)
    async with open_wire(pay.server, OLD) as wire:
        assert (await wire.initialize())["capabilities"]["tasks"]["requests"] == {"tools": {"call": {}}}
        shown = {tool["name"]: tool.get("execution") for tool in (await wire.ask("tools/list", {}))["tools"]}
        optional = {"taskSupport": "optional"}
        assert shown == {"charge": optional, "wait": optional, "stall": optional, "count": None}
        made = await wire.ask("tools/call", {"name": "wait", "arguments": {}, "task": {}})
        task_id = made["task"]["taskId"]
        assert (made.keys(), made["task"]["status"]) == ({"task"}, "working")
        assert (await wire.fail("tools/call", {"name": "count", "arguments": {}, "task": {}}))["code"] == -32601
        asked = asyncio.create_task(wire.ask("tasks/result", {"taskId": task_id}))
        await until(lambda: pay.runs)
        assert not asked.done()
        pay.held.set()
        result = await asked
        assert result["content"][0]["text"] == "let go"
        assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": task_id}
        assert (await wire.get(task_id))["status"] == "completed"
    assert len(pay.runs) == 1


async def test_what_a_tool_asks_in_its_run_is_asked_while_its_client_of_2025_waits(log: str) -> None:
    class Sure(BaseModel):
        sure: bool

    server = MCPServer("ask", extensions=[Semel(log, listen="127.0.0.1:0")], log_level="WARNING")
    asked: list[str] = []

    @server.tool()
    async def ask(ctx: Context[Any, Any]) -> str:
        return (await ctx.elicit("Sure?", Sure)).action

    async def answer(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"sure": True})

    async with Client(server, mode="legacy", elicitation_callback=answer) as client:

        async def send(method: str, **params: Any) -> dict[str, Any]:
            # Below the client's session, which checks answers and has no form for one that gives a task.
            return await client.session._dispatcher.send_raw_request(method, params)

        task_id = (await send("tools/call", name="ask", arguments={}, task={}))["task"]["taskId"]
        async with asyncio.timeout(10):
            while (await send("tasks/get", taskId=task_id))["status"] != "input_required":
                await asyncio.sleep(0.02)
        result = await send("tasks/result", taskId=task_id)
    assert (result["content"][0]["text"], asked) == ("accept", ["Sure?"])


# What is not semel's.


async def test_a_server_with_tasks_of_its_own_keeps_them(log: str) -> None:
    class Own(Extension):
        identifier = EXTENSION

        def methods(self) -> list[MethodBinding]:
            return [MethodBinding("tasks/get", types.RequestParams, self.get)]

        async def get(self, _context: Any, _params: Any) -> dict[str, Any]:
            return {"status": "the author's"}

    pay = Pay(log, extensions=[Own()])
    async with open_wire(pay.server) as wire:
        assert (await wire.get("whatever"))["status"] == "the author's"
        assert (await wire.fail("tasks/cancel", {"taskId": "whatever"}))["code"] == -32601
        asked = asyncio.create_task(wire.call("wait"))
        await until(lambda: pay.runs)
        pay.held.set()
        assert (await asked)["resultType"] == "complete"


async def test_a_node_that_cannot_start_says_so_of_tasks_as_well(log: str, tmp_path: Path) -> None:
    (tmp_path / "log.db").write_text("this is no log")
    async with open_wire(Pay(log).server) as wire:
        refused = await wire.fail("tasks/get", {"taskId": "whatever"})
        assert (refused["data"]["code"], refused["data"]["retrySafe"]) == ("no_leader", True)
