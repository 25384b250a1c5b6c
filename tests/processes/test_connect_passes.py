"""All of MCP through `semel connect`: clients and servers of both eras, in real processes, with nodes that die."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.stdio import stdio_client

from tests.conformance.through import EVERYTHING
from tests.processes.cluster import ClusterProcesses, get_audit, until

pytestmark = [
    pytest.mark.anyio,
    # What the newest version has no more is what is tested here, too.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

NEW, OLD = "auto", "legacy"
ERAS = (NEW, OLD)
NODES = ("n1", "n2")


@dataclass
class Person:
    """Whoever sits before the client: what they were told and asked, and what they answer."""

    told: list[str] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    before: Any = None
    """Is awaited before an answer is given."""
    refuses: bool = False

    async def sample(self, _context: Any, params: types.CreateMessageRequestParams) -> Any:
        await self._meet(str(getattr(params.messages[0].content, "text", "")))
        if self.refuses:
            return types.ErrorData(code=-1, message="the user does not want that")
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(text="Paris"), model="m", stop_reason="endTurn"
        )

    async def elicit(self, _context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        await self._meet(params.message)
        wanted = "context" if "context" in params.message else "name"
        return types.ElicitResult(action="accept", content={wanted: "Ann"})

    async def roots(self, _context: Any) -> types.ListRootsResult:
        await self._meet("roots")
        return types.ListRootsResult(roots=[types.Root(uri="file:///home/ann")])

    async def _meet(self, question: str) -> None:
        self.asked.append(question)
        if self.before is not None:
            before, self.before = self.before, None
            await before()

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.told.append(str(params.data))

    async def hear(self, message: Any) -> None:
        self.heard.append(message)

    async def step(self, progress: float, _total: float | None, _message: str | None) -> None:
        self.steps.append(progress)


def old_server(folder: Path) -> Path:
    """Return an mcp.json with the server of the handshake eras."""
    command = {
        "command": sys.executable,
        "args": [str(Path(__file__).with_name("old_server.py"))],
        "env": {"EFFECTS": str(folder / "effects")},
    }
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"old": command}}))
    return folder / "mcp.json"


@asynccontextmanager
async def session(
    folder: Path, era: str, target: Path, person: Person, *names: str, **how: Any
) -> AsyncIterator[tuple[Client, ClusterProcesses]]:
    """Start nodes and `semel connect` in front of them, and be its client."""
    nodes = ClusterProcesses(folder, target)
    try:
        await nodes.start(*(names or NODES))
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "semel", "connect", *nodes.urls], env=dict(os.environ)
        )
        asks = {
            "sampling_callback": person.sample,
            "elicitation_callback": person.elicit,
            "list_roots_callback": person.roots,
        }
        with (folder / "connect.err").open("w") as stderr:
            async with (
                asyncio.timeout(90),
                Client(
                    stdio_client(command, errlog=stderr),
                    mode=era,
                    cache=None,
                    logging_callback=person.log,
                    message_handler=person.hear,
                    **({**asks, **how} if how.pop("can_be_asked", True) else how),
                ) as client,
            ):
                yield client, nodes
        assert "Traceback" not in (folder / "connect.err").read_text()
    finally:
        await nodes.stop()


async def kill_the_leader(nodes: ClusterProcesses) -> None:
    await nodes.kill(await nodes.leader())


def text_of(result: types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


@pytest.mark.parametrize("era", ERAS)
async def test_resources_prompts_and_completions_come_through_also_once_the_leader_is_dead(
    era: str, tmp_path: Path
) -> None:
    async with session(tmp_path, era, old_server(tmp_path), Person()) as (client, nodes):
        offers = client.server_capabilities
        assert offers is not None
        assert None not in (offers.resources, offers.prompts, offers.completions)
        assert (client.protocol_version == "2026-07-28") is (era == NEW)
        for turn in range(2):
            first = await client.list_resources()
            second = await client.list_resources(cursor=first.next_cursor)
            assert [each.name for each in (*first.resources, *second.resources)] == ["one", "two"]
            (template,) = (await client.list_resource_templates()).resource_templates
            (content,) = (await client.read_resource("note://7")).contents
            assert (template.uri_template, getattr(content, "text", "")) == ("note://{n}", "This is note://7")
            assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["greet"]
            (message,) = (await client.get_prompt("greet", {"who": "Ann"})).messages
            assert message.content == types.TextContent(text="Greet Ann")
            reference = types.PromptReference(name="greet")
            completed = await client.complete(reference, {"name": "who", "value": "Pa"})
            assert completed.completion.values == ["Paris"]
            with pytest.raises(MCPError, match="there is no resources/read"):
                await client.read_resource("elsewhere://1")
            if not turn:
                await kill_the_leader(nodes)


@pytest.mark.parametrize("era", ERAS)
async def test_progress_and_log_lines_reach_who_wants_them_and_the_trace_context_the_tool(
    era: str, tmp_path: Path
) -> None:
    person = Person()
    async with session(tmp_path, era, old_server(tmp_path), person, can_be_asked=False) as (client, nodes):
        meta: Any = {"traceparent": "00-1-2-01"}
        if era == NEW:
            meta["io.modelcontextprotocol/logLevel"] = "info"
        else:
            await client.set_logging_level("info")
        assert text_of(await client.call_tool("work", {}, progress_callback=person.step, meta=meta)) == "worked"
        await until(lambda: len(person.told) >= 3, what="the log lines")
        assert (person.steps, person.told) == ([1, 2, 3], ["step 1", "step 2", "step 3"])
        assert nodes.effect_lines() == ["work 00-1-2-01"]


@pytest.mark.parametrize("era", ERAS)
async def test_an_old_servers_questions_reach_the_user_and_the_answers_the_tool(era: str, tmp_path: Path) -> None:
    person = Person()
    async with session(tmp_path, era, old_server(tmp_path), person) as (client, nodes):
        assert text_of(await client.call_tool("sample", {})) == "Paris"
        assert json.loads(text_of(await client.call_tool("elicit", {}))) == {
            "action": "accept",
            "content": {"name": "Ann"},
        }
        assert text_of(await client.call_tool("roots", {})) == "file:///home/ann"
        assert person.asked == ["What is the capital of France?", "Who are you?", "roots"]
        if era == OLD:
            person.refuses = True
            assert text_of(await client.call_tool("sample", {})) == "refused: the user does not want that"
        rows = get_audit(nodes.urls[0])
        assert {row["outcome"] for row in rows} == {"ok"}
        assert len({row["key"] for row in rows}) == len(rows) == (4 if era == OLD else 3)


@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_that_asks_in_rounds_goes_on_at_another_node_when_the_leader_dies_meanwhile(
    era: str, tmp_path: Path
) -> None:
    person = Person()
    async with session(tmp_path, era, EVERYTHING, person) as (client, nodes):
        person.before = lambda: kill_the_leader(nodes)
        result = await client.call_tool("test_input_required_result_elicitation", {})
        assert text_of(result) == "Hello, Ann!"
        assert person.asked == ["What is your name?"]
        (message,) = (await client.get_prompt("test_input_required_result_prompt", {})).messages
        assert message.content == types.TextContent(text="Use this context: Ann")


@pytest.mark.parametrize("era", ERAS)
async def test_a_once_tool_that_dies_with_its_node_while_it_asks_is_in_doubt_and_not_run_again(
    era: str, tmp_path: Path
) -> None:
    person = Person()
    async with session(tmp_path, era, old_server(tmp_path), person) as (client, nodes):
        person.before = lambda: kill_the_leader(nodes)
        result = await client.call_tool("ask_and_charge", {})
        assert (result.meta or {})["dev.semel/outcome"] == "in_doubt"
        assert nodes.effect_lines() == []
        assert person.asked == ["Who are you?"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_the_client_cancels_stops_the_tool(era: str, tmp_path: Path) -> None:
    async with session(tmp_path, era, old_server(tmp_path), Person(), can_be_asked=False) as (client, nodes):
        calling = asyncio.create_task(client.call_tool("for_ever", {}))
        await until(lambda: nodes.effect_lines() == ["for_ever began"], what="the tool to begin")
        calling.cancel()
        await until(lambda: nodes.effect_lines() == ["for_ever began", "for_ever stopped"], what="the tool to stop")
        outcomes = await until(lambda: [row["outcome"] for row in get_audit(nodes.urls[0])], what="the outcome")
        assert outcomes == ["cancelled"]
        assert text_of(await client.call_tool("touch", {})) == "touched"


async def changes(client: Client, person: Person, kind: type[Any], trigger: str) -> None:
    """Call a tool until the client has been told of a change of a kind."""
    person.heard.clear()

    async with asyncio.timeout(30):
        while not any(isinstance(each, kind) for each in person.heard):
            await client.call_tool(trigger, {})
            await asyncio.sleep(0.1)


async def test_a_client_of_old_is_told_of_changes_also_once_the_leader_is_dead(tmp_path: Path) -> None:
    person = Person()
    async with session(tmp_path, OLD, old_server(tmp_path), person, can_be_asked=False) as (client, nodes):
        await client.list_tools()
        await client.subscribe_resource("note://1")
        await changes(client, person, types.ResourceUpdatedNotification, "touch")
        await changes(client, person, types.ToolListChangedNotification, "grow")
        await kill_the_leader(nodes)
        await changes(client, person, types.ResourceUpdatedNotification, "touch")
        await changes(client, person, types.ToolListChangedNotification, "grow")


async def test_a_client_of_the_new_era_listens_over_the_death_of_a_node(tmp_path: Path) -> None:
    person = Person()
    async with (
        session(tmp_path, NEW, old_server(tmp_path), person, can_be_asked=False) as (client, nodes),
        client.listen(tools_list_changed=True, resource_subscriptions=["note://1"]),
    ):
        await changes(client, person, types.ResourceUpdatedNotification, "touch")
        await changes(client, person, types.ToolListChangedNotification, "grow")
        await kill_the_leader(nodes)
        await changes(client, person, types.ResourceUpdatedNotification, "touch")
        await changes(client, person, types.ToolListChangedNotification, "grow")
