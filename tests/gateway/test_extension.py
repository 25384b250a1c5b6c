"""semel inside an author's server: one line, and each call once; the tool sees its request, and the node leaves clean.

What processes do to each other is in `tests/processes/test_author.py`.
"""

import asyncio
import contextlib
import fcntl
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import FastMCP
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server
from mcp.server.extension import Extension
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.subscriptions import ToolsListChanged
from pydantic import BaseModel

import semel
from semel import Semel
from semel.core.limits import Limits
from semel.errors import TargetError, UsageError
from semel.gateway.doors.http import serve_http
from tests.gateway.authors import KEY, Pay, keyed, low, pair, said, text, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def log(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/log.db"


# Once.


@pytest.mark.parametrize("era", ["2026-07-28", "legacy", "auto"])
async def test_a_call_runs_once_and_its_retry_gets_the_same_answer(era: str, log: str) -> None:
    pay = Pay(log)
    ann = {"account": "ann", "amount": 5}
    async with Client(pay.server, mode=era) as client:
        first = await client.call_tool("charge", ann, meta=keyed("order-1"))
        again = await client.call_tool("charge", ann, meta=keyed("order-1"))
        assert (await client.call_tool("count", {})).structured_content == {"result": 1}
        with pytest.raises(MCPError, match="another tool or other arguments") as refused:
            await client.call_tool("charge", {"account": "ann", "amount": 6}, meta=keyed("order-1"))
    assert first.structured_content == again.structured_content == {"result": "charged ann 5"}
    assert (said(first)["replayed"], said(again)["replayed"]) == (False, True)
    assert refused.value.error.data["code"] == "key_reused"
    assert refused.value.error.data["retrySafe"] is False
    ((_, call),) = pay.runs
    assert (call.key, call.caller, call.term, call.attempt) == ("order-1", "anonymous", 1, 1)


async def test_each_refusal_is_that_of_a_nodes_own_door(log: str) -> None:
    async with Client(Pay(log).server) as client:
        refusals = {
            "unknown_tool": client.call_tool("chage", {}),
            "bad_key": client.call_tool("charge", {"account": "ann", "amount": 1}, meta={KEY: 7}),
        }
        for code, refusal in refusals.items():
            with pytest.raises(MCPError, match="Nothing was run") as refused:
                await refusal
            assert (refused.value.error.data["source"], refused.value.error.data["code"]) == ("semel", code)
        misfit = await client.call_tool("charge", {"account": "ann"})
        assert misfit.is_error
        assert (misfit.meta or {})["dev.semel/error"]["code"] == "bad_arguments"


async def test_an_author_can_want_keys_and_name_places_for_them(log: str) -> None:
    pay = Pay(log, require_key=True, keys=["x/order"])
    async with Client(pay.server) as client:
        with pytest.raises(MCPError, match="only under an idempotency key"):
            await client.call_tool("charge", {"account": "ann", "amount": 1})
        await client.call_tool("charge", {"account": "ann", "amount": 1}, meta={"x/order": "order-1"})
        assert (await client.call_tool("count", {})).structured_content == {"result": 1}
        assert client.server_capabilities.extensions is not None
        told = client.server_capabilities.extensions["dev.semel/once"]
    assert pay.runs[0][1].key == "order-1"
    assert told["idempotencyKey"] == {
        "meta": [KEY, "idempotencyKey", "claudecode/toolUseId", "x/order"],
        "required": True,
    }


async def test_a_client_that_leaves_does_not_stop_its_call(log: str) -> None:
    pay = Pay(log)
    async with Client(pay.server, mode="legacy") as staying:
        async with Client(pay.server, mode="legacy") as leaving:
            asking = asyncio.create_task(leaving.call_tool("wait", {}, meta=keyed("w")))
            await until(lambda: pay.runs)
        with pytest.raises(MCPError):
            await asking
        pay.held.set()
        result = await staying.call_tool("wait", {}, meta=keyed("w"))
    assert text(result) == "let go"  # although its progress found nobody
    assert len(pay.runs) == 1


async def test_a_client_that_is_held_for_long_gets_tickets_and_then_the_one_answer(log: str, tmp_path: Path) -> None:
    pay = Pay(log, limits=Limits(hold_s=0.2))
    async with Client(pay.server, mode="2026-07-28") as client:
        await client.call_tool("charge", {"account": "ann", "amount": 1})
        with (tmp_path / "log.db-lock").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            asking = asyncio.create_task(client.call_tool("charge", {"account": "bob", "amount": 1}, meta=keyed("k")))
            done, _ = await asyncio.wait([asking], timeout=0.7)
            assert not done
        assert text(await asking) == "charged bob 1"
    assert [account for account, _ in pay.runs] == ["ann", "bob"]


# What a tool sees.


async def test_a_tool_sees_the_request_that_it_runs_for(log: str) -> None:
    class Sure(BaseModel):
        sure: bool

    server = MCPServer("ask", extensions=[Semel(log, listen="127.0.0.1:0")], log_level="WARNING")

    @server.tool()
    async def ask(ctx: Context[Any, Any]) -> str:
        await ctx.report_progress(1, 2, "half")
        answer = await ctx.elicit("Sure?", Sure)
        params = ctx.request_context.session.client_params
        assert params is not None
        return f"{params.client_info.name}: {answer.action}"

    async def answer(_context: Any, _params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"sure": True})

    progress: list[str | None] = []

    async def note(_progress: float, _total: float | None, message: str | None) -> None:
        progress.append(message)

    me = types.Implementation(name="ada", version="1")
    async with Client(server, mode="legacy", elicitation_callback=answer, client_info=me) as client:
        assert text(await client.call_tool("ask", {}, progress_callback=note)) == "ada: accept"
    assert progress == ["half"]


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_tool_on_the_node_that_leads_asks_the_client_of_another(era: str, log: str) -> None:
    class Sure(BaseModel):
        sure: bool

    async def wants_to_know(ctx: Context[Any, Any]) -> str:
        await ctx.report_progress(1, 2, "half")
        return f"{(await ctx.elicit('Sure?', Sure)).action} by {ctx.request_context.lifespan_context}"

    async def answer(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "Sure?"
        return types.ElicitResult(action="accept", content={"sure": True})

    progress: list[str | None] = []

    async def note(_progress: float, _total: float | None, message: str | None) -> None:
        progress.append(message)

    async with pair(log) as ((leader, _), (follower, _)):
        for each in (leader, follower):
            each.server.add_tool(wants_to_know)
            await each.server._subscriptions.publish(ToolsListChanged())
            await until(lambda each=each: "wants_to_know" in {tool["name"] for tool in each.tools()})
        async with Client(follower.server, mode=era, elicitation_callback=answer) as client:
            if era == "legacy":
                result = await client.call_tool("wants_to_know", {}, progress_callback=note)
                assert text(result) == "accept by the author's"
                assert progress == ["half"]
            else:  # a client of this version cannot be asked on the way: its server asks in the answer
                with pytest.raises(MCPError, match="back-channel"):
                    await client.call_tool("wants_to_know", {})


async def test_a_tool_that_changes_the_tools_tells_the_node_and_the_client(log: str) -> None:
    pay = Pay(log)
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(message)

    async def learn(ctx: Context[Any, Any]) -> None:
        pay.server.add_tool(pay.count, name="count_again")
        await ctx.request_context.session.send_tool_list_changed()

    pay.server.add_tool(learn)
    async with Client(pay.server, mode="legacy", message_handler=hear) as client:
        await client.call_tool("learn", {})
        await until(lambda: "count_again" in {tool["name"] for tool in pay.tools()})
        assert (await client.call_tool("count_again", {})).structured_content == {"result": 0}
    assert any(isinstance(message, types.ToolListChangedNotification) for message in heard)


async def test_over_http_a_tool_sees_the_headers_and_the_key_may_be_among_them(log: str) -> None:
    server = MCPServer("heads", extensions=[Semel(log, listen="127.0.0.1:0")], log_level="WARNING")

    @server.tool()
    def head(ctx: Context[Any, Any]) -> str:
        return f"{(ctx.headers or {})['x-tenant']} {semel.current_call().key}"

    headers = {"x-tenant": "t1", "idempotency-key": '"order-1"'}
    async with serve_http(server.streamable_http_app(), "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/mcp"
        async with httpx2.AsyncClient(headers=headers) as http:
            for mode in ("legacy", "2026-07-28"):
                async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                    result = await client.call_tool("head", {})
                    assert text(result) == "t1 order-1"
    assert said(result)["replayed"]


async def test_the_node_that_leads_runs_its_own_tool_for_the_others(log: str) -> None:
    async with pair(log) as ((leader, first), (follower, second)):
        asking = asyncio.create_task(second.call_tool("wait", {}, meta=keyed("w")))
        await until(lambda: leader.runs)
        leader.held.set()
        result = await asking
        assert said(await first.call_tool("wait", {}, meta=keyed("w")))["replayed"]
        assert (await second.call_tool("count", {})).structured_content == {
            "result": 0
        }  # a read runs where it is asked
    assert text(result) == "let go"
    assert (len(leader.runs), follower.runs) == (1, [])
    assert leader.ended == ["wait, with the author's, open: True"]


async def test_a_run_for_another_nodes_request_is_not_the_user_of_any_request_here(log: str) -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")

    async def authenticate(context: Any, call_next: Any) -> Any:
        user.set((context.meta or {}).get("x/user", "anonymous"))
        return await call_next(context)

    servers = []
    for _ in range(2):
        pay = Pay(log)

        async def who(name: str) -> str:
            await asyncio.sleep(0.05)
            return f"{name} as {user.get()}"

        pay.server.add_tool(who)
        pay.server.middleware.append(authenticate)
        servers.append(pay)
    async with Client(servers[0].server) as first, Client(servers[1].server) as second:
        answers = await asyncio.gather(
            *(first.call_tool("who", {"name": f"a{n}"}, meta={"x/user": f"a{n}"}) for n in range(20)),
            *(second.call_tool("who", {"name": f"b{n}"}, meta={"x/user": f"b{n}"}) for n in range(20)),
        )
    leads = said(answers[0])["executor"]
    there = {text(answer) for answer in answers}
    expected = [{f"{n}{i} as {user}" for i in range(20) for user in [f"{n}{i}"]} for n in "ab"]
    expected += [{f"{n}{i} as nobody" for i in range(20)} for n in "ab"]
    assert leads in ("node-1", "node-2")
    assert there in (expected[0] | expected[3], expected[1] | expected[2])


async def test_a_tool_that_blocks_its_event_loop_does_not_cost_its_node_the_lead(log: str) -> None:
    async with pair(log) as ((_leader, first), (_follower, second)):
        before = said(await second.call_tool("charge", {"account": "ann", "amount": 1}))["term"]
        await first.call_tool("stall", {"seconds": 2.5})  # the patience of others is 1.5 s
        after = said(await second.call_tool("charge", {"account": "ann", "amount": 2}))["term"]
    assert before == after


async def test_extensions_in_front_see_requests_and_those_behind_see_runs(log: str) -> None:
    seen: list[str] = []

    class Noting(Extension):
        def __init__(self, name: str) -> None:
            self.identifier = f"example.org/{name}"

        async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
            seen.append(self.identifier.rpartition("/")[2])
            return await call_next(ctx)

    extensions = [Noting("front"), Semel(log, listen="127.0.0.1:0"), Noting("behind")]
    server = MCPServer("noted", extensions=extensions, log_level="WARNING")

    @server.tool()
    def work() -> None:
        seen.append("tool")

    async with Client(server) as client:
        for _ in range(3):
            await client.call_tool("work", {}, meta=keyed("k"))
    assert seen == ["front", "behind", "tool", "front", "front"]


# Low-level servers, and others.


async def test_a_low_level_server_keeps_its_own_checks_middleware_and_envelope(log: str) -> None:
    runs: list[str] = []
    seen: list[str] = []

    async def work(_context: Any) -> types.CallToolResult:
        runs.append(semel.current_call().key)
        return types.CallToolResult(content=[types.TextContent(text="worked")])

    async def bad(_context: Any) -> dict[str, Any]:
        return {"content": "no list"}

    async def note(context: Any, call_next: Any) -> Any:
        seen.append(context.method)
        return await call_next(context)

    server = low({"work": work, "bad": bad})
    server.middleware.append(note)
    Semel(log, listen="127.0.0.1:0").install(server)
    async with Client(server) as client:
        for replayed in (False, True):
            result = await client.call_tool("work", {}, meta=keyed("k"))
            assert (text(result), said(result)["replayed"]) == ("worked", replayed)
            assert (result.meta or {})["io.modelcontextprotocol/serverInfo"]["name"] == "low"
        assert seen.count("tools/call") == 2
        with pytest.raises(MCPError, match="invalid result"):
            await client.call_tool("bad", {})
        nameless: Any = types.Request(method="tools/call", params=types.RequestParams())
        with pytest.raises(MCPError) as refused:
            await client.session.send_request(nameless, types.CallToolResult)
        assert (refused.value.error.code, refused.value.error.data) == (types.INVALID_PARAMS, "")  # the SDK's own
    assert runs == ["k"]


async def test_a_handler_that_is_registered_later_is_behind_semel_too(log: str) -> None:
    server = low({})
    Semel(log, listen="127.0.0.1:0").install(server)

    async def work(_context: Any) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(text="later")])

    later = low({"work": work})
    for method in ("tools/list", "tools/call"):
        entry = later.get_request_handler(method)
        assert entry is not None
        server.add_request_handler(method, entry.params_type, entry.handler)
    for replayed in (False, True):
        async with Client(server) as client:
            result = await client.call_tool("work", {}, meta=keyed("k"))
            assert (text(result), said(result)["replayed"]) == ("later", replayed)


