"""A session of an older client over real nodes: round and round, until the node that keeps it is killed."""

import asyncio
import contextlib
import re
import signal
import time
from pathlib import Path

import httpx2
import pytest
from mcp import MCPError
from mcp.types import ElicitRequestParams, ElicitResult

from tests.conformance.through import EVERYTHING
from tests.gateway.nodes import HEADERS, Raw, RoundRobin, call, client, events, raw, said
from tests.processes.cluster import ClusterProcesses, until
from tests.processes.test_nodes import running

pytestmark = pytest.mark.anyio

KEY = "dev.semel/idempotency-key"
LIMIT_S = 30


def charge(name: str) -> dict[str, object]:
    message = call("charge")
    message["params"] = {"name": "charge", "arguments": {"name": name}, "_meta": {KEY: name}}
    return message


def complaints(cluster: ClusterProcesses, name: str) -> list[str]:
    """Return what a node printed that is no plain word to its operator."""
    lines = cluster.output(name).read_text().splitlines()
    return [line for line in lines if re.search(r"Traceback|ERROR|Error|exception", line)]


async def test_a_client_goes_round_three_nodes_and_on_at_another_once_its_own_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2", "n3") as cluster:
        turns = RoundRobin([cluster.url(name) for name in ("n1", "n2", "n3")])
        async with asyncio.timeout(LIMIT_S):
            async with client(turns) as asking:
                for number in range(6):
                    result = await asking.call_tool("charge", {"name": f"{number}"}, meta={KEY: f"{number}"})
                    assert said(result) == f"charged {number}"
                assert {url for _, url, _ in turns.tried} == set(cluster.urls)
                assert all(status < 400 for _, _, status in turns.tried)

                await cluster.kill("n1")
                turns.urls = [cluster.url(name) for name in ("n2", "n3")]
                with pytest.raises(MCPError, match="Initialize anew") as told:
                    await asking.call_tool("charge", {"name": "lost"}, meta={KEY: "lost"})
                assert told.value.error.data["code"] == "session_gone"
                turns.tried.clear()
            async with client(turns) as anew:
                again = await anew.call_tool("charge", {"name": "5"}, meta={KEY: "5"})
                assert again.meta is not None
                assert (said(again), again.meta["dev.semel/replayed"]) == ("charged 5", True)
                assert said(await anew.call_tool("charge", {"name": "lost"}, meta={KEY: "lost"})) == "charged lost"
            assert not [it for it in turns.tried if it[0] == "POST" and it[2] >= 400], turns.tried
        assert sorted(cluster.effect_lines()) == sorted(f"charge {name}" for name in (*"012345", "lost"))
        assert [complaints(cluster, name) for name in ("n2", "n3")] == [[], []]


async def test_a_tool_on_the_leader_asks_a_client_whose_session_is_on_another_node(tmp_path: Path) -> None:
    async def answer(_context: object, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"username": params.message, "email": "a@example.org"})

    async with running(tmp_path, "n1", "n2", "n3", target=EVERYTHING) as cluster, asyncio.timeout(LIMIT_S):
        leader = await cluster.leader()
        names = sorted(cluster.ports, key=lambda name: name == leader)  # the session is opened on a follower
        turns = RoundRobin([cluster.url(name) for name in names])
        async with client(turns, elicitation_callback=answer) as asking:
            for number in range(3):
                result = await asking.call_tool("test_elicitation", {"message": f"m{number}"})
                assert f'"username": "m{number}"' in said(result)
        assert not [it for it in turns.tried if it[2] >= 400]
        assert [complaints(cluster, name) for name in names] == [[], [], []]


async def test_a_session_on_a_frozen_node_is_gone_and_back_when_the_node_is(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster, raw() as asking, asyncio.timeout(LIMIT_S):
        session = await asking.open(cluster.url("n1"))

        async def status() -> int:
            return (await asking.post(cluster.url("n2"), session, charge("a"))).status_code

        assert await status() == 200
        async with asking.get(cluster.url("n2"), session) as listening:
            cluster.signal("n1", signal.SIGSTOP)
            try:
                assert [event.data async for event in events(listening)] == []
                assert await status() == 404
                fresh = await asking.open(cluster.url("n2"), **{"mcp-session-id": session})
                assert (await asking.post(cluster.url("n2"), fresh, charge("a"))).status_code == 200
            finally:
                cluster.signal("n1", signal.SIGCONT)
        while await status() != 200:
            await asyncio.sleep(0.05)
        assert cluster.effect_lines() == ["charge a"]


async def test_nodes_end_at_once_while_their_clients_listen_and_say_nothing_of_those_that_hurry(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster, asyncio.timeout(LIMIT_S):
        async with raw() as asking, httpx2.AsyncClient(timeout=20) as hasty:
            session = await asking.open(cluster.url("n1"))
            for number, name in enumerate(("n1", "n2")):
                waiting = call("charge", 10 + number)
                waiting["params"]["arguments"] = {"name": name, "wait_s": 1.0}
                with contextlib.suppress(httpx2.TimeoutException):
                    await Raw(hasty).http.post(
                        f"{cluster.url(name)}/mcp",
                        json=waiting,
                        headers={**HEADERS, "mcp-session-id": session, "mcp-protocol-version": "2025-11-25"},
                        timeout=0.3,
                    )
            await until(lambda: len(cluster.effect_lines()) == 2, what="both calls to begin")
            async with asking.get(cluster.url("n2"), session) as listening:
                assert listening.status_code == 200
                began_s = time.monotonic()
                for name in ("n1", "n2"):
                    cluster.signal(name, signal.SIGTERM)
                    assert await cluster.processes[name].wait() == 0
                assert time.monotonic() - began_s < 8
                assert [event.data async for event in events(listening)] == []
        assert [complaints(cluster, name) for name in ("n1", "n2")] == [[], []]
