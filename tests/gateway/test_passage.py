"""The way through: what a client says and hears with a cluster behind the door in the place of a node."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from mcp import Client, MCPError, types
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import semel
from semel.core.call import Status
from semel.errors import Draining, KeyReused, Undecided
from semel.gateway import passage
from semel.gateway.http import make_app, serve_http
from semel.gateway.passage import open_passage
from semel.gateway.server import make_server

from .fakes import ADD, FakeBackend

pytestmark = pytest.mark.anyio

ERAS = ("2026-07-28", "legacy")


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@asynccontextmanager
async def nodes(*backends: FakeBackend) -> AsyncIterator[list[str]]:
    """Serve each backend as a node."""
    async with AsyncExitStack() as stack:
        urls = []
        for backend in backends:
            app = make_app(make_server(backend, instructions="Use with care."), backend.readiness)
            urls.append(f"http://127.0.0.1:{await stack.enter_async_context(serve_http(app, '127.0.0.1', 0))}")
        yield urls


@asynccontextmanager
async def through(urls: list[str], era: str, notes: list[str] | None = None, **how: Any) -> AsyncIterator[Client]:
    """Connect a client of an era to the nodes at `urls`, all in this process."""
    heard: list[str] = [] if notes is None else notes
    async with (
        semel.connect(urls, **({"timeout_s": 20} | how)) as out,
        open_passage(out, note=heard.append) as server,
        Client(server, mode=era) as client,
    ):
        yield client


async def test_a_call_goes_through_with_a_key_of_its_own_and_the_answer_comes_back_whole(era: str) -> None:
    backend = FakeBackend()
    async with nodes(backend) as urls, through(urls, era) as client:
        results = [await client.call_tool("add", {"a": 1, "b": 2}) for _ in range(2)]
    keys = [asked.key for asked in backend.asked]
    assert len({*keys, None}) == 3
    assert [asked.made for asked in backend.asked] == [True, True]
    for key, result in zip(keys, results, strict=True):
        said = result.meta or {}
        assert (result.structured_content, result.is_error) == ({"result": 3}, False)
        assert (said["dev.semel/idempotency-key"], said["dev.semel/executor"]) == (key, "n1")


async def test_the_tools_come_through_with_schemas_annotations_and_effects(era: str) -> None:
    shown = {**ADD, "annotations": {"destructiveHint": True}, "title": "Sum"}
    async with nodes(FakeBackend(shown=[shown])) as urls, through(urls, era) as client:
        (tool,) = (await client.list_tools()).tools
        capabilities = client.server_capabilities
    assert (tool.name, tool.title, tool.meta) == ("add", "Sum", {"dev.semel/effect": "once"})
    assert (tool.input_schema, tool.output_schema) == (ADD["inputSchema"], ADD["outputSchema"])
    assert tool.annotations is not None
    assert tool.annotations.destructive_hint is True
    assert capabilities is not None
    assert (capabilities.resources, capabilities.prompts) == (None, None)


async def test_a_given_key_a_caller_and_what_else_the_meta_says_go_along(era: str) -> None:
    backend = FakeBackend()
    heard: list[Mapping[str, Any]] = []
    server = make_server(backend)
    handler = server.get_request_handler("tools/call")
    assert handler is not None

    async def listening(context: Any, params: Any) -> Any:
        heard.append(dict(context.meta))
        return await handler.handler(context, params)

    server.add_request_handler("tools/call", handler.params_type, listening)
    said: Any = {"claudecode/toolUseId": "toolu_1", "dev.semel/caller": "shop", "traceparent": "00-1-2-01"}
    async with (
        serve_http(make_app(server, backend.readiness), "127.0.0.1", 0) as port,
        through([f"http://127.0.0.1:{port}"], era) as client,
    ):
        await client.call_tool("add", {}, meta=said)
    (asked,) = backend.asked
    assert (asked.key, asked.caller, asked.made) == ("toolu_1", "shop", False)
    assert heard[0]["traceparent"] == "00-1-2-01"
    assert "progressToken" not in heard[0]


async def test_the_program_that_asks_is_named_in_the_audit_and_not_what_is_in_between(era: str) -> None:
    backend = FakeBackend()
    info = types.Implementation(name="probe", version="1.2")
    async with nodes(backend) as urls, semel.connect(urls) as out:
        async with open_passage(out) as server, Client(server, mode=era, client_info=info) as client:
            await client.call_tool("add", {})
        await out.call("add", {}, also={"dev.semel/client": "mine/2"})
    assert [asked.client for asked in backend.asked] == ["probe/1.2", "mine/2"]


async def test_the_configured_caller_is_whose_calls_they_are_whatever_a_request_says(era: str) -> None:
    backend = FakeBackend()
    async with nodes(backend) as urls, through(urls, era, caller="ann") as client:
        await client.call_tool("add", {})
        await client.call_tool("add", {}, meta={"dev.semel/caller": "mallory"})
    assert [asked.caller for asked in backend.asked] == ["ann", "ann"]


async def test_the_next_node_is_asked_under_the_same_key(era: str) -> None:
    leaving, other, notes = FakeBackend(error=Draining("it goes down")), FakeBackend(), list[str]()
    async with nodes(leaving, other) as urls, through(urls, era, notes) as client:
        result = await client.call_tool("add", {"a": 1})
        assert notes == [f"{urls[1]} answers"]
    assert result.structured_content == {"result": 1}
    assert leaving.asked[0].key == other.asked[0].key


async def test_a_refusal_comes_through_as_the_node_gave_it(era: str) -> None:
    notes: list[str] = []
    backend = FakeBackend(error=KeyReused("names another call"))
    async with nodes(backend) as urls, through(urls, era, notes) as client:
        with pytest.raises(MCPError, match="names another call") as caught:
            await client.call_tool("add", {})
    assert caught.value.code == types.INVALID_PARAMS
    assert caught.value.data["source"] == "semel"
    assert (caught.value.data["code"], caught.value.data["retrySafe"]) == ("key_reused", False)
    assert notes == ["add has no answer: names another call"]


async def test_no_answer_in_time_is_an_error_that_names_the_key_and_no_ticket(era: str) -> None:
    backend = FakeBackend(error=Undecided("it may yet run"))
    async with nodes(backend) as urls, through(urls, era, timeout_s=0.3) as client:
        with pytest.raises(MCPError, match="Retrying with the key 'sum' is safe") as caught:
            await client.call_tool("add", {}, meta={"dev.semel/idempotency-key": "sum"})
    assert (caught.value.data["code"], caught.value.data["retrySafe"]) == ("undecided", True)


async def test_nobody_to_connect_to_is_an_error_that_says_that_nothing_was_run(era: str) -> None:
    async with through(["http://127.0.0.1:1"], era, connect_timeout_s=0.2) as client:
        with pytest.raises(MCPError, match="Nothing was run") as caught:
            await client.call_tool("add", {})
        with pytest.raises(MCPError) as unlisted:
            await client.list_tools()
    assert (caught.value.data["code"], caught.value.data["retrySafe"]) == ("no_leader", True)
    assert unlisted.value.data["source"] == "semel"


async def test_a_server_that_is_no_node_is_said_to_be_none(era: str) -> None:
    async def other(_request: Request) -> Response:
        return PlainTextResponse("hello", status_code=404)

    app = Starlette(routes=[Route("/mcp", other, methods=["POST"])])
    async with serve_http(app, "127.0.0.1", 0) as port, through([f"http://127.0.0.1:{port}"], era) as client:
        with pytest.raises(MCPError, match=r"no semel node answers.*Check the URLs"):
            await client.call_tool("add", {})


async def test_a_doubt_comes_through_as_the_result_that_it_is(era: str) -> None:
    async with nodes(FakeBackend(status=Status.IN_DOUBT)) as urls, through(urls, era) as client:
        result = await client.call_tool("add", {})
    assert result.is_error
    assert (result.meta or {})["dev.semel/outcome"] == "in_doubt"


async def test_more_calls_than_fit_are_told_so(era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage, "CALLS_MAX", 1)
    backend = FakeBackend(held=asyncio.Event())
    async with nodes(backend) as urls, through(urls, era) as client:
        waiting = asyncio.create_task(client.call_tool("add", {"a": 1}))
        async with asyncio.timeout(5):
            while not backend.asked:
                await asyncio.sleep(0.01)
        with pytest.raises(MCPError, match="1 calls wait here") as caught:
            await client.call_tool("add", {"a": 2})
        assert backend.held is not None
        backend.held.set()
        assert (await waiting).structured_content == {"result": 1}
    assert caught.value.data["code"] == "busy"


async def test_a_structure_that_an_older_protocol_cannot_carry_comes_as_text(era: str) -> None:
    result = {"content": [{"type": "text", "text": "[1]"}], "structuredContent": [1]}
    listing = {**ADD, "outputSchema": {"type": "array"}}
    async with nodes(FakeBackend(shown=[listing], result=result)) as urls, through(urls, era) as client:
        answer = await client.call_tool("add", {})
    assert answer.content == [types.TextContent(text="[1]")]
    assert answer.structured_content == ([1] if era == "2026-07-28" else None)


async def test_what_the_served_server_says_of_itself_can_be_asked_for() -> None:
    async with nodes(FakeBackend()) as urls, semel.connect(urls) as client:
        assert (await client.discover())["instructions"] == "Use with care."