async def test_a_fastmcp_server_takes_it_as_well(log: str) -> None:
    runs: list[str] = []
    server = FastMCP("fast")

    @server.tool
    def work() -> str:
        runs.append(semel.current_call().key)
        return "worked"

    Semel(log, listen="127.0.0.1:0").install(server)
    async with Client(server._mcp_server) as client:
        for _ in range(2):
            assert text(await client.call_tool("work", {}, meta=keyed("k"))) == "worked"
    assert runs == ["k"]


# Coming and going.


async def test_the_node_is_there_before_the_first_call_and_shows_itself_but_not_the_tools(log: str) -> None:
    pay = Pay(log, name="pay-1")
    async with Client(pay.server) as client:
        await until(lambda: pay.semel.url)
        url = pay.semel.url
        async with semel.connect(url) as observer, httpx2.AsyncClient() as http:
            assert (await observer.status())["node"] == "pay-1"
            assert (await http.post(f"{url}/mcp", json={})).status_code == 404
            await client.call_tool("charge", {"account": "ann", "amount": 1}, meta=keyed("k"))
            assert [row["key"] async for row in observer.audit()] == ["k"]
            assert (await http.post(f"{url}/v1/drain")).status_code == 202
            await until(lambda: not pay.semel.url)
        with pytest.raises(MCPError, match="asked to leave") as refused:
            await client.call_tool("charge", {"account": "ann", "amount": 2})
    assert refused.value.error.data["retrySafe"] is True


