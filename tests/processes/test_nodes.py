"""Real nodes, really stopped, killed and fed with garbage: what their clients are told, and what the tools did."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

import semel
from semel.errors import UnknownTool
from tests.processes.cluster import SERVER, ClusterProcesses, get_audit, get_json, until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(folder: Path, *names: str, target: Path = SERVER) -> AsyncIterator[ClusterProcesses]:
    cluster = ClusterProcesses(folder, target)
    try:
        await cluster.start(*names)
        yield cluster
    finally:
        await cluster.stop()


def outcome_of(cluster: ClusterProcesses, node: str, key: str) -> Callable[[], str | None]:
    def find() -> str | None:
        return next((row["outcome"] for row in get_audit(cluster.url(node)) if row["key"] == key), None)

    return find


async def test_a_frozen_leader_is_replaced_and_its_late_outcome_settles_the_doubt(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        async with semel.connect(cluster.url(other)) as client:
            asking = asyncio.create_task(client.call("charge", {"name": "a", "wait_s": 0.3}, key="k", timeout_s=30))
            await until(lambda: cluster.effect_lines() == ["charge a"], what="the tool to begin")
            cluster.signal(leader, signal.SIGSTOP)
            try:
                doubted = await asking
                assert doubted.in_doubt
                assert await cluster.leader(among=[other]) == other
                served = await client.call("charge", {"name": "b"}, key="k2")
                assert (served.outcome, served.executor) == ("ok", other)
            finally:
                cluster.signal(leader, signal.SIGCONT)
            await until(lambda: outcome_of(cluster, other, "k")() == "ok", what="the late outcome")
            settled = await client.call("charge", {"name": "a", "wait_s": 0.3}, key="k")
            assert (settled.outcome, settled.result, settled.executor) == ("ok", "charged a", leader)
        assert sorted(cluster.effect_lines()) == ["charge a", "charge b"]
        await until(lambda: cluster.status(leader)["leader"] == other, what="the thawed node to follow")


async def test_a_reconcile_hook_settles_what_a_killed_leader_did_and_doubts_what_it_did_not(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        async with semel.connect(cluster.url(other)) as client:
            acted = {"name": "a", "wait_s": 60.0}
            acting = asyncio.create_task(client.call("order", acted, key="acted", timeout_s=30))
            lazy = asyncio.create_task(client.call("order", {**acted, "lazy": True}, key="lazy", timeout_s=30))
            await until(lambda: len(cluster.effect_lines()) == 2, what="both tools to begin")
            await cluster.kill(leader)
            settled, doubted = await acting, await lazy
            assert (settled.outcome, settled.result, settled.executor) == ("ok", "ordered a", leader)
            assert doubted.in_doubt
            again = await client.call("order", acted, key="acted")
            assert (again.outcome, again.result, again.replayed) == ("ok", "ordered a", True)
        rows = {row["key"]: row for row in get_audit(cluster.url(other))}
        assert (rows["acted"]["reconciled"], rows["acted"]["attempt"]) == (True, 1)
        assert (rows["lazy"]["reconciled"], rows["lazy"]["outcome"]) == (False, "in_doubt")
        lost = f"{leader} was lost between intent and outcome; its reconcile hook found no sign of it"
        assert rows["lazy"]["reason"] == lost
        assert sorted(cluster.effect_lines()) == ["lazy a lazy", "order a acted"]


async def test_a_tool_that_ends_its_process_is_in_doubt_and_not_run_again(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        async with semel.connect(cluster.url(other)) as client:
            answer = await client.call("leave", {"name": "a"}, key="k")
            assert answer.in_doubt
            assert (await client.call("charge", {"name": "b"})).outcome == "ok"
        assert sorted(cluster.effect_lines()) == ["charge b", "leave a"]


async def test_a_tool_that_hangs_past_its_limit_is_timed_out_and_stays_so(tmp_path: Path) -> None:
    async with running(tmp_path, "n1") as cluster, semel.connect(*cluster.urls) as client:
        first = await client.call("hang", {"name": "a"}, key="k")
        again = await client.call("hang", {"name": "a"}, key="k")
        assert (first.outcome, again.outcome, again.replayed) == ("timed_out", "timed_out", True)
        assert "may still be acting" in first.result
        assert cluster.effect_lines() == ["hang a"]


async def test_garbage_on_its_port_does_not_disturb_a_node(tmp_path: Path) -> None:
    dice = random.Random(7)
    openings = [
        b"",
        dice.randbytes(4096),
        b"GET /peer HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n" + dice.randbytes(512),
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n{",
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n[[[[",
        b"GET /v1/audit?outcome=perhaps HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ]
    async with running(tmp_path, "n1", "n2") as cluster:
        with contextlib.ExitStack() as half_open:
            for name in cluster.ports:
                for opening in openings * 5:
                    connection = socket.create_connection(("127.0.0.1", cluster.ports[name]), timeout=5)
                    half_open.enter_context(connection)
                    connection.sendall(opening)
            async with semel.connect(*cluster.urls) as client:
                assert (await client.call("charge", {"name": "a"})).outcome == "ok"
            assert all(get_json(f"{url}/readyz") for url in cluster.urls)


async def test_a_tool_that_the_leader_does_not_have_fails_clearly_and_leaves_no_trace(tmp_path: Path) -> None:
    newer = tmp_path / "newer.py"
    newer.write_text("import semel\n\n@semel.tool\ndef refund(name: str) -> str:\n    return name\n")
    async with running(tmp_path, "n1") as cluster:
        cluster.target = newer
        await cluster.start("n2")
        async with semel.connect(cluster.url("n2")) as client:
            with pytest.raises(UnknownTool, match="refund"):
                await client.call("refund", {"name": "a"}, key="k")
        assert get_audit(cluster.url("n2")) == []
        warnings = await until(lambda: cluster.status("n2")["warnings"], what="a warning")
        assert "do not have the same tools" in warnings[0]
        await cluster.kill("n1")
        async with semel.connect(cluster.url("n2")) as client:
            assert (await client.call("refund", {"name": "a"}, key="k")).outcome == "ok"


async def test_two_stdio_processes_share_a_log_and_one_takes_over_from_the_other(tmp_path: Path) -> None:
    def process(name: str) -> StdioServerParameters:
        pid_file = tmp_path / f"{name}.pid"
        script = 'echo $$ > "$0"; exec "$@"'
        serve = [sys.executable, "-m", "semel", "serve", str(SERVER), "--stdio", "--node", name]
        return StdioServerParameters(
            command="sh",
            args=["-c", script, str(pid_file), *serve, "--log", f"sqlite://{tmp_path}/log.db"],
            env={**os.environ, "EFFECTS": str(tmp_path / "effects")},
        )

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Client(process("a"), mode="legacy"))
        second = await stack.enter_async_context(Client(process("b")))
        meta = {"dev.semel/idempotency-key": "k"}
        one = await first.call_tool("charge", {"name": "a"}, meta=meta)
        two = await second.call_tool("charge", {"name": "a"}, meta=meta)
        assert one.structured_content == two.structured_content == {"result": "charged a"}
        assert two.meta is not None
        assert two.meta["dev.semel/replayed"]
        assert two.meta["dev.semel/executor"] == "a"
        os.kill(int((tmp_path / "a.pid").read_text()), signal.SIGKILL)
        three = await asyncio.wait_for(second.call_tool("charge", {"name": "b"}), 20)
        assert three.meta is not None
        assert (three.meta["dev.semel/executor"], three.meta["dev.semel/term"]) == ("b", 2)
    assert (tmp_path / "effects").read_text().splitlines() == ["charge a", "charge b"]
