"""The door in both protocol eras, in memory and over HTTP: keys, callers, answers, doubts and refusals."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken

from semel.core.call import Status
from semel.core.limits import Limits
from semel.errors import BadArguments, Busy, KeyReused, SemelError, Undecided
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import make_server
from semel.gateway.results import ended, failed, not_begun
from semel.node.tools import Done

from .fakes import ADD, FakeBackend

pytestmark = pytest.mark.anyio

ERAS = ("2026-07-28", "legacy")
Connect = Callable[..., AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def in_memory(backend: FakeBackend, era: str) -> AsyncIterator[Client]:
    async with Client(make_server(backend), mode=era) as client:
        yield client


@asynccontextmanager
async def over_http(backend: FakeBackend, era: str, **headers: str) -> AsyncIterator[Client]:
    app = make_app(make_server(backend), backend.readiness)
    async with (
        serve_http(app, "127.0.0.1", 0) as port,
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http), mode=era) as client,
    ):
        yield client


@pytest.fixture(
    params=[(connect, era) for connect in (in_memory, over_http) for era in ERAS],
    ids=lambda param: f"{param[0].__name__}-{param[1]}",
)
def connect(request: pytest.FixtureRequest) -> Connect:
    open_client, era = request.param
    return lambda backend: open_client(backend, era)


async def test_a_call_is_answered_with_what_the_log_says_of_it(connect: Connect) -> None:
    async with connect(FakeBackend()) as client:
        first = await client.call_tool("add", {"a": 1, "b": 2}, meta={"dev.semel/idempotency-key": "sum"})
        again = await client.call_tool("add", {"a": 1, "b": 2}, meta={"dev.semel/idempotency-key": "sum"})
    assert first.structured_content == {"result": 3}
    said = {name: value for name, value in (first.meta or {}).items() if name.startswith("dev.semel/")}
    assert said == {
        "dev.semel/idempotency-key": "sum",
        "dev.semel/position": 3,
        "dev.semel/execution-id": 1,
        "dev.semel/term": 3,
        "dev.semel/executor": "n1",
        "dev.semel/attempt": 1,
        "dev.semel/replayed": False,
        "dev.semel/outcome": "ok",
    }
    assert (again.meta or {})["dev.semel/replayed"] is True


async def test_the_tools_are_shown_with_their_effects(connect: Connect) -> None:
    async with connect(FakeBackend()) as client:
        (tool,) = (await client.list_tools()).tools
    assert (tool.name, tool.meta) == ("add", {"dev.semel/effect": "once"})
    assert tool.output_schema == ADD["outputSchema"]


async def test_a_call_without_a_key_gets_one_for_itself_alone(connect: Connect) -> None:
    backend = FakeBackend()
    async with connect(backend) as client:
        results = [await client.call_tool("add", {"a": 1}) for _ in range(2)]
    keys = [asked.key for asked in backend.asked]
    assert [(result.meta or {})["dev.semel/idempotency-key"] for result in results] == keys
    assert len({*keys, None}) == 3
    assert [asked.made for asked in backend.asked] == [True, True]


async def test_the_clients_own_name_for_a_call_is_its_key(connect: Connect) -> None:
    backend = FakeBackend()
    async with connect(backend) as client:
        await client.call_tool("add", {}, meta={"claudecode/toolUseId": "toolu_1"})
        await client.call_tool("add", {}, meta={"claudecode/toolUseId": "toolu_1", "dev.semel/idempotency-key": "mine"})
    assert [asked.key for asked in backend.asked] == ["toolu_1", "mine"]


async def test_the_caller_is_who_the_request_says_and_never_the_clients_program(connect: Connect) -> None:
    backend = FakeBackend()
    async with connect(backend) as client:
        await client.call_tool("add", {})
        await client.call_tool("add", {}, meta={"dev.semel/caller": "shop"})
    assert [asked.caller for asked in backend.asked] == ["anonymous", "shop"]


async def test_whom_the_transport_authenticated_is_the_caller_whatever_the_request_says() -> None:
    backend = FakeBackend()
    user = AuthenticatedUser(AccessToken(token="t", client_id="program", subject="alice", scopes=[]))
    token = auth_context_var.set(user)
    try:
        async with in_memory(backend, "2026-07-28") as client:
            await client.call_tool("add", {}, meta={"dev.semel/caller": "mallory"})
    finally:
        auth_context_var.reset(token)
    assert backend.asked[0].caller == "alice"


async def test_the_clients_program_is_noted_where_the_protocol_tells_it() -> None:
    backend = FakeBackend()
    for era in ERAS:
        info = types.Implementation(name="probe", version="1.2")
        async with Client(make_server(backend), mode=era, client_info=info) as client:
            await client.call_tool("add", {})
    assert [asked.client for asked in backend.asked] == ["probe/1.2", "probe/1.2"]


@pytest.mark.parametrize("meta", [{"dev.semel/idempotency-key": 7}, {"dev.semel/caller": ["x"]}])
async def test_a_key_or_a_caller_that_is_no_string_is_refused(connect: Connect, meta: dict[str, Any]) -> None:
    backend = FakeBackend()
    async with connect(backend) as client:
        with pytest.raises(MCPError, match="must be a string") as caught:
            await client.call_tool("add", {}, meta=meta)
    assert caught.value.code == types.INVALID_PARAMS
    assert caught.value.data["code"] == "bad_key"
    assert backend.asked == []


@pytest.mark.parametrize(
    ("error", "code", "data"),
    [
        (
            KeyReused("no"),
            types.INVALID_PARAMS,
            {"source": "semel", "code": "key_reused", "retrySafe": False}
            | {"title": "Idempotency-Key is already used", "status": 422},
        ),
        (Busy("no"), types.INTERNAL_ERROR, {"source": "semel", "code": "busy", "retrySafe": True}),
        (
            Undecided("no"),
            types.INTERNAL_ERROR,
            {"source": "semel", "code": "undecided", "retrySafe": True}
            | {"title": "A request is outstanding for this Idempotency-Key", "status": 409},
        ),
    ],
    ids=lambda value: value.code if isinstance(value, SemelError) else "",
)
async def test_a_refusal_says_which_and_whether_a_retry_is_safe(
    connect: Connect, error: SemelError, code: int, data: dict[str, Any]
) -> None:
    async with connect(FakeBackend(error=error)) as client:
        with pytest.raises(MCPError, match="no") as caught:
            await client.call_tool("add", {})
    assert (caught.value.code, caught.value.data) == (code, data)


async def test_an_unknown_tool_is_an_error_of_the_request(connect: Connect) -> None:
    async with connect(FakeBackend()) as client:
        with pytest.raises(MCPError, match="no tool 'nothing'") as caught:
            await client.call_tool("nothing", {})
    assert caught.value.code == types.INVALID_PARAMS
    assert caught.value.data["code"] == "unknown_tool"


async def test_a_call_in_doubt_says_so_and_what_to_do(connect: Connect) -> None:
    async with connect(FakeBackend(status=Status.IN_DOUBT)) as client:
        result = await client.call_tool("add", {}, meta={"dev.semel/idempotency-key": "sum"})
    assert result.is_error
    assert (result.meta or {})["dev.semel/outcome"] == "in_doubt"
    assert (result.meta or {})["dev.semel/source"] == "semel"
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    assert block.text.startswith("In doubt: nobody can know whether add acted. n1 began to run it (position 2")
    assert "It was not run again." in block.text
    assert "same key (sum)" in block.text


async def test_a_failure_of_the_tool_is_a_result_with_its_own_meta_kept(connect: Connect) -> None:
    failed = {"content": [{"type": "text", "text": "broken"}], "isError": True, "_meta": {"theirs/x": 1}}
    async with connect(FakeBackend(result=failed, status=Status.ERROR)) as client:
        result = await client.call_tool("add", {})
    assert result.is_error
    assert (result.meta or {})["theirs/x"] == 1
    assert (result.meta or {})["dev.semel/outcome"] == "error"
    assert (result.meta or {})["dev.semel/source"] == "tool"


@pytest.mark.parametrize(
    ("end", "source"),
    [
        (failed("it took too long", Status.TIMED_OUT), "semel"),
        (not_begun("its server was down. Nothing was run"), "semel"),
        (failed("add failed: KeyError"), "tool"),
        (ended("add", {"content": [], "isError": True, "_meta": {"dev.semel/source": "semel"}}, Limits()), "tool"),
    ],
    ids=["timed out", "not begun", "raised", "forged"],
)
async def test_a_failure_says_whose_word_it_is(connect: Connect, end: Done, source: str) -> None:
    async with connect(FakeBackend(result=json.loads(bytes(end.result)), status=end.status)) as client:
        result = await client.call_tool("add", {})
    assert result.is_error
    assert (result.meta or {})["dev.semel/source"] == source


async def test_structures_that_an_older_protocol_cannot_carry_come_as_text(connect: Connect) -> None:
    listing = {**ADD, "outputSchema": {"type": "array"}}
    result = {"content": [{"type": "text", "text": "[1]"}], "structuredContent": [1]}
    async with connect(FakeBackend(shown=[listing], result=result)) as client:
        assert (await client.list_tools()).tools[0].name == "add"
        answer = await client.call_tool("add", {})
        carried = [1] if client.protocol_version == "2026-07-28" else None
    assert answer.content == [types.TextContent(text="[1]")]
    assert answer.structured_content == carried


async def test_the_server_says_who_it_is() -> None:
    async with Client(make_server(FakeBackend(), instructions="Use with care."), mode="auto") as client:
        assert client.server_info is not None
        assert client.server_info.name == "semel"
        assert client.server_info.version
        assert client.instructions == "Use with care."


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("header", ["order-42", '"order-42"'])
async def test_the_key_may_come_as_an_http_header(era: str, header: str) -> None:
    backend = FakeBackend()
    async with over_http(backend, era, **{"Idempotency-Key": header}) as client:
        await client.call_tool("add", {})
        await client.call_tool("add", {}, meta={"dev.semel/idempotency-key": "mine"})
        await client.call_tool("add", {}, meta={"claudecode/toolUseId": "toolu_1"})
    assert [asked.key for asked in backend.asked] == ["order-42", "mine", "order-42"]


async def test_two_header_keys_are_refused() -> None:
    backend = FakeBackend()
    app = make_app(make_server(backend), backend.readiness)
    async with serve_http(app, "127.0.0.1", 0) as port, httpx2.AsyncClient() as http:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        response = await http.post(
            f"http://127.0.0.1:{port}/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "_meta": meta}},
            headers=[
                ("accept", "application/json, text/event-stream"),
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "tools/call"),
                ("mcp-name", "add"),
                ("idempotency-key", "a"),
                ("idempotency-key", "b"),
            ],
        )
    assert response.status_code == 400
    assert response.json()["error"]["data"]["code"] == "bad_key"


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_goes_away_does_not_end_the_call(era: str) -> None:
    backend = FakeBackend(held=asyncio.Event())
    async with over_http(backend, era) as client:
        gone = asyncio.create_task(client.call_tool("add", {"a": 1}, meta={"dev.semel/idempotency-key": "sum"}))
        async with asyncio.timeout(5):
            while not backend.asked:
                await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.wait([gone])
        assert backend.held is not None
        backend.held.set()
        again = await client.call_tool("add", {"a": 1}, meta={"dev.semel/idempotency-key": "sum"})
    assert again.structured_content == {"result": 1}


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_arguments_that_do_not_fit_are_told_as_a_failure_that_a_model_can_mend(era: str) -> None:
    backend = FakeBackend(error=BadArguments("at $.a: 'x' is no number. Nothing was run"))
    async with Client(make_server(backend), mode=era) as client:
        result = await client.call_tool("add", {"a": "x"})
    assert result.is_error
    assert result.content[0].text == "at $.a: 'x' is no number. Nothing was run"
    assert (result.meta or {})["dev.semel/error"] == {"source": "semel", "code": "bad_arguments", "retrySafe": True}
