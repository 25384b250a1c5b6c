"""What a request says of its call: every place where a client may put its key, and the tools that want one."""

from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client

from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import KEYS_OF_CLIENTS, make_server

from .fakes import ADD, FakeBackend

pytestmark = pytest.mark.anyio

ERAS = ("2026-07-28", "legacy")
LOOK = {**ADD, "name": "look", "_meta": {"dev.semel/effect": "read"}}


class Proposing(types.CallToolRequestParams):
    """A call in the form that SEP-3182 proposed: its key is a sibling of its arguments."""

    idempotency_key: Any


class ProposingRequest(types.Request[Proposing, str]):
    method: str = "tools/call"
    params: Proposing


async def propose(client: Client, key: Any, meta: dict[str, Any] | None = None) -> types.CallToolResult:
    said: Any = meta
    params = Proposing(name="add", arguments={"a": 1}, idempotency_key=key, _meta=said)
    request: Any = ProposingRequest(params=params)
    return await client.session.send_request(request, types.CallToolResult)


@pytest.mark.parametrize("era", ERAS)
async def test_the_proposed_field_beside_the_arguments_is_a_key(era: str) -> None:
    backend = FakeBackend()
    async with Client(make_server(backend), mode=era) as client:
        await propose(client, "sum")
        again = await propose(client, "sum")
        await propose(client, "sum", {"dev.semel/idempotency-key": "mine"})
        await propose(client, "sum", {"claudecode/toolUseId": "toolu_1"})
    assert [asked.key for asked in backend.asked] == ["sum", "sum", "mine", "sum"]
    assert [asked.made for asked in backend.asked] == [False] * 4
    assert backend.asked[0].arguments == {"a": 1}
    assert (again.meta or {})["dev.semel/replayed"] is True


@pytest.mark.parametrize("era", ERAS)
async def test_the_proposed_field_must_be_a_string(era: str) -> None:
    backend = FakeBackend()
    async with Client(make_server(backend), mode=era) as client:
        with pytest.raises(MCPError, match="idempotencyKey must be a string, and is 7") as caught:
            await propose(client, 7)
    assert caught.value.data["code"] == "bad_key"
    assert backend.asked == []


@pytest.mark.parametrize("era", ERAS)
async def test_the_proposed_field_outranks_the_header_and_works_over_http(era: str) -> None:
    backend = FakeBackend()
    app = make_app(make_server(backend), backend.readiness)
    async with (
        serve_http(app, "127.0.0.1", 0) as port,
        httpx2.AsyncClient(headers={"Idempotency-Key": "header"}, timeout=30) as http,
        Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http), mode=era) as client,
    ):
        await propose(client, "sum")
        await client.call_tool("add", {})
    assert [asked.key for asked in backend.asked] == ["sum", "header"]


@pytest.mark.parametrize("era", ERAS)
async def test_every_configured_name_in_the_meta_may_hold_the_key(era: str) -> None:
    backend = FakeBackend()
    server = make_server(backend, client_keys=(*KEYS_OF_CLIENTS, "shop/order"))
    async with Client(server, mode=era) as client:
        for name in (*KEYS_OF_CLIENTS, "shop/order", "elsewhere/key"):
            await client.call_tool("add", {}, meta={name: f"of {name}"})
    *named, unknown = backend.asked
    assert [asked.key for asked in named] == [f"of {name}" for name in (*KEYS_OF_CLIENTS, "shop/order")]
    assert unknown.made


@pytest.mark.parametrize("era", ERAS)
async def test_a_node_that_wants_keys_refuses_a_once_call_without_one(era: str) -> None:
    backend = FakeBackend(shown=[ADD, LOOK])
    async with Client(make_server(backend, require_key=True), mode=era) as client:
        with pytest.raises(MCPError, match=r"runs add only under an idempotency key.*Nothing was run") as caught:
            await client.call_tool("add", {})
        assert backend.asked == []
        await client.call_tool("add", {}, meta={"dev.semel/idempotency-key": "sum"})
        await client.call_tool("look", {})
        with pytest.raises(MCPError, match="no tool 'nothing'"):
            await client.call_tool("nothing", {})
    assert caught.value.code == types.INVALID_PARAMS
    assert caught.value.data == {
        "source": "semel",
        "code": "key_missing",
        "retrySafe": False,
        "title": "Idempotency-Key is missing",
        "status": 400,
    }


async def test_a_key_that_is_missing_is_answered_400_over_http() -> None:
    backend = FakeBackend()
    app = make_app(make_server(backend, require_key=True), backend.readiness)
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    async with serve_http(app, "127.0.0.1", 0) as port, httpx2.AsyncClient() as http:
        response = await http.post(
            f"http://127.0.0.1:{port}/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "_meta": meta}},
            headers={
                "accept": "application/json, text/event-stream",
                "mcp-protocol-version": "2026-07-28",
                "mcp-method": "tools/call",
                "mcp-name": "add",
            },
        )
    assert response.status_code == 400
    assert response.json()["error"]["data"]["title"] == "Idempotency-Key is missing"


@pytest.mark.parametrize("era", ERAS)
async def test_an_error_in_the_place_of_an_answer_must_be_text_that_can_be_passed_on(era: str) -> None:
    backend, said = FakeBackend(), {"dev.semel/refused": {"q1": {"code": -1, "message": "\ud800"}}}
    async with Client(make_server(backend), mode=era) as client:
        with pytest.raises(MCPError, match="not JSON"):
            await client.call_tool("add", {}, meta=said)  # type: ignore[arg-type]
    assert backend.asked == []
