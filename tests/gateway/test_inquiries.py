"""What is no call, and whose server asks in the middle: at a node, at the next one, and through `semel connect`."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import msgspec
import pytest
from mcp import Client, types
from mcp_types import CLIENT_CAPABILITIES_META_KEY

import semel
from semel.core.call import CallId
from semel.gateway.clients.passage import open_passage
from semel.gateway.doors import door, inquiries
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.inquiries import Inquiries, Inquiry
from semel.gateway.doors.ticket import InquiryTicket, Ticket
from semel.gateway.upstreams import passing
from semel.node.asides import Party
from semel.serving import Node

from .fakes import FakeBackend
from .nodes import HEADERS, answered
from .test_passage import over_a_pipe, until
from .test_through import OLD, Listener, command, eras, serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

MEET = {"name": "meet", "arguments": {}}
CALLER = "dev.semel/caller"


@dataclass
class Cluster:
    """Two nodes; the tables of their doors, in the order in which they were made."""

    leader: Node
    follower: Node
    tables: list[Inquiries]
    lives: AsyncExitStack = field(default_factory=AsyncExitStack)
    """Of the follower."""

    @property
    def left(self) -> int:
        return sum(len(table._left) for table in self.tables)


@asynccontextmanager
async def nodes(folder: Path, *how: str) -> AsyncIterator[Cluster]:
    """Serve a server that asks, on stdio; `how` it is started."""
    tables: list[Inquiries] = []

    def noted(backend: Any) -> Inquiries:
        tables.append(Inquiries(backend))
        return tables[-1]

    target = folder / "mcp.json"
    target.write_text(json.dumps({"mcpServers": {"talk": command(*how)}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "Inquiries", noted)
        async with serving(target, folder) as leader, AsyncExitStack() as lives:
            follower = await lives.enter_async_context(serving(target, folder, "n2"))
            yield Cluster(leader, follower, tables, lives)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two nodes in front of a server of the handshake eras."""
    async with nodes(tmp_path, "old") as two:
        yield two


