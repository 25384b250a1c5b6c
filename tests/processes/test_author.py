"""Authors' own servers with one line of semel, as real processes that die: on stdio, over HTTP, and mounted."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.stdio import stdio_client

from semel.node.place import take_place
from tests.ports import free_port
from tests.processes.cluster import until
from tests.processes.etcd import Members, Place, why_no_etcd
from tests.processes.taskpost import begin, ended, get

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


def keyed(key: str) -> dict[str, Any]:
    return {"dev.semel/idempotency-key": key}


def outcome_of(result: types.CallToolResult) -> str:
    outcome: str = (result.meta or {})["dev.semel/outcome"]
    return outcome


def text(result: types.CallToolResult) -> str:
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


class Authors:
    """The processes of one author's server on one log; `client` is that of one of them."""

    def __init__(self, folder: Path, log: str = "") -> None:
        self.folder = folder
        self.log = log or f"sqlite://{folder}/log.db"
        self.effects = folder / "effects"
        self.effects.touch()
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.urls: dict[str, str] = {}

    def command(self, kind: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "tests.processes.author", kind, self.log, str(self.effects), *more]

    def environment(self) -> dict[str, str]:
        """Return an environment in which a process leaves nothing outside the folder, such as a replica of its log."""
        return os.environ | {"XDG_DATA_HOME": str(self.folder / "data")}

    def acts(self, tool: str = "") -> list[list[str]]:
        """Return what tools did: tool, name, key, term, attempt and process of each."""
        return [line.split() for line in self.effects.read_text().splitlines() if line.startswith(tool)]

    def words(self, name: str) -> str:
        return (self.folder / f"{name}.err").read_text()

    @asynccontextmanager
    async def http(self, name: str, kind: str = "http", era: str = "auto") -> AsyncIterator[Client]:
        """Start a process that serves HTTP, and be a client of it."""
        port = free_port()
        self.urls[name] = f"http://127.0.0.1:{port}"
        with (self.folder / f"{name}.err").open("ab") as out:
            process = self.processes[name] = await asyncio.create_subprocess_exec(
                *self.command(kind, str(port)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env=self.environment(),
            )
        try:
            await until(lambda: listens(port), what=f"{name} to listen")
            with contextlib.suppress(ExceptionGroup):  # the connection of one that is killed
                async with Client(f"{self.urls[name]}/mcp", mode=era) as client:
                    yield client
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), 20)

    @asynccontextmanager
    async def stdio(self, name: str, kind: str = "stdio", era: str = "auto") -> AsyncIterator[Client]:
        """Start a process as a client on stdio does, and be that client."""
        command, *arguments = self.command(kind)
        started = StdioServerParameters(command=command, args=arguments, cwd=ROOT, env=self.environment())
        with (self.folder / f"{name}.err").open("w") as stderr:
            async with Client(stdio_client(started, errlog=stderr), mode=era) as client:
                yield client


def listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


async def process_of(client: Client) -> int:
    """Return the process that a client is connected to: a read runs where it is asked."""
    found = (await client.call_tool("whoami", {})).structured_content
    assert found is not None
    process: int = found["result"]
    return process


async def sorted_out(authors: Authors, *clients: Client) -> list[tuple[int, Client]]:
    """Return the processes with their clients, the one that leads first."""
    await clients[0].call_tool("charge", {"name": "who leads"})
    leader = int(authors.acts()[-1][-1])
    found = [(await process_of(client), client) for client in clients]
    return sorted(found, key=lambda each: each[0] != leader)


def nothing_is_left(folder: Path) -> None:
    """Check that the nodes have said farewell, and that no process has their places."""
    assert list((folder / "log.db-pulses").iterdir()) == []
    for place in (folder / "log.db.nodes").iterdir():
        take_place(folder / "log.db.nodes", place.name).leave()


async def test_a_call_through_two_processes_with_one_key_runs_once(tmp_path: Path) -> None:
    authors = Authors(tmp_path)
    async with authors.http("a") as first, authors.http("b", "mounted", era="legacy") as second:
        for name in ("one", "two", "three"):
            calls = [
                client.call_tool("charge", {"name": name, "wait_s": 0.2}, meta=keyed(name))
                for client in (first, second)
            ]
            answers = await asyncio.gather(*calls)
            assert [answer.structured_content for answer in answers] == [{"result": f"charge {name}"}] * 2
            assert sorted((answer.meta or {})["dev.semel/replayed"] for answer in answers) == [False, True]
            assert [act[:3] for act in authors.acts(f"charge {name} ")] == [["charge", name, name]]
        with pytest.raises(MCPError, match="another tool or other arguments"):
            await second.call_tool("charge", {"name": "four"}, meta=keyed("one"))
    for process in authors.processes.values():
        assert process.returncode == -signal.SIGTERM  # uvicorn passes the signal on once all is down
    nothing_is_left(tmp_path)


