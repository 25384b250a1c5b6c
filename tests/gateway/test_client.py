"""The Python client: typed answers, typed refusals, and one key over all retries, whichever node fails and how."""

import asyncio
import contextlib
import itertools
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import MCPError
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

import semel
from semel.core.call import CallId, NodeId, Status
from semel.errors import (
    BadArguments,
    Busy,
    ClusterError,
    Draining,
    KeyReused,
    LogDamaged,
    NoLeader,
    ReplicaError,
    SemelError,
    TooLarge,
    Undecided,
    UnknownTool,
    UsageError,
)
from semel.gateway.answers import answer_of
from semel.gateway.doors.announcing import Announcer
from semel.gateway.doors.http import BODY_BYTES_MAX, make_app, serve_http
from semel.gateway.doors.server import make_server
from semel.node.asides import Party, Question, Unanswered
from semel.node.backend import Reply
from tests.ports import free_port

from .fakes import ADD, FakeBackend

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(backend: FakeBackend, *routes: Route, announcer: Announcer | None = None) -> AsyncIterator[str]:
    app = make_app(make_server(backend, announcer=announcer), backend.readiness, routes=routes)
    async with serve_http(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def answering(respond: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """Serve raw TCP: what a broken node, or something else altogether, may do."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await respond(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def free_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def test_an_answer_says_all_that_the_log_does() -> None:
    backend = FakeBackend()
    async with serving(backend) as url, semel.connect(url, caller="shop") as client:
        answer = await client.call("add", {"a": 1, "b": 2}, key="sum")
        again = await client.call("add", {"a": 1, "b": 2}, key="sum")
    assert (answer.outcome, answer.result, answer.in_doubt) == (Status.OK, 3, False)
    assert (answer.key, answer.position, answer.execution_id) == ("sum", 3, 1)
    assert (answer.term, answer.executor, answer.attempt, answer.replayed) == (3, "n1", 1, False)
    assert answer.content == [{"type": "text", "text": "3"}]
    assert answer.raw["structuredContent"] == {"result": 3}
    assert (again.replayed, again.execution_id) == (True, 1)
    assert {asked.caller for asked in backend.asked} == {"shop"}


async def test_a_client_works_without_a_context_and_with_any_spelling_of_a_url() -> None:
    async with serving(FakeBackend()) as url:
        for spelling in (url, f"{url}/", f"{url}/mcp", url.removeprefix("http://")):
            client = semel.connect([spelling])
            assert (await client.call("add", {"a": 1})).result == 1
            await client.close()


async def test_a_client_without_urls_makes_no_sense() -> None:
    with pytest.raises(UsageError, match="at least one node"):
        semel.connect()


async def test_the_tools_are_listed() -> None:
    async with serving(FakeBackend()) as url, semel.connect(url) as client:
        (tool,) = await client.tools()
    assert tool == ADD


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ({"content": [], "structuredContent": {"result": [1]}}, [1]),
        ({"content": [], "structuredContent": {"a": 1, "b": 2}}, {"a": 1, "b": 2}),
        ({"content": [{"type": "text", "text": "hello"}]}, "hello"),
        ({"content": [{"type": "image", "data": "", "mimeType": "image/png"}]}, None),
    ],
)
async def test_the_result_is_the_tools_plain_value(result: dict[str, Any], value: Any) -> None:
    async with serving(FakeBackend(result=result)) as url, semel.connect(url) as client:
        answer = await client.call("add", {})
    assert answer.result == (result["content"] if value is None else value)


async def test_a_tools_failure_and_a_doubt_are_answers() -> None:
    failed = {"content": [{"type": "text", "text": "broken"}], "isError": True}
    async with serving(FakeBackend(result=failed, status=Status.ERROR)) as url, semel.connect(url) as client:
        answer = await client.call("add", {})
        assert (answer.outcome, answer.result) == (Status.ERROR, "broken")
    async with serving(FakeBackend(status=Status.IN_DOUBT)) as url, semel.connect(url) as client:
        assert (await client.call("add", {})).in_doubt


async def test_a_refusal_is_raised_at_once_as_what_it_is() -> None:
    backend = FakeBackend(error=KeyReused("the key names another call"))
    async with serving(backend) as url, semel.connect(url) as client:
        with pytest.raises(KeyReused, match="the key names another call"):
            await client.call("add", {}, key="sum")
        backend.error = None
        with pytest.raises(UnknownTool):
            await client.call("nothing", {})
    assert len(backend.asked) == 2


@pytest.mark.parametrize("error", [Busy("busy"), Draining("draining"), NoLeader("none"), Undecided("?")])
async def test_what_passes_is_retried_at_the_next_node_with_the_same_key(error: SemelError) -> None:
    first, second = FakeBackend(error=error), FakeBackend()
    async with serving(first) as one, serving(second) as other, semel.connect(one, other) as client:
        assert (await client.call("add", {"a": 1})).result == 1
        assert (await client.call("add", {"a": 2})).result == 2  # the node that answered is asked first from now on
    assert len(first.asked) == 1
    assert first.asked[0].key == second.asked[0].key
    assert second.asked[0].key != second.asked[1].key


async def test_a_node_that_cannot_go_on_is_passed_over_and_the_others_are_asked() -> None:
    first, second = FakeBackend(error=ReplicaError("its disk is full")), FakeBackend()
    async with serving(first) as one, serving(second) as other, semel.connect(one, other) as client:
        assert (await client.call("add", {"a": 1}, key="sum")).result == 1
    assert [asked.key for asked in first.asked + second.asked] == ["sum", "sum"]


async def test_if_no_node_can_go_on_it_says_why_at_once() -> None:
    backend = FakeBackend(error=LogDamaged("a page of it"))
    async with asyncio.timeout(5), serving(backend) as url, semel.connect(url) as client:
        with pytest.raises(LogDamaged, match="a page of it"):
            await client.call("add", {})


async def test_a_node_that_is_back_is_found_without_another() -> None:
    backend = FakeBackend(error=Busy("busy"))
    async with serving(backend) as url, semel.connect(url) as client:
        waiting = asyncio.create_task(client.call("add", {"a": 1}, key="sum"))
        while len(backend.asked) < 2:
            await asyncio.sleep(0.01)
        backend.error = None
        assert (await waiting).result == 1
    assert {asked.key for asked in backend.asked} == {"sum"}


async def test_a_dead_node_a_mute_one_and_one_that_hangs_up_are_passed_over() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    backend = FakeBackend()
    async with (
        asyncio.timeout(10),
        answering(hang_up) as rude,
        answering(say_nothing) as mute,
        serving(backend) as good,
        semel.connect(free_url(), rude, mute, good, attempt_timeout_s=0.3) as client,
    ):
        assert (await client.call("add", {"a": 1}, key="sum")).result == 1
    assert [asked.key for asked in backend.asked] == ["sum"]


async def test_a_call_that_nobody_took_says_so_at_each_url_and_that_nothing_was_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.uniform", lambda _least, most: most)  # the time ends in a pause, not in a request
    dead = free_url()
    async with (
        serving(FakeBackend(error=Busy("it is full"))) as busy,
        semel.connect(dead, busy, timeout_s=2.0) as client,
    ):
        with pytest.raises(NoLeader, match=r"no answer within 2\.0 s") as caught:
            await client.call("add", {}, key="sum")
    assert f"{dead}: ConnectError" in str(caught.value)
    assert f"{busy}: it is full" in str(caught.value)
    assert "Nothing was run; retrying with the key 'sum' is safe" in str(caught.value)


async def test_a_call_that_may_have_run_says_so_and_names_its_key() -> None:
    backend = FakeBackend(held=asyncio.Event())
    async with serving(backend) as url, semel.connect(url, timeout_s=0.3) as client:
        with pytest.raises(Undecided, match="did not answer in time") as caught:
            await client.call("add", {})
    assert f"Retrying with the key {backend.asked[0].key!r} is safe" in str(caught.value)


async def test_who_holds_a_call_for_long_is_asked_less_and_less_often() -> None:
    backend = FakeBackend(held=asyncio.Event())
    async with serving(backend) as url, semel.connect(url, timeout_s=3.0, attempt_timeout_s=0.1) as client:
        with pytest.raises(Undecided):
            await client.call("add", {})
    assert len(backend.asked) <= 6  # and not as often as a tenth of a second fits into the time


async def test_what_a_node_had_said_is_told_although_it_held_the_last_attempt_to_the_end() -> None:
    class RefusesOnce(FakeBackend):
        async def call(self, *args: Any, **options: Any) -> Reply:
            self.error = None if self.asked else NoLeader("no quorum: 1 of 3 etcd members reachable")
            return await super().call(*args, **options)

    async with serving(RefusesOnce(held=asyncio.Event())) as url, semel.connect(url, timeout_s=1.0) as client:
        with pytest.raises(Undecided, match="did not answer in time, and had said before: no quorum: 1 of 3"):
            await client.call("add", {})


async def test_what_is_no_node_is_not_asked_for_long() -> None:
    async def teapot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nteapot")
        await writer.drain()

    plain = MCPServer("plain", log_level="CRITICAL")
    plain.add_tool(lambda: 1, name="add")
    async with asyncio.timeout(5), answering(teapot) as url, semel.connect(url) as client:
        with pytest.raises(ClusterError, match=r"no semel node answers: .*HTTP status 404: teapot"):
            await client.call("add", {})
    app = make_app(plain._lowlevel_server, lambda: None)  # as the SDK's client does
    async with serve_http(app, "127.0.0.1", 0) as port, semel.connect(f"127.0.0.1:{port}") as client:
        with pytest.raises(SemelError, match=r"is an MCP server, but no semel node.*may have run add") as caught:
            await client.call("add", {})
    assert not caught.value.retry_safe


async def test_a_call_that_ran_at_what_is_no_node_is_not_taken_to_a_node_as_well() -> None:
    plain, backend = MCPServer("plain", log_level="CRITICAL"), FakeBackend()
    plain.add_tool(lambda: 1, name="add")
    app = make_app(plain._lowlevel_server, lambda: None)
    async with serve_http(app, "127.0.0.1", 0) as port, serving(backend) as url:
        client = semel.connect(f"127.0.0.1:{port}", url)
        with pytest.raises(SemelError, match="may have run add"):
            await client.call("add", {})
        await client.close()
    assert backend.asked == []


async def test_a_call_that_may_have_run_before_its_node_gave_way_to_something_else_says_so() -> None:
    connections = itertools.count()

    async def a_node_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if next(connections):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nteapot")
            await writer.drain()

    async with asyncio.timeout(5), answering(a_node_once) as url, semel.connect(url) as client:
        with pytest.raises(Undecided, match=r"404: teapot.*may have run.*Retrying with the key 'sum' is safe"):
            await client.call("add", {}, key="sum")


@pytest.mark.parametrize("value", [math.nan, math.inf, "half a character: \ud800", {1}, b"bytes"])
async def test_arguments_that_are_no_json_are_refused_and_never_bent(value: object) -> None:
    backend = FakeBackend()
    async with serving(backend) as url, semel.connect(url) as client:
        with pytest.raises(BadArguments, match=r"not JSON.*Nothing was run"):
            await client.call("add", {"a": value})
    assert backend.asked == []


async def test_arguments_beyond_what_a_node_reads_are_too_large() -> None:
    async with serving(FakeBackend()) as url, semel.connect(url) as client:
        with pytest.raises(TooLarge, match="Nothing was run"):
            await client.call("add", {"a": "x" * BODY_BYTES_MAX})


async def test_arguments_that_a_tool_wants_as_headers_are_sent_as_headers() -> None:
    account = {"type": "string", "x-mcp-header": "Account"}
    tool = {**ADD, "inputSchema": {"type": "object", "properties": {"account": account}}}
    backend = FakeBackend(shown=[tool])
    async with serving(backend) as url, semel.connect(url) as client:
        await client.call("add", {"account": "mine"})
    assert [asked.arguments for asked in backend.asked] == [{"account": "mine"}]


async def test_a_long_answer_comes_whole() -> None:
    result = {"content": [{"type": "text", "text": "x" * 20_000_000}]}
    async with serving(FakeBackend(result=result)) as url, semel.connect(url) as client:
        assert len((await client.call("add", {})).result) == 20_000_000


async def test_json_and_lines_are_had_from_the_first_node_that_answers() -> None:
    async def status(request: Request) -> JSONResponse:
        if "bad" in request.query_params:
            return JSONResponse({"error": "no such filter: bad"}, status_code=400)
        return JSONResponse({"asked": dict(request.query_params)})

    async def lines(_request: Request) -> StreamingResponse:
        return StreamingResponse(f"{json.dumps({'n': n})}\n" for n in range(3))

    routes = Route("/v1/status", status), Route("/v1/lines", lines)
    async with serving(FakeBackend(), *routes) as url, semel.connect(free_url(), url, timeout_s=2) as client:
        assert await client.get_json("/v1/status", {"tool": "add"}) == {"asked": {"tool": "add"}}
        assert [line async for line in client.get_lines("/v1/lines")] == [{"n": 0}, {"n": 1}, {"n": 2}]
        with pytest.raises(UsageError, match="no such filter: bad"):
            await client.get_json("/v1/status", {"bad": 1})
        with pytest.raises(ClusterError, match="HTTP status 404"):
            await client.get_json("/v1/nothing")


async def test_a_stream_that_breaks_off_is_an_error() -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"n": 0}\n')
        await writer.drain()

    async with answering(break_off) as url, semel.connect(url, timeout_s=2) as client:
        lines = client.get_lines("/v1/lines")
        assert await anext(lines) == {"n": 0}
        with pytest.raises(ClusterError, match="broke off in the middle"):
            await anext(lines)


async def test_an_answer_of_a_node_in_this_process_is_the_same() -> None:
    backend = FakeBackend()
    reply = await backend.call("add", {"a": 1}, key="sum", caller="anonymous")
    async with serving(backend) as url, semel.connect(url) as client:
        remote = await client.call("add", {"a": 1}, key="sum")
    local = answer_of(reply)
    assert (local.result, local.key, local.execution_id) == (remote.result, remote.key, remote.execution_id)


async def test_a_doubt_is_a_result_that_can_be_matched() -> None:
    async with serving(FakeBackend(status=Status.IN_DOUBT)) as url, semel.connect(url) as client:
        match await client.call("add", {}, key="sum"):
            case semel.Answer(outcome="ok"):
                found = "ok"
            case semel.Answer(outcome="in_doubt", key=key):
                found = f"in doubt: {key}"
    assert found == "in doubt: sum"


async def test_every_request_for_a_call_has_its_key_also_those_of_a_call_that_was_given_none() -> None:
    backends = [FakeBackend(error=Draining("no")), FakeBackend(error=Undecided("no")), FakeBackend()]
    async with (
        serving(backends[0]) as one,
        serving(backends[1]) as two,
        serving(backends[2]) as three,
        semel.connect(one, two, three) as client,
    ):
        answers = [await client.call("add", {}), await client.call("add", {})]
    keys = [asked.key for backend in backends for asked in backend.asked]
    assert set(keys) == {answer.key for answer in answers}
    assert len(keys) == 4  # the call that was refused twice, and the next, which goes to who answered


class Telling(FakeBackend):
    """Tells how far it has come before it answers, or fails."""

    steps: tuple[int, ...] = ()

    async def call(self, *args: Any, party: Party | None = None, **options: Any) -> Reply:
        assert party is not None
        for step in self.steps:
            party.told("notifications/progress", {"progress": step, "total": 3, "message": f"step {step}"})
        return await super().call(*args, party=party, **options)


async def test_a_tools_progress_is_told_and_a_retry_elsewhere_does_not_tell_it_again() -> None:
    first, second = Telling(error=Draining("it goes down")), Telling()
    first.steps, second.steps = (1, 2), (1, 2, 3)
    told: list[tuple[float, float | None, str | None]] = []
    async with serving(first) as one, serving(second) as other, semel.connect(one, other) as client:
        answer = await client.call("add", {"a": 1}, progress=lambda *step: told.append(step))
    assert answer.result == 1
    assert told == [(step, 3, f"step {step}") for step in (1, 2, 3)]


async def test_a_call_that_asks_for_more_is_an_answer_and_goes_on_with_answers_under_its_key() -> None:
    form = {"mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
    wanted = {"who": {"method": "elicitation/create", "params": form}}

    class Asking(FakeBackend):
        async def call(self, *args: Any, **options: Any) -> Reply:
            answers = options["details"].answers
            self.status = Status.OK if answers else Status.INPUT_REQUIRED
            self.result = None if answers else {"inputRequests": wanted, "requestState": "mine"}
            self.records.clear()
            return await super().call(*args, **options)

    first, second = Asking(), Asking()
    async with serving(first) as one, semel.connect(one, capabilities={"elicitation": {}}) as client:
        asking = await client.call("add", {"a": 1})
    assert (asking.outcome, asking.raw["inputRequests"]) == (Status.INPUT_REQUIRED, wanted)
    reply = {"who": {"action": "accept", "content": {"name": "Ann"}}}
    async with serving(second) as other, semel.connect(other) as client:
        answer = await client.call("add", {"a": 1}, state=asking.raw["requestState"], answers=reply)
    assert (answer.outcome, answer.result, answer.key) == (Status.OK, 1, asking.key)
    (before,), (after,) = first.asked, second.asked
    assert before.details is not None
    assert before.details.meta["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {}}
    assert after.details is not None
    assert (after.details.round, after.details.answers) == (2, {"requestState": "mine", "inputResponses": reply})
    assert (before.key, before.made) == (after.key, after.made) == (asking.key, True)


async def test_a_tool_that_asks_while_it_runs_is_an_answer_that_is_not_in_the_log() -> None:
    class Asking(FakeBackend):
        async def call(self, *args: Any, party: Party | None = None, **options: Any) -> Reply:
            assert party is not None
            party.asked(Question(CallId("", "k"), "q1", "roots/list", {}, NodeId("n1", "life"), self.asides))
            await asyncio.Event().wait()
            raise AssertionError

    async with serving(Asking()) as url, semel.connect(url, capabilities={"roots": {}}) as client:
        answer = await client.call("add", {}, key="k")
    assert (answer.outcome, answer.key, answer.logged) == (Status.INPUT_REQUIRED, "k", False)
    assert answer.raw["inputRequests"] == {"q1": {"method": "roots/list", "params": {}}}


async def test_a_request_that_is_no_call_has_its_result_or_error_from_the_first_node_that_answers() -> None:
    class Reading(FakeBackend):
        async def ask(self, method: str, params: Any, party: Party) -> dict[str, Any]:
            if self.error is not None:
                raise self.error
            if params["uri"] != "note://1":
                raise Unanswered({"code": -32602, "message": "no such note"})
            party.told("notifications/message", {"level": "info", "data": method})
            return {"contents": [{"uri": params["uri"], "text": "One"}]}

    heard: list[str] = []
    leaving, other = Reading(error=Draining("it goes down")), Reading()
    async with serving(leaving) as one, serving(other) as two, semel.connect(free_url(), one, two) as client:
        read = await client.request("resources/read", {"uri": "note://1"}, heard=lambda method, _: heard.append(method))
        assert read["contents"] == [{"uri": "note://1", "text": "One"}]
        assert heard == ["notifications/message"]
        with pytest.raises(MCPError, match="no such note"):
            await client.request("resources/read", {"uri": "note://2"})
        with pytest.raises(BadArguments):
            await client.request("resources/read", {"uri": math.nan})


async def test_changes_are_told_until_the_node_ends() -> None:
    announcer, told = Announcer(), asyncio.Queue[tuple[str, str]]()
    async with contextlib.AsyncExitStack() as node, asyncio.timeout(20):
        url = await node.enter_async_context(serving(FakeBackend(), announcer=announcer))
        async with semel.connect(free_url(), url) as client:
            stream = await client.listen(
                lambda method, params: told.put_nowait((method, params.get("uri", ""))), resources=["note://1"]
            )
            announcer.happened("resource", "note://2")
            announcer.happened("resource", "note://1")
            announcer.happened("tools", "")
            assert await told.get() == ("notifications/resources/updated", "note://1")
            assert await told.get() == ("notifications/tools/list_changed", "")
            await node.aclose()
            await stream


async def test_a_node_that_falls_silent_in_a_request_that_is_no_call_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("semel.gateway.clients.client.SILENCE_S", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    class Reading(FakeBackend):
        async def ask(self, method: str, params: Any, party: Party) -> dict[str, Any]:
            return {"contents": []}

    async with (
        asyncio.timeout(10),
        answering(say_nothing) as mute,
        serving(Reading()) as url,
        semel.connect(mute, url) as client,
    ):
        assert (await client.request("resources/read", {"uri": "note://1"}))["contents"] == []
