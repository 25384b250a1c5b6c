"""Tickets: an unmodified client of the new era asks again by itself, and a ticket is good for nothing else."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client

import semel
from semel.errors import BadTicket, Busy, Draining, NoLeader, SemelError, Undecided
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import make_server
from semel.gateway.doors.ticket import HELD_MAX, Ticket
from semel.node.backend import Reply

from .fakes import FakeBackend

pytestmark = pytest.mark.anyio

NEW = "2026-07-28"
TICKET = Ticket(key="sum", caller="shop", made=False, held=1)


@dataclass
class Leaderless(FakeBackend):
    """Fails the first so many calls."""

    failures: int = 0

    async def call(self, tool: str, arguments: Mapping[str, Any], **who: Any) -> Reply:
        if len(self.asked) < self.failures:
            failing = FakeBackend(error=NoLeader("no leader was found"), asked=self.asked)
            return await failing.call(tool, arguments, **who)
        return await super().call(tool, arguments, **who)


async def test_an_unmodified_client_asks_again_by_itself_and_gets_the_one_outcome() -> None:
    backend = Leaderless(failures=HELD_MAX)
    async with Client(make_server(backend), mode=NEW) as client:
        result = await client.call_tool("add", {"a": 1, "b": 2})
    assert result.structured_content == {"result": 3}
    assert len(backend.asked) == HELD_MAX + 1
    (key,) = {asked.key for asked in backend.asked}
    assert (result.meta or {})["dev.semel/idempotency-key"] == key
    assert all(asked.made for asked in backend.asked)
    assert all(asked.arguments == {"a": 1, "b": 2} for asked in backend.asked)


async def test_a_given_key_and_caller_stay_over_all_rounds() -> None:
    backend = Leaderless(failures=2)
    said: Any = {"dev.semel/idempotency-key": "sum", "dev.semel/caller": "shop"}
    async with Client(make_server(backend), mode=NEW) as client:
        await client.call_tool("add", {}, meta=said)
    assert {(asked.key, asked.caller, asked.made) for asked in backend.asked} == {("sum", "shop", False)}
    assert len(backend.asked) == 3


async def test_a_ticket_of_one_node_is_good_at_another() -> None:
    async with Client(make_server(Leaderless(failures=1)), mode=NEW) as client:
        held = await client.session.call_tool("add", {"a": 1}, allow_input_required=True)
    assert isinstance(held, types.InputRequiredResult)
    assert not held.input_requests
    other = FakeBackend()
    async with Client(make_server(other), mode=NEW) as client:
        result = await client.call_tool("add", {"a": 1}, request_state=held.request_state)
    assert result.structured_content == {"result": 1}
    assert other.asked[0].key == (held.meta or {})["dev.semel/idempotency-key"]


async def test_a_ticket_says_why_it_is_one() -> None:
    async with Client(make_server(FakeBackend(error=Undecided("it may yet run"))), mode=NEW) as client:
        held = await client.session.call_tool("add", {}, allow_input_required=True)
    assert (held.meta or {})["dev.semel/held"] == {
        "source": "semel",
        "code": "undecided",
        "retrySafe": True,
        "title": "A request is outstanding for this Idempotency-Key",
        "status": 409,
        "message": "it may yet run",
    }


@pytest.mark.parametrize("error", [NoLeader("no"), Undecided("no"), Draining("no")], ids=lambda error: error.code)
async def test_the_rounds_end_with_the_typed_error_before_the_client_gives_up(error: SemelError) -> None:
    backend = FakeBackend(error=error)
    async with Client(make_server(backend), mode=NEW) as client:
        with pytest.raises(MCPError, match="no") as caught:
            await client.call_tool("add", {})
    assert caught.value.data["code"] == error.code
    assert len(backend.asked) == HELD_MAX + 1


@pytest.mark.parametrize(("era", "error"), [("legacy", NoLeader("no")), (NEW, Busy("no"))], ids=["legacy", "busy"])
async def test_an_older_client_and_a_busy_node_know_no_tickets(era: str, error: SemelError) -> None:
    backend = FakeBackend(error=error)
    async with Client(make_server(backend), mode=era) as client:
        with pytest.raises(MCPError, match="no"):
            await client.call_tool("add", {})
    assert len(backend.asked) == 1


async def test_over_http_too_the_client_asks_again_by_itself() -> None:
    backend = Leaderless(failures=2)
    app = make_app(make_server(backend), backend.readiness)
    async with (
        serve_http(app, "127.0.0.1", 0) as port,
        httpx2.AsyncClient(timeout=30) as http,
        Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http), mode=NEW) as client,
    ):
        result = await client.call_tool("add", {"a": 1})
    assert result.structured_content == {"result": 1}
    assert len({asked.key for asked in backend.asked}) == 1


async def test_semels_own_client_takes_a_ticket_for_the_error_that_it_stands_for() -> None:
    backend = Leaderless(failures=2)
    async with serve_http(make_app(make_server(backend), backend.readiness), "127.0.0.1", 0) as port:
        async with semel.connect(f"http://127.0.0.1:{port}", timeout_s=20) as client:
            answer = await client.call("add", {"a": 1}, key="sum")
        assert (answer.result, answer.key, len(backend.asked)) == (1, "sum", 3)
        backend.error = Undecided("it may yet run")
        async with semel.connect(f"http://127.0.0.1:{port}", timeout_s=0.3) as client:
            with pytest.raises(Undecided, match=r"it may yet run.*Retrying with the key 'sum' is safe"):
                await client.call("add", {"a": 1}, key="sum")


FORGED = {
    "of another server": "eyJzdGF0ZSI6MX0=",
    "empty": "",
    "cut short": TICKET.text()[:-2],
    "changed": TICKET.text().replace("semel-1.", "semel-1.0"),
    "huge": "semel-1." + "a" * 100_000,
    "no base64": "semel-1.123456789abc.ä",
    "of another caller": TICKET.text(),
    "of another key": Ticket(key="other", caller="anonymous", made=False, held=1).text(),
    "of no round": Ticket(key="sum", caller="anonymous", made=False, round=0).text(),
    "of a round that nobody can count": Ticket(key="sum", caller="anonymous", made=False, round=2**63).text(),
    "held more often than any": Ticket(key="sum", caller="anonymous", made=False, held=HELD_MAX + 1).text(),
    "with answers that are none": Ticket(
        key="sum",
        caller="anonymous",
        made=False,
        answers={"inputResponses": {"who": 5}},  # type: ignore[dict-item]
    ).text(),
}


@pytest.mark.parametrize("state", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_or_damaged_ticket_is_a_clear_error_and_runs_nothing(state: str) -> None:
    backend = FakeBackend()
    async with Client(make_server(backend), mode=NEW) as client:
        with pytest.raises(MCPError, match=r"requestState .*Nothing was run") as caught:
            await client.call_tool("add", {}, request_state=state, meta={"dev.semel/idempotency-key": "sum"})
        assert caught.value.code == types.INVALID_PARAMS
        assert (caught.value.data["code"], caught.value.data["retrySafe"]) == ("bad_ticket", False)
        assert backend.asked == []
        await client.call_tool("add", {})  # and the node serves on


def test_a_ticket_gives_a_round_its_answers_and_no_other_arguments() -> None:
    forged: Any = {"requestState": "s", "arguments": {"amount": 9}, "_meta": {"dev.semel/idempotency-key": "other"}}
    assert Ticket.read(Ticket(key="k", caller="c", made=True, answers=forged).text()).answers == {"requestState": "s"}


def test_a_ticket_that_somebody_wrote_themselves_names_a_call_and_no_more() -> None:
    assert Ticket.read(TICKET.text()) == TICKET
    for body in (b"{}", b"[]", b'{"key":1,"caller":"x","made":true,"rounds":1}', b"\xff"):
        encoded = base64.urlsafe_b64encode(body).decode()
        with pytest.raises(BadTicket, match="damaged"):
            Ticket.read(f"semel-1.{_digest(encoded)}.{encoded}")


def _digest(body: str) -> str:
    import hashlib

    return hashlib.sha256(body.encode()).hexdigest()[:12]