async def test_the_leader_is_killed_and_each_call_ends_as_promised(tmp_path: Path) -> None:
    authors = Authors(tmp_path)
    async with authors.http("a") as first, authors.http("b") as second, authors.stdio("c") as third:
        (leader, _), (_, other), (_, another) = await sorted_out(authors, first, second, third)
        asking = {
            tool: asyncio.create_task(client.call_tool(tool, {"name": "x", "wait_s": 1}, meta=keyed(tool)))
            for tool, client in (("charge", other), ("store", another), ("order", other))
        }
        await until(lambda: len(authors.acts()) == 4, what="the tools to begin")
        os.kill(leader, signal.SIGKILL)
        charged, stored, ordered = [await asyncio.wait_for(task, 30) for task in asking.values()]

        assert outcome_of(charged) == "in_doubt"
        assert "nobody can know whether charge acted" in text(charged)
        assert (outcome_of(stored), (stored.meta or {})["dev.semel/attempt"]) == ("ok", 2)
        assert (outcome_of(ordered), text(ordered)) == ("ok", "order x")  # its hook knew
        for tool, runs in (("charge", 1), ("store", 2), ("order", 1)):
            assert len(authors.acts(f"{tool} x")) == runs
            again = await another.call_tool(tool, {"name": "x", "wait_s": 1}, meta=keyed(tool))
            assert (outcome_of(again), len(authors.acts(f"{tool} x"))) == (outcome_of(asking[tool].result()), runs)
        after = await other.call_tool("charge", {"name": "after"})
        assert outcome_of(after) == "ok"


@pytest.mark.parametrize("era", ["2026-07-28", "legacy", "auto"])
@pytest.mark.parametrize("kind", ["stdio", "low"])
async def test_a_process_on_stdio_ends_with_its_client_and_leaves_nothing(kind: str, era: str, tmp_path: Path) -> None:
    authors = Authors(tmp_path)
    for term in (1, 2):
        async with authors.stdio("a", kind, era) as client:
            answer = await client.call_tool("charge", {"name": "x"}, meta=keyed("x"))
            assert text(answer) == "charge x"
            assert (answer.meta or {})["dev.semel/replayed"] is (term == 2)
        assert authors.words("a").endswith("ended, with threads of semel's: []\n")
    assert len(authors.acts()) == 1
    nothing_is_left(tmp_path)


async def test_a_leader_that_is_told_to_go_lets_its_tools_end_and_hands_over(tmp_path: Path) -> None:
    authors = Authors(tmp_path)
    async with authors.http("a") as first, authors.http("b") as second:
        (leader, _), (_, other) = await sorted_out(authors, first, second)
        asking = asyncio.create_task(other.call_tool("charge", {"name": "x", "wait_s": 1}, meta=keyed("x")))
        await until(lambda: authors.acts("charge x"), what="the tool to begin")
        os.kill(leader, signal.SIGTERM)
        assert outcome_of(await asyncio.wait_for(asking, 20)) == "ok"
        assert outcome_of(await other.call_tool("charge", {"name": "after"})) == "ok"
    assert len(authors.acts("charge x")) == 1


async def test_the_servers_line_in_the_readme_does_what_it_says(tmp_path: Path) -> None:
    shown = re.search(r"<!-- author -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    (tmp_path / "pay.py").write_text(shown[1])
    started = StdioServerParameters(command=sys.executable, args=["pay.py"], cwd=tmp_path, env=dict(os.environ))
    with (tmp_path / "err").open("w") as stderr:
        async with (
            Client(stdio_client(started, errlog=stderr)) as first,
            Client(stdio_client(started, errlog=stderr)) as second,
        ):
            calls = [
                client.call_tool("charge", {"account": "ann", "amount": 5}, meta=keyed("order-1"))
                for client in (first, second)
            ]
            answers = await asyncio.gather(*calls)
    assert {text(answer) for answer in answers} == {"charged ann 5 under order-1"}
    assert sorted((answer.meta or {})["dev.semel/replayed"] for answer in answers) == [False, True]


@pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd())
async def test_authors_processes_meet_on_etcd(tmp_path: Path) -> None:
    members = Members(tmp_path / "etcd", {"m1": Place()})
    await members.start()
    try:
        authors = Authors(tmp_path, members.url("authors"))
        async with authors.stdio("a") as first, authors.stdio("b") as second:
            for client, replayed in ((first, False), (second, True)):
                answer = await client.call_tool("charge", {"name": "x"}, meta=keyed("x"))
                assert (answer.meta or {})["dev.semel/replayed"] is replayed
            (leader, _), (_, other) = await sorted_out(authors, first, second)
            os.kill(leader, signal.SIGKILL)
            assert outcome_of(await other.call_tool("charge", {"name": "y"}, meta=keyed("y"))) == "ok"
        assert len(authors.acts("charge x")) == len(authors.acts("charge y")) == 1
    finally:
        await members.stop()


async def test_tasks_outlive_the_process_that_gave_and_runs_them(tmp_path: Path) -> None:
    authors = Authors(tmp_path)
    async with authors.http("a") as first, authors.http("b") as second:
        (leader, leading), (_, _) = await sorted_out(authors, first, second)
        here, there = ("a", "b") if leading is first else ("b", "a")
        stored, charged = await asyncio.gather(
            asyncio.to_thread(begin, authors.urls[here], "store", "x", 3.0),
            asyncio.to_thread(begin, authors.urls[here], "charge", "y", 60.0),
        )
        for task in (stored, charged):
            assert get(authors.urls[there], task)["status"] == "working"
        os.kill(leader, signal.SIGKILL)

        done = await ended(authors.urls[there], stored)
        assert (done["status"], done["result"]["structuredContent"]) == ("completed", {"result": "store x"})
        assert done["_meta"]["dev.semel/attempt"] == 2
        doubted = await ended(authors.urls[there], charged)
        assert doubted["result"]["_meta"]["dev.semel/outcome"] == "in_doubt"
        assert (len(authors.acts("store x ")), len(authors.acts("charge y "))) == (2, 1)