async def test_tools_end_before_the_authors_own_lifespan_does(log: str) -> None:
    pay = Pay(log)
    async with Client(pay.server) as client:
        asking = asyncio.create_task(client.call_tool("wait", {}))
        await until(lambda: pay.runs)
        asyncio.get_running_loop().call_later(0.3, pay.held.set)
    with contextlib.suppress(MCPError, asyncio.CancelledError):
        await asking
    assert pay.ended == ["wait, with the author's, open: True"]
    assert not pay.open


async def test_nothing_is_left_when_the_server_has_ended(log: str, tmp_path: Path) -> None:
    for _ in range(3):
        pay = Pay(log, name="the-same")
        async with Client(pay.server) as client:
            await client.call_tool("charge", {"account": "ann", "amount": 1})
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    tasks = len(asyncio.all_tasks())
    for _ in range(3):
        pay = Pay(log, name="the-same")
        async with Client(pay.server) as client:
            await client.call_tool("charge", {"account": "ann", "amount": 1})
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert len(asyncio.all_tasks()) == tasks
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("semel")]
    assert list((tmp_path / "log.db-pulses").iterdir()) == []


async def test_connections_with_a_lifespan_each_share_one_node(log: str) -> None:
    pay = Pay(log)
    async with Client(pay.server) as first:
        await until(lambda: pay.semel.url)
        url = pay.semel.url
        async with Client(pay.server) as second:
            await second.call_tool("charge", {"account": "ann", "amount": 1}, meta=keyed("k"))
        assert said(await first.call_tool("charge", {"account": "ann", "amount": 1}, meta=keyed("k")))["replayed"]
        assert pay.semel.url == url
    assert pay.semel.url == ""