@pytest.fixture(scope="module", params=["old", "new"])
async def lasting(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """Two nodes for the tests that ask no more than that, in front of a server of the handshake eras, or of all."""
    async with nodes(tmp_path_factory.mktemp("nodes"), *[how for how in [request.param] if how == "old"]) as two:
        yield two


@asynccontextmanager
async def at(cluster: Cluster, where: str, listener: Listener, era: str) -> AsyncIterator[Client]:
    """Connect a client to a node over HTTP, or to both through `semel connect`."""
    how: Any = {"mode": era, "cache": None, "elicitation_callback": listener.answer}
    nodes = [cluster.follower, cluster.leader]
    if where == "semel connect":
        async with (
            semel.connect([node.url for node in nodes]) as out,
            open_passage(out) as server,
            Client(over_a_pipe(server), **how) as client,
        ):
            yield client
    else:
        async with Client(f"{nodes[where == 'the leader'].url}/mcp", **how) as client:
            yield client


def text(result: Any) -> str:
    (part,) = result.messages if hasattr(result, "messages") else result.contents
    words: str = part.content.text if hasattr(part, "content") else part.text
    return words


@dataclass
class Asking(FakeBackend):
    """Asks one question after the other in the middle of a request, and answers with what it was told."""

    questions: list[str] = field(default_factory=list)
    ends: asyncio.Event | None = None
    said: list[Any] = field(default_factory=list)
    ended: bool = False

    async def ask(self, method: str, params: Mapping[str, Any], party: Party) -> dict[str, Any]:
        number = CallId("", secrets.token_hex(4))
        self.said = []
        try:
            with self.asides.waiting(number, party), closing(self.asides.of(number)) as aside:
                for question in self.questions:
                    self.said.append((await aside.ask("elicitation/create", {"message": question}))["content"])
                if self.ends is not None:
                    await self.ends.wait()
                return {"said": self.said}
        finally:
            self.ended = True


def hearing() -> Hearing:
    said = {CLIENT_CAPABILITIES_META_KEY: {"elicitation": {}}}
    context: Any = SimpleNamespace(protocol_version="2026-07-28", session=None, meta=said)
    return Hearing(context)


def inquiry(state: str | None, replies: Mapping[str, Any]) -> Inquiry:
    return Inquiry(method="prompts/get", params={"name": "x"}, caller="ann", state=state, replies=replies)


class Raw:
    """A client of 2026-07-28 that asks and answers as a test tells it to."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def get(self, node: Node, params: Mapping[str, Any], **said: Any) -> dict[str, Any]:
        message = await self.send(node, "prompts/get", params, **said)
        assert "result" in message, message
        result: dict[str, Any] = message["result"]
        return result

    async def error(self, node: Node, params: Mapping[str, Any], method: str = "prompts/get", **said: Any) -> Any:
        message = await self.send(node, method, params, **said)
        assert "error" in message, message
        return message["error"]

    async def send(
        self, node: Node, method: str, params: Mapping[str, Any], *, caller: str = "", refused: Any = None
    ) -> Any:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            CLIENT_CAPABILITIES_META_KEY: {"elicitation": {}},
            "dev.semel/caller": caller or "anonymous",
            "dev.semel/refused": refused,
        }
        headers = {**HEADERS, "mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": params["name"]}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        response = await self._http.post(f"{node.url}/mcp", content=json.dumps(body), headers=headers)
        return await answered(response)


@asynccontextmanager
async def raw() -> AsyncIterator[Raw]:
    async with httpx2.AsyncClient(timeout=30) as http:
        yield Raw(http)


def accepting(asked: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an answer to all that is asked."""
    return {key: {"action": "accept", "content": {"name": name}} for key in asked["inputRequests"]}


def replying(asked: Mapping[str, Any], name: str, words: list[str]) -> dict[str, Any]:
    """Return what goes on with a request that asks something, which is added to `words`."""
    words.extend(each["params"]["message"] for each in asked["inputRequests"].values())
    return {"requestState": asked["requestState"], "inputResponses": accepting(asked, name)}


def spares_of(node: Node) -> Any:
    """Return the connections to the server that one client has for itself."""
    assert node._door is not None
    toolbox: Any = node._door._toolbox
    return toolbox._fleet.upstreams["talk"]._spares._all


def forged(ticket: InquiryTicket, **changes: Any) -> str:
    return msgspec.structs.replace(ticket, **changes).text()


everywhere = pytest.mark.parametrize("where", ["the leader", "a follower", "semel connect"])


@eras
@everywhere
async def test_a_prompt_and_a_resource_may_ask_the_client(lasting: Cluster, era: str, where: str) -> None:
    """In the middle, or by ending the request with the question; a state of the server's own comes back to it."""
    listener = Listener()
    async with at(lasting, where, listener, era) as client:
        prompt = text(await client.get_prompt("meet", {"times": "2", "fresh": "yes"}))
        resource = text(await client.read_resource("talk://who"))
    asked = [words[:16] for words in listener.asked]
    if asked == ["Who are you?"] * 2:
        assert (prompt, resource) == ("hello ann, asked", "hello ann, asked")
    else:  # what is asked in other words each time is answered, so the request was not begun anew
        assert asked == ["Who is number 0?", "Who is number 1?", "Who is number 0?"]
        assert prompt.startswith("hello ann, ann in run ")
        assert resource.startswith("hello ann in run ")
    assert lasting.left == 0


async def test_the_no_of_a_client_is_told_to_the_server_that_asks(cluster: Cluster) -> None:
    async def refuse(*_: Any) -> Any:
        return types.ErrorData(code=-1, message="not telling")

    async with (
        semel.connect([cluster.leader.url]) as out,
        open_passage(out) as server,
        Client(over_a_pipe(server), mode=OLD, cache=None, elicitation_callback=refuse) as client,
    ):
        assert text(await client.get_prompt("meet")) == "hello not telling in run 1"


async def test_a_client_that_comes_to_another_node_is_asked_nothing_twice(cluster: Cluster) -> None:
    """The request begins anew there; what was answered is answered again, the same question twice among it."""
    asked: list[str] = []
    params: dict[str, Any] = {"name": "meet", "arguments": {"times": "3"}}
    async with raw() as client:
        for node in (cluster.leader, cluster.follower, cluster.follower, cluster.leader):
            result = await client.get(node, params)
            if "messages" in result:
                break
            params |= replying(result, f"a{len(asked)}", asked)
    assert result["messages"][0]["content"]["text"] == "hello a0, a1, a2 in run 1"
    assert asked == [f"Who is number {number}?" for number in range(3)]
    assert cluster.left == 2  # one at each node, which end with their time


async def test_the_same_question_asked_again_gets_each_of_its_answers() -> None:
    """Such as "how many more?", until it is enough."""
    backend, said = Asking(questions=["more?", "more?", "enough?"]), list[Any]()
    result: Any = None
    state = None
    for reply in (None, "1", "2", "3"):
        table = Inquiries(backend)  # another node each time
        given = {} if reply is None else {key: {"content": reply} for key in result["inputRequests"]}
        result = await table.ask(inquiry(state, given), hearing())
        if "inputRequests" in result:
            (question,) = result["inputRequests"].values()
            said.append(question["params"]["message"])
            state = result["requestState"]
        for each in table._left.values():
            each.work.cancel()
    assert result == {"said": ["1", "2", "3"]}
    assert said == ["more?", "more?", "enough?"]


async def test_a_node_that_died_costs_no_question_and_no_answer(cluster: Cluster) -> None:
    asked: list[str] = []
    async with raw() as client:
        params: dict[str, Any] = {"name": "meet", "arguments": {"times": "2"}}
        params |= replying(await client.get(cluster.follower, params), "ann", asked)
        await cluster.lives.aclose()
        params |= replying(await client.get(cluster.leader, params), "ben", asked)
        result = await client.get(cluster.leader, params)
    assert result["messages"][0]["content"]["text"] == "hello ann, ben in run 1"
    assert asked == ["Who is number 0?", "Who is number 1?"]


@eras
async def test_through_semel_connect_a_node_may_die_while_its_client_thinks(cluster: Cluster, era: str) -> None:
    class Killing(Listener):
        async def answer(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
            await cluster.lives.aclose()
            return await super().answer(context, params)

    listener = Killing()
    async with at(cluster, "semel connect", listener, era) as client:
        assert text(await client.get_prompt("meet", {"times": "2"})) == "hello ann, ann in run 1"
    assert listener.asked == ["Who is number 0?", "Who is number 1?"]


async def test_a_program_is_asked_by_its_client_and_goes_on_under_its_name(cluster: Cluster) -> None:
    urls = [cluster.follower.url, cluster.leader.url]
    async with semel.connect(urls, caller="ann", capabilities={"elicitation": {}}) as client:
        asked = await client.request("prompts/get", MEET)
        assert InquiryTicket.read(asked["requestState"]).caller == "ann"
        result = await client.request("prompts/get", {**MEET, **replying(asked, "ann", [])})
    assert result["messages"][0]["content"]["text"] == "hello ann in run 1"


# Who has no right to it, and what is no answer.


async def test_nobody_else_answers_or_sees_what_a_client_is_asked(cluster: Cluster) -> None:
    async with raw() as client:
        ann = await client.get(cluster.leader, MEET, caller="ann")
        told = InquiryTicket.read(ann["requestState"])
        (key,) = told.questions
        eve: dict[str, Any] = {**MEET, "inputResponses": accepting(ann, "eve")}
        refused = await client.error(cluster.leader, {**eve, "requestState": ann["requestState"]}, caller="eve")
        assert refused["data"]["code"] == "bad_ticket"
        # A forged one, though of the word nobody else can know, begins a request of Eve's own.
        for ticket in (forged(told, caller="eve"), forged(told, word="0" * 32, caller="eve")):
            result = await client.get(cluster.leader, {**eve, "requestState": ticket}, caller="eve")
            assert result["messages"][0]["content"]["text"].startswith("hello eve in run ")
        assert cluster.left == 1
        params = {**MEET, "inputResponses": accepting(ann, "ann"), "requestState": ann["requestState"]}
        result = await client.get(cluster.leader, params, caller="ann")
    assert result["messages"][0]["content"]["text"] == "hello ann in run 1"
    assert key not in str(refused)


async def test_a_state_that_is_no_ticket_of_this_request_is_refused(cluster: Cluster) -> None:
    async with raw() as client:
        asked = await client.get(cluster.leader, MEET)
        state = asked["requestState"]
        call = Ticket(key="k", caller="anonymous", made=True).text()
        other = {"name": "meet", "arguments": {"times": "2"}}
        for params in ({**other, "requestState": state}, *({**MEET, "requestState": each} for each in ("s", call))):
            error = await client.error(cluster.leader, params)
            assert (error["code"], error["data"]["code"]) == (types.INVALID_PARAMS, "bad_ticket")
        for broken in (state[:-9], state.replace(state[30], "~")):
            error = await client.error(cluster.leader, {**MEET, "requestState": broken})
            assert error["data"]["code"] == "bad_ticket"
        call_with_it = {"name": "tell", "arguments": {}, "requestState": state}
        assert (await client.error(cluster.leader, call_with_it, "tools/call"))["data"]["code"] == "bad_ticket"
        assert cluster.left == 1


async def test_what_is_no_answer_leaves_the_question_open(cluster: Cluster) -> None:
    async with raw() as client:
        asked = await client.get(cluster.leader, MEET)
        (key,) = asked["inputRequests"]
        with_state = {**MEET, "requestState": asked["requestState"]}
        for bad in ({key: {"what": 1}}, {key: "ann"}, {key: None}, ["ann"], "ann", accepting(asked, "\ud800")):
            error = await client.error(cluster.leader, {**with_state, "inputResponses": bad})
            assert error["code"] == types.INVALID_PARAMS
        errors: Any = {key: {"message": "without a code"}}
        for more in ({}, {"inputResponses": {}}, {"inputResponses": {"other": accepting(asked, "x")[key]}}):
            again = await client.get(cluster.leader, {**with_state, **more}, refused=errors)
            assert again["inputRequests"] == asked["inputRequests"]
        result = await client.get(cluster.leader, {**with_state, "inputResponses": accepting(asked, "ann")})
    assert result["messages"][0]["content"]["text"] == "hello ann in run 1"


# Who never comes back.


async def test_what_nobody_comes_back_for_ends_with_its_time_and_begins_anew_for_who_does(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing, "TIMEOUT_S", 4)
    async with raw() as client:
        asked = await client.get(cluster.leader, MEET)
        assert cluster.left == 1
        await until(lambda: cluster.left == 0, "the request to end")
        await until(lambda: not spares_of(cluster.leader), "the connection to the server to end with it")
        params = {**MEET, "requestState": asked["requestState"], "inputResponses": accepting(asked, "ann")}
        monkeypatch.setattr(passing, "TIMEOUT_S", 60)
        result = await client.get(cluster.leader, params)
    assert result["messages"][0]["content"]["text"].startswith("hello ann in run ")


async def test_of_too_many_that_are_left_open_the_oldest_ends_and_can_begin_anew(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiries, "LEFT_MAX", 2)
    async with raw() as client:
        asked = [await client.get(cluster.leader, MEET, caller=f"c{number}") for number in range(3)]
        assert cluster.left == 2
        for number, each in enumerate(asked):
            params = {**MEET, "requestState": each["requestState"], "inputResponses": accepting(each, f"n{number}")}
            result = await client.get(cluster.leader, params, caller=f"c{number}")
            assert result["messages"][0]["content"]["text"].startswith(f"hello n{number} in run ")
    assert cluster.left == 0


async def test_a_client_that_leaves_while_its_answer_is_awaited_ends_the_request() -> None:
    """It has been asked, comes back, and goes away for good."""
    backend = Asking(questions=["who?"], ends=asyncio.Event())
    table = Inquiries(backend)
    asked = await table.ask(inquiry(None, {}), hearing())
    replies = {key: {"content": "ann"} for key in asked["inputRequests"]}
    waiting = asyncio.create_task(table.ask(inquiry(asked["requestState"], replies), hearing()))
    await until(lambda: backend.said, "the server to work on the answer")
    waiting.cancel()
    await until(lambda: backend.ended, "the request to end")
    assert not table._left
