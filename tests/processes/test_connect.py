"""`semel connect` as a client starts it: a real process on stdio, real nodes that die, and every call answered once."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.stdio import stdio_client

from tests.processes.cluster import ClusterProcesses, get_audit, until

pytestmark = pytest.mark.anyio

ERAS = ("2026-07-28", "legacy", "auto")
NODES = ("n1", "n2", "n3")


@asynccontextmanager
async def cluster(folder: Path, *names: str) -> AsyncIterator[ClusterProcesses]:
    nodes = ClusterProcesses(folder)
    try:
        await nodes.start(*names)
        yield nodes
    finally:
        await nodes.stop()


@asynccontextmanager
async def connected(folder: Path, era: str, *arguments: str) -> AsyncIterator[Client]:
    """Start `semel connect` as a client does, and be that client."""
    started = StdioServerParameters(
        command=sys.executable, args=["-m", "semel", "connect", *arguments], env=dict(os.environ)
    )
    with (folder / "connect.err").open("w") as stderr:
        async with Client(stdio_client(started, errlog=stderr), mode=era) as client:
            yield client


def outcome_of(result: types.CallToolResult) -> str:
    outcome: str = (result.meta or {})["dev.semel/outcome"]
    return outcome


@pytest.mark.parametrize("era", ERAS)
async def test_every_call_is_answered_once_although_the_leader_is_killed_under_it(era: str, tmp_path: Path) -> None:
    async with cluster(tmp_path, *NODES) as nodes, connected(tmp_path, era, *nodes.urls) as client:
        leader = await nodes.leader()
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["store"].annotations is not None
        assert tools["store"].annotations.idempotent_hint is True

        names = [f"{tool}-{number}" for number in range(6) for tool in ("charge", "store")]
        asking = {
            name: asyncio.create_task(client.call_tool(name.split("-")[0], {"name": name, "wait_s": 0.5}))
            for name in names
        }
        await until(lambda: len(nodes.effect_lines()) >= 4, what="tools to run")
        await nodes.kill(leader)
        answers = {name: await asyncio.wait_for(task, 60) for name, task in asking.items()}

        lines = nodes.effect_lines()
        for name, answer in answers.items():
            tool = name.split("-")[0]
            if outcome_of(answer) == "in_doubt":  # it may have been killed before it began
                assert (tool, answer.is_error) == ("charge", True)
                assert lines.count(f"charge {name}") <= 1, lines
            else:
                assert (outcome_of(answer), answer.is_error) == ("ok", False), answer
                assert lines.count(f"{tool} {name}") in ((1,) if tool == "charge" else (1, 2)), lines
        keys = [(answer.meta or {})["dev.semel/idempotency-key"] for answer in answers.values()]
        survivor = next(name for name in NODES if name != leader)
        rows = get_audit(nodes.url(survivor))
        assert sorted(row["key"] for row in rows) == sorted(keys)
        after = await client.call_tool("charge", {"name": "after"})
        assert (outcome_of(after), (after.meta or {})["dev.semel/executor"] != leader) == ("ok", True)
    told = (tmp_path / "connect.err").read_text()
    assert "Traceback" not in told
    assert f"semel connect: calls go to {', '.join(nodes.urls)}" in told


@pytest.mark.parametrize("era", ERAS)
async def test_a_cluster_that_comes_later_is_waited_for(era: str, tmp_path: Path) -> None:
    nodes = ClusterProcesses(tmp_path)
    url = nodes.url("n1")
    try:
        async with asyncio.timeout(60), connected(tmp_path, era, url, "--caller", "ann") as client:
            calling = asyncio.create_task(client.call_tool("charge", {"name": "early"}))
            listing = asyncio.create_task(client.list_tools())
            await until(lambda: "calls are held" in (tmp_path / "connect.err").read_text(), what="the words on stderr")
            assert not calling.done()
            await nodes.start("n1")
            assert outcome_of(await calling) == "ok"
            assert "charge" in [tool.name for tool in (await listing).tools]
        (row,) = get_audit(url)
        assert (row["caller"], row["outcome"]) == ("ann", "ok")
    finally:
        await nodes.stop()
    assert nodes.effect_lines() == ["charge early"]


@pytest.mark.parametrize("era", ERAS)
async def test_no_cluster_at_all_is_an_error_in_time_and_the_handshake_is_answered(era: str, tmp_path: Path) -> None:
    url = ClusterProcesses(tmp_path).url("nobody")
    async with asyncio.timeout(30), connected(tmp_path, era, url, "--timeout", "0.5") as client:
        with pytest.raises(MCPError, match="Nothing was run") as caught:
            await client.call_tool("charge", {"name": "x"})
        assert caught.value.data["source"] == "semel"
        assert (caught.value.data["code"], caught.value.data["retrySafe"]) == ("no_leader", True)


@asynccontextmanager
async def behind_one_address(nodes: ClusterProcesses, first: str) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Be the one address of a cluster, as a load balancer is: new connections go to the node that `chosen` names."""
    chosen = {"node": first}

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = nodes.listen(chosen["node"]).rpartition(":")
        with contextlib.suppress(OSError, asyncio.CancelledError):
            onward = await asyncio.open_connection(host, int(port))
            await asyncio.gather(copy(reader, onward[1]), copy(onward[0], writer))
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", chosen


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_ticket_of_a_node_that_leaves_is_good_at_the_next_one(era: str, tmp_path: Path) -> None:
    """Without `semel connect`: an unmodified client of the new era asks again by itself; an older one is told."""
    nodes = ClusterProcesses(tmp_path, extra=("--drain", "0.1"))
    try:
        await nodes.start("n1", "n2")
        leader = await nodes.leader()
        other = "n2" if leader == "n1" else "n1"
        async with (
            asyncio.timeout(60),
            behind_one_address(nodes, leader) as (url, chosen),
            Client(f"{url}/mcp", mode=era) as client,
        ):
            calling = asyncio.create_task(client.call_tool("store", {"name": "a", "wait_s": 2.0}))
            await until(lambda: nodes.effect_lines() == ["store a"], what="the tool to begin")
            chosen["node"] = other
            nodes.signal(leader, signal.SIGTERM)
            if era == "legacy":
                with pytest.raises(MCPError, match="went down before this call came to an outcome") as caught:
                    await calling
                assert (caught.value.data["code"], caught.value.data["retrySafe"]) == ("undecided", True)
                return
            result = await calling
        (row,) = get_audit(nodes.url(other))
        assert (outcome_of(result), row["outcome"]) == ("ok", "ok")
        assert (result.meta or {})["dev.semel/idempotency-key"] == row["key"]
    finally:
        await nodes.stop()
