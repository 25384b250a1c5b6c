"""All of MCP passes through a node, for clients of both eras, whatever kind of server is behind it."""

import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, types
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from semel.gateway.doors import announcing
from semel.gateway.doors.ticket import Ticket
from semel.serving import Node
from tests.ports import free_port

from .conftest import Write
from .nodes import HEADERS, answered

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # old, and still to pass through
]

TALKING = Path(__file__).with_name("talking_server.py")
NEW, OLD = "auto", "legacy"
eras = pytest.mark.parametrize("era", [NEW, OLD], ids=["2026-07-28", "handshake"])


@dataclass
class Listener:
    """What a client hears, and how it answers."""

    name: str = "ann"
    progress: list[tuple[float, str | None]] = field(default_factory=list)
    lines: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    heard: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    async def hear_progress(self, progress: float, _total: float | None, message: str | None) -> None:
        self.progress.append((progress, message))

    async def hear_line(self, params: types.LoggingMessageNotificationParams) -> None:
        self.lines.append(params.data)

    async def hear(self, message: Any) -> None:
        await self.heard.put(message)

    async def answer(self, _context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": self.name})


def client_of(node: Node, listener: Listener, era: str, *, level: Any = "debug", can_be_asked: bool = True) -> Client:
    """Return a client: over HTTP, or, of the handshake eras, at a door of its own."""
    return Client(
        f"{node.url}/mcp" if era == NEW else node._server(),
        mode=era,
        cache=None,
        log_level=level,
        logging_callback=listener.hear_line,
        elicitation_callback=listener.answer if can_be_asked else None,
        message_handler=listener.hear,
    )


def command(*arguments: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": [str(TALKING), *arguments]}


def _accepting(name: str) -> dict[str, Any]:
    return {"action": "accept", "content": {"name": name}}


@asynccontextmanager
async def far() -> AsyncIterator[dict[str, Any]]:
    """Run the server over HTTP, and yield its entry."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, str(TALKING), str(port))
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                await asyncio.sleep(0.02)
        yield {"type": "http", "url": f"http://127.0.0.1:{port}/mcp"}
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["in this process", "on stdio", "on stdio, old", "over HTTP"])
async def node(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Node]:
    """One node for all tests that ask no more than that of it."""
    folder = tmp_path_factory.mktemp("through")

    def write(content: str, name: str) -> Path:
        (folder / name).write_text(content)
        return folder / name

    async with contextlib.AsyncExitStack() as stack:
        match request.param:
            case "in this process":
                target = TALKING
            case "over HTTP":
                target = listing(write, talk=await stack.enter_async_context(far()))
            case _:
                target = listing(write, talk=command(*request.param.split(", ")[1:]))
        yield await stack.enter_async_context(Node(target, log=f"sqlite://{folder}/log.db", listen="127.0.0.1:0"))


def listing(write: Write, **servers: Mapping[str, Any]) -> Path:
    return write(json.dumps({"mcpServers": servers}), "mcp.json")


@asynccontextmanager
async def serving(target: Path, folder: Path, name: str = "n1") -> AsyncIterator[Node]:
    async with (
        asyncio.timeout(100),
        Node(target, log=f"sqlite://{folder}/log.db", name=name, listen="127.0.0.1:0") as one,
    ):
        yield one


def text(result: Any) -> str:
    (block,) = result.content
    words: str = block.text
    return words


@eras
async def test_progress_and_log_lines_reach_the_client(node: Node, era: str) -> None:
    listener = Listener()
    async with client_of(node, listener, era) as client:
        if era == OLD:
            await client.set_logging_level("info")
        result = await client.call_tool("tell", {"line": "hello"}, progress_callback=listener.hear_progress)
        hushed = await client.call_tool("tell", {"line": "too low", "level": "debug"}, meta=below(era))
    assert (text(result), text(hushed)) == ("told", "told")
    assert listener.progress == [(1, "step 1"), (2, "step 2")]
    assert listener.lines == ["hello"]


def below(era: str) -> Any:
    return {"io.modelcontextprotocol/logLevel": "info"} if era == NEW else None


@eras
async def test_a_tool_may_ask_the_client(node: Node, era: str) -> None:
    listener = Listener()
    async with client_of(node, listener, era) as client:
        result = await client.call_tool("ask", {}, meta={"dev.semel/idempotency-key": f"{era}-1"})
        assert text(result).startswith("hello ann")
        assert listener.asked == ["Who are you?"]
        again = await client.call_tool("ask", {}, meta={"dev.semel/idempotency-key": f"{era}-2"})
    assert text(again).startswith("hello ann")


@eras
async def test_a_client_that_cannot_be_asked_is_not(node: Node, era: str) -> None:
    async with client_of(node, Listener(), era, can_be_asked=False) as client:
        assert text(await client.call_tool("able", {})) == ""
    async with client_of(node, Listener(), era) as client:
        assert "elicitation" in text(await client.call_tool("able", {}))


async def test_two_clients_are_asked_at_once_and_each_its_own(node: Node) -> None:
    ann, ben = Listener("ann"), Listener("ben")
    async with client_of(node, ann, OLD) as first, client_of(node, ben, OLD) as second:
        results = await asyncio.gather(*(client.call_tool("ask", {}) for client in (first, second) for _ in range(4)))
    assert [text(result).split(",")[0] for result in results] == ["hello ann"] * 4 + ["hello ben"] * 4


@eras
async def test_resources_prompts_and_completion_pass(node: Node, era: str) -> None:
    async with client_of(node, Listener(), era) as client:
        offered = client.server_capabilities
        assert offered.resources
        assert offered.resources.subscribe
        assert offered.prompts
        assert offered.completions is not None
        page = await client.list_resources()
        assert [each.name for each in page.resources] == ["value"]
        more = await client.list_resources(cursor=page.next_cursor)
        assert [each.name for each in more.resources] == ["more"]
        assert (await client.list_resource_templates()).resource_templates[0].uri_template == "talk://of/{name}"
        assert (await client.read_resource("talk://of/ann")).contents[0].text == "talk://of/ann"
        assert (await client.list_prompts()).prompts[0].name == "greet"
        prompt = await client.get_prompt("greet", {"name": "ann"})
        assert prompt.messages[0].content.text == "greet ann"
        ref = types.PromptReference(name="greet")
        assert (await client.complete(ref, {"name": "name", "value": "a"})).completion.values == ["greet:a"]


@eras
async def test_errors_of_a_server_come_as_they_are(node: Node, era: str) -> None:
    async with client_of(node, Listener(), era) as client:
        with pytest.raises(MCPError, match="no such cursor"):
            await client.list_resources(cursor="stale")
        with pytest.raises(MCPError, match="no such resource") as missing:
            await client.read_resource("other://x")
        assert (missing.value.code, missing.value.data) == (types.INVALID_PARAMS, {"uri": "other://x"})
        with pytest.raises(MCPError, match="out of paper") as refused:
            await client.call_tool("refuse", {})
        assert (refused.value.code, refused.value.data) == (-32050, {"tray": 2})


@eras
async def test_a_trace_context_goes_along(node: Node, era: str) -> None:
    async with client_of(node, Listener(), era) as client:
        trace: Any = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        assert text(await client.call_tool("traced", {}, meta=trace)) == trace["traceparent"]


@eras
async def test_changes_of_a_resource_are_told(node: Node, era: str) -> None:
    listener = Listener()
    async with client_of(node, listener, era) as client, contextlib.AsyncExitStack() as stack:
        if era == NEW:
            await stack.enter_async_context(client.listen(resource_subscriptions=["talk://value"]))
        else:
            await client.session.subscribe_resource("talk://value")
        await _touched(client, listener)


async def _touched(client: Client, listener: Listener) -> None:
    """Touch the resource until its change is heard of: a subscription takes a moment to reach the server."""
    for _ in range(50):
        await client.call_tool("touch", {})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while not isinstance(message := await listener.heard.get(), types.ResourceUpdatedNotification):
                    pass
                assert str(message.params.uri) == "talk://value"
                return
    raise AssertionError("no change was heard of")


async def test_a_client_of_old_that_cancels_stops_the_tool(node: Node, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    async with client_of(node, Listener(), OLD) as client:
        key: Any = {"dev.semel/idempotency-key": "long"}
        calling = asyncio.create_task(client.call_tool("wait", {"marker": str(marker)}, meta=key))
        await _reads(marker, "begun")
        calling.cancel()
        await _reads(marker, "stopped")
        result = await client.call_tool("wait", {"marker": str(marker)}, meta=key)
    assert result.is_error
    assert (result.meta or {})["dev.semel/outcome"] == "cancelled"
    assert "may have acted" in text(result)


async def _reads(marker: Path, words: str) -> None:
    async with asyncio.timeout(10):
        while not marker.exists() or marker.read_text() != words:
            await asyncio.sleep(0.01)


async def test_what_a_server_asks_as_soon_as_it_is_connected_is_answered(write: Write, tmp_path: Path) -> None:
    early = {"command": sys.executable, "args": [str(TALKING.with_name("early_server.py"))]}
    listener = Listener()
    async with serving(listing(write, early=early), tmp_path) as one, client_of(one, listener, OLD) as client:
        said = [text(await client.call_tool("who", {})) for _ in range(2)]
    assert (said, listener.asked) == (["nobody", "ann"], ["Who?"])


# More than one server, more than one node.


@pytest.fixture
async def several(write: Write, tmp_path: Path) -> AsyncIterator[Node]:
    plain = write("import semel\n\n\n@semel.tool\ndef add(a: int, b: int) -> int:\n    return a + b\n", "plain.py")
    semel = {"command": sys.executable, "args": ["-m", "semel", "serve", str(plain), "--stdio", "--log", "memory:"]}
    async with serving(listing(write, one=command(), plain=semel, two=command("old")), tmp_path) as one:
        yield one


@eras
async def test_of_several_servers_prompts_are_named_and_lists_follow_each_other(several: Node, era: str) -> None:
    async with client_of(several, Listener(), era) as client:
        page = await client.list_prompts()
        assert [each.name for each in page.prompts] == ["one_greet", "two_greet"]
        assert page.next_cursor is None
        pages, cursor = [], None
        while not pages or cursor is not None:
            resources = await client.list_resources(cursor=cursor)
            pages.append([each.name for each in resources.resources])
            cursor = resources.next_cursor
        assert pages == [["value"], ["more", "value"], ["more"]]
        prompt = await client.get_prompt("two_greet", {"name": "ann"})
        assert prompt.messages[0].content.text == "greet ann"
        ref = types.PromptReference(name="two_greet")
        assert (await client.complete(ref, {"name": "name", "value": "a"})).completion.values == ["greet:a"]
        with pytest.raises(MCPError, match="there is no prompt 'greet' here"):
            await client.get_prompt("greet")
        assert (await client.read_resource("talk://of/ann")).contents[0].text == "talk://of/ann"
        with pytest.raises(MCPError, match="no such resource"):
            await client.read_resource("other://x")


CURSORS = [base64.urlsafe_b64encode(said).decode() for said in (b"[[], null]", b'["one", 5]', b"[" * 5000)]


@pytest.mark.parametrize("cursor", ["stale", "WyJub2JvZHkiLCBudWxsXQ==", "W10=", "ä", *CURSORS])
async def test_a_cursor_that_is_none_is_an_error(several: Node, cursor: str) -> None:
    async with client_of(several, Listener(), NEW) as client:
        with pytest.raises(MCPError, match=r"cursor|params") as caught:
            await client.list_resources(cursor=cursor)
        assert caught.value.code == types.INVALID_PARAMS


async def test_a_server_without_resources_offers_none(write: Write, tmp_path: Path) -> None:
    plain = write(
        """
        from mcp import types
        from mcp.server import Server

        async def list_tools(context, params):
            return types.ListToolsResult(tools=[])

        app = Server("app", on_list_tools=list_tools)
        """
    )
    async with serving(plain, tmp_path) as one, client_of(one, Listener(), OLD) as client:
        assert client.server_capabilities.prompts is None
        with pytest.raises(MCPError) as caught:
            await client.list_prompts()
    assert caught.value.code == types.METHOD_NOT_FOUND


@eras
async def test_what_a_tool_at_the_leader_says_and_asks_reaches_a_client_of_a_follower(
    write: Write, tmp_path: Path, era: str
) -> None:
    target, listener = listing(write, talk=command()), Listener()
    async with (
        serving(target, tmp_path),
        serving(target, tmp_path, "n2") as follower,
        client_of(follower, listener, era) as client,
    ):
        if era == OLD:
            await client.set_logging_level("info")
        result = await client.call_tool("tell", {"line": "hello"}, progress_callback=listener.hear_progress)
        assert (result.meta or {})["dev.semel/executor"] == "n1"
        assert listener.progress == [(1, "step 1"), (2, "step 2")]
        assert listener.lines == ["hello"]
        assert text(await client.call_tool("ask", {})).startswith("hello ann")
        async with contextlib.AsyncExitStack() as stack:
            if era == NEW:
                await stack.enter_async_context(client.listen(resource_subscriptions=["talk://value"]))
            else:
                await client.session.subscribe_resource("talk://value")
            await _touched(client, listener)


async def test_a_client_of_a_follower_that_cancels_stops_the_tool_at_the_leader(write: Write, tmp_path: Path) -> None:
    target, marker = listing(write, talk=command()), tmp_path / "marker"
    async with (
        serving(target, tmp_path),
        serving(target, tmp_path, "n2") as follower,
        client_of(follower, Listener(), OLD) as client,
    ):
        calling = asyncio.create_task(client.call_tool("wait", {"marker": str(marker)}))
        await _reads(marker, "begun")
        calling.cancel()
        await _reads(marker, "stopped")


async def test_a_question_that_is_open_is_asked_of_who_comes_to_another_node(write: Write, tmp_path: Path) -> None:
    """A client of 2026-07-28 takes its ticket elsewhere; the server is one that asks in the middle of a call."""
    target = listing(write, talk=command("old"))
    key: Any = {"dev.semel/idempotency-key": "moving"}
    async with serving(target, tmp_path) as leader, serving(target, tmp_path, "n2") as follower:
        async with client_of(follower, Listener(), NEW) as client:
            asked = await client.session.call_tool("ask", {}, meta=key, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        ((name, question),) = (asked.input_requests or {}).items()
        assert question.method == "elicitation/create"
        reply = {name: types.ElicitResult(action="accept", content={"name": "ben"})}
        async with client_of(leader, Listener(), NEW) as client:
            result = await client.session.call_tool(
                "ask", {}, meta=key, input_responses=reply, request_state=asked.request_state
            )
        assert text(result) == "hello ben"


@pytest.mark.parametrize("at", ["leader", "follower"])
async def test_a_client_is_asked_once_for_each_question(write: Write, tmp_path: Path, at: str) -> None:
    """A client of 2026-07-28, of a server that asks in the middle of a call; its answer is on its way to the leader."""
    target = listing(write, talk=command("old"))
    async with serving(target, tmp_path) as leader, serving(target, tmp_path, "n2") as follower:
        listener = Listener()
        async with client_of({"leader": leader, "follower": follower}[at], listener, NEW) as client:
            assert text(await client.call_tool("ask", {})) == "hello ann"
    assert listener.asked == ["Who are you?"]


async def test_nobody_else_can_answer_what_a_client_is_asked(write: Write, tmp_path: Path) -> None:
    """Who forges a ticket for a call of their own that names somebody else's question."""
    target, by = listing(write, talk=command("old")), "dev.semel/caller"
    eve, ann = (types.ElicitResult(action="accept", content={"name": name}) for name in ("eve", "ann"))
    meta: Any = {by: "ann"}
    async with serving(target, tmp_path) as node, client_of(node, Listener(), NEW) as client:
        asked = await client.session.call_tool("ask", {}, meta=meta, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        ((key, _),) = (asked.input_requests or {}).items()
        forged = Ticket(key="mine", caller="eve", made=True, why="asks", questions=(key,)).text()
        await client.session.call_tool(
            "tell",
            {"line": "x"},
            meta={by: "eve"},
            input_responses={key: eve},
            request_state=forged,  # type: ignore[arg-type]
        )
        result = await client.session.call_tool(
            "ask", {}, meta=meta, input_responses={key: ann}, request_state=asked.request_state
        )
        assert text(result) == "hello ann"


HALF = "\ud800"
"""Half of a surrogate pair: JSON can spell it, and no encoding carries it."""

UNSAYABLE: Mapping[str, Any] = {
    "resources/list": {"cursor": HALF},
    "prompts/get": {"name": "greet", "arguments": {"name": HALF}},
    "tools/call": {"name": "tell", "arguments": {"line": "x"}, "inputResponses": {"a": _accepting(HALF)}},
    "subscriptions/listen": {"notifications": {"resourceSubscriptions": [HALF]}},
}


async def test_what_no_server_can_be_told_is_refused_at_the_door(node: Node) -> None:
    """On its way it would cost the connection to the server, and with that the calls of all others."""
    async with httpx2.AsyncClient(timeout=20) as http:
        for method, params in UNSAYABLE.items():
            headers = {**HEADERS, "mcp-protocol-version": "2026-07-28", "mcp-method": method}
            if "name" in params:
                headers["mcp-name"] = params["name"]
            said = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", CLIENT_CAPABILITIES_META_KEY: {}}
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": said}}
            response = await http.post(f"{node.url}/mcp", content=json.dumps(body), headers=headers)
            assert (await answered(response))["error"]["code"] == types.INVALID_PARAMS, method
    async with client_of(node, Listener(), NEW) as client, client.listen(resource_subscriptions=["talk://value"]):
        assert (await client.list_resources()).resources


async def test_no_client_makes_a_node_watch_without_end(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "WATCHED_MAX", 2)
    async with serving(listing(write, talk=command("old")), tmp_path) as one:
        async with client_of(one, Listener(), OLD) as client:
            for uri in ("talk://1", "talk://2", "talk://1"):
                await client.session.subscribe_resource(uri)
            for uri in ("talk://3", "talk://" + "x" * announcing.URI_CHARS_MAX):
                with pytest.raises(MCPError, match=r"2 resources, and no more|characters"):
                    await client.session.subscribe_resource(uri)
            await client.session.unsubscribe_resource("talk://1")
            await client.session.subscribe_resource("talk://3")
        async with client_of(one, Listener(), NEW) as client:
            with pytest.raises(MCPError, match="2 resources, and no more"):
                async with client.listen(resource_subscriptions=["talk://1", "talk://2", "talk://3"]):
                    pass
            async with client.listen(resource_subscriptions=["talk://1", "talk://2"]):
                assert one._announcer._watched.keys() == {"talk://1", "talk://2"}
