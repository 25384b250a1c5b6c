"""Tasks on real nodes: made at one, asked after at another, and where the one that runs them is killed."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.gateway.task_far import far, near
from tests.gateway.task_server import KEY
from tests.processes.cluster import SERVER, ClusterProcesses, get_audit, until
from tests.processes.taskpost import begin, ended, get, listening, post

pytestmark = pytest.mark.anyio

ASKING = Path(__file__).with_name("asking.py")


@asynccontextmanager
async def running(folder: Path, *names: str, target: Path = SERVER) -> AsyncIterator[ClusterProcesses]:
    cluster = ClusterProcesses(folder, target)
    try:
        await cluster.start(*names)
        yield cluster
    finally:
        await cluster.stop()


async def test_tasks_outlive_the_node_that_gave_and_runs_them(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        stored, charged = await asyncio.gather(
            asyncio.to_thread(begin, cluster.url(leader), "store", "a", 8.0),
            asyncio.to_thread(begin, cluster.url(leader), "charge", "b", 60.0),
        )
        for task in (stored, charged):
            assert get(cluster.url(other), task)["status"] == "working"
        await cluster.kill(leader)

        done = await ended(cluster.url(other), stored)
        assert (done["status"], done["result"]["structuredContent"]) == ("completed", {"result": "stored a"})
        assert done["_meta"]["dev.semel/attempt"] == 2
        doubted = await ended(cluster.url(other), charged)
        assert (doubted["status"], doubted["result"]["isError"]) == ("completed", True)
        assert doubted["result"]["_meta"]["dev.semel/outcome"] == "in_doubt"
        assert doubted["statusMessage"].startswith("In doubt: nobody can know whether charge acted")
        assert sorted(cluster.effect_lines()) == ["charge b", "store a", "store a"]

        await cluster.start(leader)
        assert get(cluster.url(leader), stored)["status"] == "completed"
        rows = get_audit(cluster.url(leader))
        assert {(row["tool"], row["outcome"]) for row in rows} == {("store", "ok"), ("charge", "in_doubt")}


async def test_a_task_made_at_a_follower_goes_on_when_the_follower_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        charged = begin(cluster.url(other), "charge", "a", 4.0)
        await cluster.kill(other)
        done = await ended(cluster.url(leader), charged)
        assert (done["status"], done["result"]["structuredContent"]) == ("completed", {"result": "charged a"})
        assert cluster.effect_lines() == ["charge a"]


async def test_who_listens_at_another_node_is_told_of_the_run_that_takes_over_and_of_the_end(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        stored = begin(cluster.url(leader), "store", "a", 3.0)
        async with asyncio.timeout(60), listening(cluster.url(other), stored) as states:
            first = await anext(states)
            assert (first["status"], first["statusMessage"]) == ("working", f"store runs on {leader}")
            await cluster.kill(leader)
            again = await anext(states)
            assert (again["status"], again["statusMessage"]) == ("working", f"store runs on {other} (attempt 2)")
            done = await anext(states)
        assert (done["status"], done["result"]["structuredContent"]) == ("completed", {"result": "stored a"})


async def test_a_cancelled_task_is_so_at_every_node_and_is_in_the_audit(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        charged = begin(cluster.url(other), "charge", "a", 60.0)
        assert post(cluster.url(leader), "tasks/cancel", taskId=charged).keys() <= {"resultType", "_meta"}
        for name in (leader, other):
            task = await ended(cluster.url(name), charged)
            assert (task["status"], "may have acted" in task["statusMessage"]) == ("cancelled", True)
        (row,) = get_audit(cluster.url(other))
        assert (row["outcome"], row["tool"]) == ("cancelled", "charge")
        assert cluster.effect_lines() == ["charge a"]


def answer(url: str, task_id: str, key: str, name: str) -> None:
    given = {key: {"action": "accept", "content": {"name": name}}}
    ack = post(url, "tasks/update", taskId=task_id, inputResponses=given)
    assert ack.keys() <= {"resultType", "_meta"}, ack


async def test_what_was_answered_stays_answered_when_the_node_that_took_it_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2", target=ASKING) as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        task_id = post(cluster.url(leader), "tools/call", name="greet", arguments={})["taskId"]
        asked = await ended(cluster.url(other), task_id)
        assert (asked["status"], [*asked["inputRequests"]]) == ("input_required", ["1.first", "1.second"])
        answer(cluster.url(leader), task_id, "1.second", "Bob")
        await cluster.kill(leader)
        await cluster.leader(among=[other])
        assert [*get(cluster.url(other), task_id)["inputRequests"]] == ["1.first"]
        answer(cluster.url(other), task_id, "1.first", "Alice")
        done = await ended(cluster.url(other), task_id)
        assert done["result"]["content"][0]["text"] == "Hello, Alice and Bob!"
        assert cluster.effect_lines() == ["greet 0", "greet 2"]
        (row,) = get_audit(cluster.url(other))
        assert (row["outcome"], row["rounds"]) == ("ok", 3)


async def test_a_task_that_waits_for_answers_is_given_up_for_good_at_every_node(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2", target=ASKING) as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        task_id = post(cluster.url(leader), "tools/call", name="greet", arguments={})["taskId"]
        await ended(cluster.url(other), task_id)
        post(cluster.url(other), "tasks/cancel", taskId=task_id)
        answer(cluster.url(leader), task_id, "1.first", "late")
        assert get(cluster.url(leader), task_id)["status"] == "cancelled"
        assert cluster.effect_lines() == ["greet 0"]


async def test_an_id_of_another_cluster_names_no_task(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with running(tmp_path / "one", "n1") as one, running(tmp_path / "two", "n1") as two:
        key = {"dev.semel/idempotency-key": "order-42"}
        arguments = {"name": "a", "wait_s": 30.0}
        made = [
            post(cluster.url("n1"), "tools/call", name="charge", arguments=arguments, meta=key)
            for cluster in (one, two)
        ]
        assert made[0]["taskId"] != made[1]["taskId"]
        refused = get(two.url("n1"), made[0]["taskId"])
        assert (refused["code"], refused["data"]["code"]) == (-32602, "unknown_task")
        for cluster in (one, two):
            await cluster.kill("n1")  # a drain would wait for the tasks


async def test_a_client_of_2025_has_its_task_through_semel_connect_when_the_leader_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        leader = await cluster.leader()
        other = "n2" if leader == "n1" else "n1"
        urls = [cluster.url(name) for name in (leader, other)]
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "semel", "connect", *urls], env={**os.environ}
        )
        async with asyncio.timeout(60), Client(stdio_client(command), mode="legacy") as client:
            # Below the client's session, which checks answers and has no form for one that gives a task.
            send = client.session._dispatcher.send_raw_request
            arguments = {"name": "a", "wait_s": 2.0}
            made = await send("tools/call", {"name": "store", "arguments": arguments, "task": {}})
            task_id = made["task"]["taskId"]
            waiting = asyncio.create_task(send("tasks/result", {"taskId": task_id}))
            await until(cluster.effect_lines, what="the tool to begin")
            await cluster.kill(leader)
            result = await waiting
            assert result["structuredContent"] == {"result": "stored a"}
            assert result["_meta"]["dev.semel/attempt"] == 2
            assert (await send("tasks/get", {"taskId": task_id}))["status"] == "completed"
        (row,) = get_audit(cluster.url(other))
        assert (row["tool"], row["outcome"]) == ("store", "ok")


@pytest.mark.parametrize(("era", "where"), [("old", "stdio"), ("new", "HTTP")])
async def test_a_servers_own_task_shares_the_fate_of_its_call_when_the_leader_is_killed(
    tmp_path: Path, era: str, where: str
) -> None:
    async with far(era) as server:
        effects, listing = tmp_path / "effects", tmp_path / "mcp.json"
        entry = {"url": server.url} if where == "HTTP" else near(era, effects)
        listing.write_text(json.dumps({"mcpServers": {"tasks": entry}}))

        def calls() -> list[str]:
            lines = server.noted if where == "HTTP" else effects.read_text().splitlines()
            return [line.removeprefix("call ") for line in lines if line.startswith("call ")]

        async with running(tmp_path, "n1", "n2", target=listing) as cluster:
            leader = await cluster.leader()
            other = "n2" if leader == "n1" else "n1"
            again, once = await asyncio.gather(
                *(asyncio.to_thread(begin, cluster.url(leader), tool, "a", 0.0) for tool in ("held_again", "held"))
            )
            await until(lambda: len(calls()) == 2, what="both to run")
            await cluster.kill(leader)

            doubted = await ended(cluster.url(other), once)
            assert doubted["result"]["_meta"]["dev.semel/outcome"] == "in_doubt"
            await until(lambda: len(calls()) == 3, what="the repeatable one to run again")
            server.noted.append("go")
            with effects.open("a") as lines:
                lines.write("go\n")
            done = await ended(cluster.url(other), again)
            assert (done["status"], done["result"]["content"][0]["text"]) == ("completed", "done")
            assert done["_meta"]["dev.semel/attempt"] == 2
            assert calls().count(doubted["_meta"][KEY]) == 1
            assert calls().count(done["_meta"][KEY]) == 2
