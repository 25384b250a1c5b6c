"""The way through: what a client says and hears with a cluster behind the door in the place of a node."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError, types
from mcp.server import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.memory import create_client_server_memory_streams
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import semel
from semel.core.call import CallId, NodeId, Status
from semel.errors import Draining, KeyReused, NoLeader, Undecided
from semel.gateway.clients import lookout, passage
from semel.gateway.clients.passage import open_passage
from semel.gateway.doors.announcing import Announcer
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import make_server
from semel.node.asides import Asides, Party, Question, Unanswered
from semel.node.backend import Reply

from .fakes import ADD, FakeBackend

pytestmark = [
    pytest.mark.anyio,
    # What the newest version has no more is what is tested here, too.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

ERAS = ("2026-07-28", "legacy")


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@dataclass
class Library(FakeBackend):
    """Has resources and prompts; its tool says what `says` holds, and asks the client what `asks` does."""

    offered: dict[str, Any] = field(
        default_factory=lambda: {
            "tools": {},
            "resources": {"subscribe": True},
            "prompts": {},
            "completions": {},
            "logging": {},
        }
    )
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: Any = None
    refusal: Exception | None = None
    says: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    asks: tuple[str, dict[str, Any]] | None = None
    answered: list[Any] = field(default_factory=list)

    async def ask(self, method: str, params: Mapping[str, Any], party: Party) -> dict[str, Any]:
        self.requests.append((method, dict(params)))
        if self.refusal is not None:
            raise self.refusal
        answer: dict[str, Any] = self.answers(params) if callable(self.answers) else self.answers
        return answer

    async def call(self, *args: Any, party: Party | None = None, **options: Any) -> Reply:
        assert party is not None
        for said in self.says:
            party.told(*said)
        if self.asks is not None and not self.answered:
            party.asked(Question(CallId("", "k"), "q1", *self.asks, NodeId("n1", "life"), self.asides))
            while not self.answered:
                await asyncio.sleep(0.01)
        return await super().call(*args, party=party, **options)

    def __post_init__(self) -> None:
        library = self

        class Answers(Asides):
            def answer(self, _call: CallId, key: str, **given: Any) -> None:
                library.answered.append((key, given))

        self.asides = Answers(NodeId("n1", "life"), lambda _message: None)


@asynccontextmanager
async def nodes(*backends: FakeBackend, announcers: tuple[Announcer, ...] = ()) -> AsyncIterator[list[str]]:
    """Serve each backend as a node."""
    async with AsyncExitStack() as stack:
        urls = []
        for number, backend in enumerate(backends):
            announcer = announcers[number] if announcers else None
            server = make_server(backend, instructions="Use with care.", announcer=announcer)
            app = make_app(server, backend.readiness)
            urls.append(f"http://127.0.0.1:{await stack.enter_async_context(serve_http(app, '127.0.0.1', 0))}")
        yield urls


@asynccontextmanager
async def over_a_pipe(server: Server[Any]) -> AsyncIterator[Any]:
    """Serve as on stdio: within a process the SDK has shorter ways, without tokens and cancellations."""
    async with create_client_server_memory_streams() as (mine, its), anyio.create_task_group() as tasks:

        async def serve() -> None:
            async with server.lifespan(server) as state:
                await serve_dual_era_loop(server, *its, lifespan_state=state)

        tasks.start_soon(serve)
        yield mine
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def through(
    urls: list[str],
    era: str,
    notes: list[str] | None = None,
    *,
    client_is: Mapping[str, Any] | None = None,
    **how: Any,
) -> AsyncIterator[Client]:
    """Connect a client of an era to the nodes at `urls`, all in this process."""
    heard: list[str] = [] if notes is None else notes
    async with (
        semel.connect(urls, **({"timeout_s": 20} | how)) as out,
        open_passage(out, note=heard.append) as server,
        Client(over_a_pipe(server), mode=era, cache=None, **(client_is or {})) as client,
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


async def until(condition: Callable[[], Any], what: str) -> None:
    try:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


PAGE = {"contents": [{"uri": "note://1", "text": "One"}]}


async def test_what_is_no_call_goes_to_the_next_node_when_one_has_no_answer_and_says_whose_it_is(era: str) -> None:
    async def sample(*_: Any) -> Any:
        raise AssertionError("nothing is asked")

    leaving, other = Library(refusal=NoLeader("it goes down")), Library(answers=PAGE)
    asked = {"client_is": {"sampling_callback": sample}}
    async with nodes(leaving, other) as urls, through(urls, era, **asked) as client:
        meta: Any = {"traceparent": "00-1-2-01"}
        (content,) = (await client.read_resource("note://1", meta=meta)).contents
    assert isinstance(content, types.TextResourceContents)
    assert content.text == "One"
    for backend in (leaving, other):
        ((method, params),) = backend.requests
        assert (method, params["uri"], params["_meta"]["traceparent"]) == ("resources/read", "note://1", "00-1-2-01")
        assert "sampling" in params["_meta"]["io.modelcontextprotocol/clientCapabilities"]


async def test_the_served_servers_error_comes_through_as_it_came(era: str) -> None:
    error = {"code": -32002, "message": "no such note", "data": {"uri": "note://9"}}
    library = Library(refusal=Unanswered(error))
    async with nodes(library, FakeBackend()) as urls, through(urls, era) as client:
        with pytest.raises(MCPError, match="no such note") as caught:
            await client.read_resource("note://9")
    assert caught.value.error.model_dump() == error
    assert len(library.requests) == 1  # it is an answer, and no other node is asked


async def test_a_prompt_that_asks_in_rounds_is_told_the_answers(era: str) -> None:
    wanted = {"mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
    question = {"method": "elicitation/create", "params": wanted}

    def answers(params: Mapping[str, Any]) -> dict[str, Any]:
        if "inputResponses" not in params:
            return {"resultType": "input_required", "inputRequests": {"who": question}, "requestState": "s"}
        said = params["inputResponses"]["who"]["content"]["name"] + params["requestState"]
        return {"messages": [{"role": "user", "content": {"type": "text", "text": said}}]}

    async def elicit(*_: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ann"})

    library = Library(answers=answers)
    asked = {"client_is": {"elicitation_callback": elicit}}
    async with nodes(library) as urls, through(urls, era, **asked) as client:
        (message,) = (await client.get_prompt("greet")).messages
    assert message.content == types.TextContent(text="Anns")


async def test_what_nodes_offer_is_offered_and_before_they_have_said_so_tools_alone() -> None:
    async with nodes(Library(), announcers=(Announcer(),)) as urls, through(urls, "auto") as client:
        offers = client.server_capabilities
        assert offers is not None
        assert None not in (offers.tools, offers.resources, offers.prompts, offers.completions, offers.logging)
        assert offers.resources is not None
        assert (offers.resources.subscribe, offers.resources.list_changed) == (True, True)
    notes: list[str] = []
    async with through(["http://127.0.0.1:1"], "auto", notes) as client:
        offers = client.server_capabilities
        assert offers is not None
        assert (offers.tools is not None, offers.resources, offers.prompts) == (True, None, None)
    assert notes == ["no node answers yet; calls are held until one does"]


async def test_progress_and_log_lines_come_through_as_far_as_the_client_wants_them(era: str) -> None:
    steps: list[float] = []
    lines: list[Any] = []

    async def step(progress: float, *_: Any) -> None:
        steps.append(progress)

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        lines.append(params.data)

    line = {"level": "info", "data": "at work"}
    progress = [("notifications/progress", {"progress": step, "total": 3}) for step in (1, 2, 1, 3)]
    library = Library(says=[*progress, ("notifications/message", line)])
    said: Any = {"io.modelcontextprotocol/logLevel": "info"} if era == "2026-07-28" else {}
    async with nodes(library) as urls, through(urls, era, client_is={"logging_callback": log}) as client:
        await client.call_tool("add", {}, progress_callback=step, meta=said)
        await until(lambda: lines and len(steps) == 3, "what the tool said")
        await client.call_tool("add", {})
    assert (steps, lines[0]) == ([1, 2, 3], "at work")
    first, second = (asked.details.meta for asked in library.asked if asked.details is not None)
    assert ("progressToken" in first, "progressToken" in second) == (True, False)
    assert (first.get("dev.semel/logs-unasked"), second.get("dev.semel/logs-unasked")) == (
        (None, None) if era == "2026-07-28" else (True, True)
    )


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_running_tools_question_is_put_to_the_client_and_its_answer_or_error_to_the_tool(refuses: bool) -> None:
    message = {"role": "user", "content": {"type": "text", "text": "Capital?"}}
    library = Library(asks=("sampling/createMessage", {"messages": [message], "maxTokens": 9}))

    async def sample(*_: Any) -> Any:
        if refuses:
            return types.ErrorData(code=-1, message="no")
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="Paris"), model="m")

    asked = {"client_is": {"sampling_callback": sample}}
    async with nodes(library) as urls, through(urls, "legacy", **asked) as client:
        result = await client.call_tool("add", {"a": 1})
    assert result.structured_content == {"result": 1}
    ((key, given),) = library.answered
    assert key == "q1"
    if refuses:
        assert given == {"error": {"code": -1, "message": "no"}}
    else:
        assert given["result"]["content"]["text"] == "Paris"
    assert len({each.key for each in library.asked}) == 1


async def test_what_changes_is_told_and_after_a_nodes_death_everything_is_said_to_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookout, "_LISTEN_AGAIN_FIRST_S", 0.01)
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(f"{message.method} {getattr(message.params, 'uri', '')}".strip())

    first, second = Announcer(), Announcer()
    watched: list[frozenset[str]] = []
    first.on_watch = second.on_watch = watched.append
    async with nodes(Library(), announcers=(second,)) as others, AsyncExitStack() as dying:
        urls = await dying.enter_async_context(nodes(Library(), announcers=(first,)))
        is_heard = {"client_is": {"message_handler": hear}}
        async with through([*urls, *others], "legacy", **is_heard) as client:
            await client.list_tools()
            await client.subscribe_resource("note://1")
            await until(lambda: watched[-1:] == [frozenset({"note://1"})], "the node to know of the subscription")
            assert heard == []
            first.happened("prompts", "")
            first.happened("resource", "note://1")
            first.happened("resource", "note://2")
            told = ["notifications/prompts/list_changed", "notifications/resources/updated note://1"]
            await until(lambda: heard == told, "the changes")
            await dying.aclose()
            gone = [f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")]
            await until(lambda: set(heard[2:]) == {*gone, told[1]}, "everything")
            heard.clear()
            second.happened("tools", "")
            await until(lambda: heard == ["notifications/tools/list_changed"], "the change at the other node")
            await client.unsubscribe_resource("note://1")
            await until(lambda: watched[-1:] == [frozenset()], "the other node to know that nobody is subscribed")


async def test_a_cancelled_call_is_cancelled_at_the_node_by_key_caller_and_round(era: str) -> None:
    stopped: list[dict[str, str]] = []

    async def cancel(request: Request) -> Response:
        stopped.append(dict(request.query_params))
        return PlainTextResponse("{}", status_code=202)

    backend = FakeBackend(held=asyncio.Event())
    routes = [Route("/v1/cancel", cancel, methods=["POST"])]
    app = make_app(make_server(backend), backend.readiness, routes=routes)
    async with (
        serve_http(app, "127.0.0.1", 0) as port,
        through([f"http://127.0.0.1:{port}"], era) as client,
    ):
        calling = asyncio.create_task(client.call_tool("add", {}, meta={"dev.semel/caller": "ann"}))
        await until(lambda: backend.asked, "the call")
        calling.cancel()
        await until(lambda: stopped, "the wish to stop")
    assert stopped == [{"key": str(backend.asked[0].key), "caller": "ann", "round": "1"}]