async def test_a_node_that_cannot_start_says_so_and_comes_up_once_it_can(
    log: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log.db").write_text("this is no log")
    pay = Pay(log)
    async with Client(pay.server) as client:
        assert len((await client.list_tools()).tools) == 4  # all else is served
        with pytest.raises(MCPError, match=r"cannot start.*log.db.*Nothing was run") as refused:
            await client.call_tool("charge", {"account": "ann", "amount": 1}, meta=keyed("k"))
        assert refused.value.error.data == {"source": "semel", "code": "no_leader", "retrySafe": True}
        assert "semel's node cannot start" in caplog.text
        (tmp_path / "log.db").unlink()
        await until(lambda: pay.semel.url)
        assert text(await client.call_tool("charge", {"account": "ann", "amount": 1}, meta=keyed("k")))


# Hooks.


async def test_a_hook_that_cannot_be_asked_is_an_error_at_the_start(log: str) -> None:
    def wrong(name: str) -> None: ...

    for reconcile, complaint in (({"charge": wrong}, "takes 'name'"), ({"chage": wrong}, "no tool 'chage'")):
        pay = Pay(log, reconcile=reconcile)
        with pytest.raises(TargetError, match=complaint):
            async with Client(pay.server):
                pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("semel")]


async def test_a_hook_that_never_would_be_asked_is_remarked(log: str, caplog: pytest.LogCaptureFixture) -> None:
    pay = Pay(log, reconcile={"count": lambda: None})
    async with Client(pay.server):
        await until(lambda: pay.semel.url)
        await until(lambda: "the reconcile hook of 'count' is never asked" in caplog.text)


