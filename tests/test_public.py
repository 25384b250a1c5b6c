"""The public names: few, documented, and enough to serve and call tools from a program."""

import asyncio
import fcntl
from pathlib import Path

import pytest
from mcp import Client, MCPError

import semel
from semel.errors import KeyReused, UsageError
from semel.serving import default_log

pytestmark = pytest.mark.anyio

CHARGED: list[int] = []


@semel.tool(serialize_by="account")
def charge(account: str, amount: int) -> str:
    """Charge an amount."""
    CHARGED.append(amount)
    return f"charged {account} {amount} under {semel.current_call().key}"


@semel.tool(effect="read")
def balance() -> int:
    """Tell the balance."""
    return sum(CHARGED)


async def test_a_program_serves_its_functions_and_calls_them_once(tmp_path: Path) -> None:
    CHARGED.clear()
    log = f"sqlite://{tmp_path}/log.db"
    async with semel.Node([charge, balance], log=log, listen="127.0.0.1:0") as node:
        first = await node.call("charge", {"account": "ann", "amount": 5}, key="k")
        again = await node.call("charge", {"amount": 5, "account": "ann"}, key="k")
        assert (first.result, first.outcome, first.replayed) == ("charged ann 5 under k", "ok", False)
        assert (again.result, again.replayed) == (first.result, True)
        with pytest.raises(KeyReused):
            await node.call("charge", {"account": "ann", "amount": 6}, key="k")
        assert CHARGED == [5]
        async with semel.connect(node.url) as client:
            assert (await client.call("balance")).result == 5
        assert node.status()["leader"] == node.name == "node-1"
        assert [tool["name"] for tool in node.tools()] == ["balance", "charge"]


async def test_calls_of_one_account_run_one_after_the_other(tmp_path: Path) -> None:
    running: list[str] = []
    most: list[int] = []

    @semel.tool(serialize_by="account")
    async def work(account: str, number: int) -> None:
        running.append(account)
        most.append(running.count(account))
        await asyncio.sleep(0.005)
        running.remove(account)

    async with semel.Node(work, log=f"sqlite://{tmp_path}/log.db", listen="127.0.0.1:0") as node:
        calls = [node.call("work", {"account": f"a{n % 3}", "number": n}) for n in range(30)]
        assert {answer.outcome for answer in await asyncio.gather(*calls)} == {"ok"}
    assert max(most) == 1


async def test_a_node_that_is_not_up_says_so_to_whoever_calls_and_can_be_started_again(tmp_path: Path) -> None:
    CHARGED.clear()
    node = semel.Node(charge, log=f"sqlite://{tmp_path}/log.db", listen="127.0.0.1:0")
    for _ in range(2):
        with pytest.raises(semel.errors.NoLeader, match="does not run: it was not started, or has stopped"):
            await node.call("charge", {"account": "ann", "amount": 5}, key="k")
        async with node:
            assert (
                await node.call("charge", {"account": "ann", "amount": 5}, key="k")
            ).result == "charged ann 5 under k"
        await node.stop()  # harmless
    assert CHARGED == [5]


async def test_a_node_without_a_file_wants_to_be_told_its_log() -> None:
    with pytest.raises(UsageError, match="needs a log"):
        semel.Node([charge])


async def test_a_node_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    log = f"sqlite://{tmp_path}/log.db"
    async with semel.Node(charge, log=log, listen="127.0.0.1:0") as node:
        port = node.url.rpartition(":")[2]
        with pytest.raises(semel.errors.ListenError, match="in use"):
            await semel.Node(charge, log=log, listen=f"127.0.0.1:{port}").start()
        with pytest.raises(semel.errors.NameTaken, match="node-1"):
            await semel.Node(charge, log=log, name="node-1", listen="127.0.0.1:0").start()
        unlucky = semel.Node(charge, log=log, listen=f"127.0.0.1:{port}")
        with pytest.raises(semel.errors.ListenError):
            await unlucky.start()
        await unlucky.stop()  # harmless
        async with semel.Node(charge, log=log, listen="127.0.0.1:0") as second:
            assert second.name == "node-2"


async def test_each_target_has_an_embedded_log_of_its_own() -> None:
    assert default_log("a/server.py") != default_log("b/server.py")
    assert default_log("server.py:one") != default_log("server.py:two")
    assert default_log("server.py") == default_log("./server.py")


async def test_every_public_name_is_there_and_documented() -> None:
    for name in semel.__all__:
        assert getattr(semel, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = semel.nothing


async def test_a_log_that_another_process_holds_is_waited_for_at_the_start(tmp_path: Path) -> None:
    log = f"sqlite://{tmp_path}/log.db"
    async with semel.Node(charge, log=log, listen="127.0.0.1:0"):
        pass
    with (tmp_path / "log.db-lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        node = semel.Node(charge, log=log, listen="127.0.0.1:0")
        starting = asyncio.create_task(node.start())
        done, _ = await asyncio.wait([starting], timeout=1.5)  # longer than one attempt waits
        assert not done
    await asyncio.wait_for(starting, 10)
    await node.stop()


async def test_a_node_can_want_keys_of_its_clients_for_what_must_not_happen_twice(tmp_path: Path) -> None:
    CHARGED.clear()
    log = f"sqlite://{tmp_path}/log.db"
    async with semel.Node([charge, balance], log=log, listen="127.0.0.1:0", require_key=True) as node:
        async with Client(f"{node.url}/mcp", mode="2026-07-28") as client:
            with pytest.raises(MCPError, match="runs charge only under an idempotency key") as caught:
                await client.call_tool("charge", {"account": "ann", "amount": 5})
            assert caught.value.data["code"] == "key_missing"
            assert (await client.call_tool("balance", {})).structured_content == {"result": 0}
            await client.call_tool("charge", {"account": "ann", "amount": 5}, meta={"dev.semel/idempotency-key": "k"})
        async with semel.connect(node.url) as own:
            assert (await own.call("charge", {"account": "ann", "amount": 6})).outcome == "ok"  # it makes a key
    assert CHARGED == [5, 6]