# Mistakes.


async def test_a_url_that_names_no_log_is_refused_at_once() -> None:
    for url in ("pay", "sqlite:", "etcd:/x", "memory:x"):
        with pytest.raises(UsageError):
            Semel(url)


async def test_one_semel_is_in_one_server() -> None:
    once = Semel("memory:")
    MCPServer("one", extensions=[once], log_level="WARNING")
    with pytest.raises(UsageError, match="each server takes one of its own"):
        MCPServer("two", extensions=[once], log_level="WARNING")
    with pytest.raises(UsageError, match="each server takes one of its own"):
        once.install(Server("three"))


async def test_only_a_server_of_the_sdk_can_have_it() -> None:
    with pytest.raises(TargetError, match="no MCP server"):
        Semel("memory:").install("server.py")
    server = Server("no tools")
    Semel("memory:").install(server)
    with pytest.raises(TargetError, match="nothing to run once"):
        async with Client(server):
            pass


async def test_a_server_with_semel_in_it_is_not_served_by_semel() -> None:
    server = MCPServer("pay", extensions=[Semel("memory:")], log_level="WARNING")
    with pytest.raises(TargetError, match="has Semel in it"):
        semel.Node(server, log="memory:")._make_toolbox()


async def test_a_semel_that_was_not_found_its_server_says_what_to_write() -> None:
    server = MCPServer("pay", log_level="WARNING")
    once = Semel("memory:")
    once.settings()
    server._extensions.append(once)
    server._install_extension_interceptor()
    async with Client(server) as client:
        with pytest.raises(MCPError, match=r"Semel\(…\)\.install\(server\)"):
            await client.call_tool("charge", {})
