"""Linearizable reads, and how fresh a node says that what it shows is."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from semel.core.call import NodeId
from semel.core.codec import encode
from semel.core.decider import Identity
from semel.core.entry import Resigned
from semel.errors import LogUnavailable, Unconfirmed
from semel.log.memory import MemoryLog
from semel.log.protocol import Batch
from semel.node import reach
from semel.node.members import Beat, Members
from semel.node.replica import Replica
from semel.node.runtime import Runtime
from tests.node.test_runtime import Tools, until

pytestmark = pytest.mark.anyio

REASON = "no quorum: 1 of 3 etcd members reachable"


class Cuttable(MemoryLog):
    """A log that can be cut off from its nodes, wholly or on the way to them only."""

    def __init__(self) -> None:
        super().__init__()
        self.there = asyncio.Event()
        self.there.set()
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def tail(self) -> int:
        if not self.there.is_set():
            raise LogUnavailable(REASON)
        return await super().tail()

    async def follow(self, after: int) -> AsyncGenerator[Batch, None]:
        async for batch in super().follow(after):
            await self.flowing.wait()
            yield batch


@asynccontextmanager
async def node(folder: Path, log: MemoryLog) -> AsyncIterator[Runtime]:
    identity = Identity(NodeId("n1", "i1"), "http://n1", "semel", "the-id")

    async def fetch(*_: object) -> None:
        raise AssertionError("this log is never trimmed")

    with closing(Replica(folder / "n1.db")) as replica:
        runtime = Runtime(log=log, replica=replica, toolbox=Tools(), identity=identity, fetch=fetch)
        await runtime.start()
        try:
            await until(lambda: runtime.readiness() is None, "n1 leads")
            yield runtime
        finally:
            await runtime.stop()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "READ_TO_TAIL_S", 0.3)
    monkeypatch.setattr(reach, "LOOK_EVERY_S", 0.01)


async def another_writes(log: MemoryLog) -> int:
    """Append an entry that the node has not read and that changes nothing; return its position."""
    tail = await MemoryLog.tail(log)
    return await log.append(tail, [encode(Resigned(term=0, node=NodeId("n2", "i2"), at_ms=0))])


async def test_a_linearizable_read_waits_for_what_was_in_the_log_when_it_was_asked(tmp_path: Path) -> None:
    log = Cuttable()
    async with node(tmp_path, log) as n1:
        log.flowing.clear()
        last = await another_writes(log)
        asking = asyncio.create_task(n1.read_to_tail())
        await until(lambda: n1.reach.tail == last, "the tail is known")
        assert (n1.position, asking.done()) == (last - 1, False)
        log.flowing.set()
        assert await asking == last
        assert n1.status()["position"] == last


async def test_a_log_that_cannot_tell_its_end_makes_no_linearizable_read_and_is_named_as_the_reason(
    tmp_path: Path,
) -> None:
    log = Cuttable()
    async with node(tmp_path, log) as n1:
        log.there.clear()
        with pytest.raises(Unconfirmed, match=rf"{REASON}.*Ask again; or without --linearizable.*position 2"):
            await n1.read_to_tail()
        assert n1.status()["position"] == 2


async def test_a_log_that_comes_back_in_time_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "READ_TO_TAIL_S", 10.0)
    log = Cuttable()
    async with node(tmp_path, log) as n1:
        log.there.clear()
        asking = asyncio.create_task(n1.read_to_tail())
        await until(lambda: n1.reach.trouble == REASON, "it was asked in vain")
        log.there.set()
        assert await asking == 2


async def test_a_node_that_does_not_get_to_the_end_in_time_says_how_far_it_is(tmp_path: Path) -> None:
    log = Cuttable()
    async with node(tmp_path, log) as n1:
        log.flowing.clear()
        await another_writes(log)
        with pytest.raises(Unconfirmed, match=r"the log ends at position 3, and it is still reading.*position 2"):
            await n1.read_to_tail()


async def test_a_node_that_has_lost_the_log_from_sight_says_since_when_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "UNREACHED_S", 0.2)
    log = Cuttable()
    async with node(tmp_path, log) as n1:
        await until(lambda: n1.status()["warnings"] == [], "all is well")
        log.there.clear()
        await until(lambda: n1.status()["warnings"], "a warning")
        (warning,) = n1.status()["warnings"]
        assert warning.startswith("as of position 2; the log has not been reached for 0 s: no quorum")
        log.there.set()
        await until(lambda: n1.status()["warnings"] == [], "the log is heard again")


async def test_a_nodes_lag_is_told_by_the_log_itself(tmp_path: Path) -> None:
    log = Cuttable()
    async with node(tmp_path, log) as n1:
        assert n1.status()["nodes"][0]["lag"] == 0
        log.flowing.clear()
        last = await another_writes(log)
        await until(lambda: n1.status()["tail"] == last, "the tail is known")
        assert n1.status()["nodes"][0]["lag"] == 1


def test_a_beat_that_never_changed_may_be_anybodys_age() -> None:
    def beat(at_s: float) -> Beat:
        return Beat(incarnation="i", url="http://n", position=1, tools="t", at_s=at_s)

    members = Members(MemoryLog(), "n1")
    members.see({"dead": beat(1), "alive": beat(1)}, 10.0)
    members.see({"dead": beat(1), "alive": beat(2)}, 11.0)
    assert (members.age_s("dead", 12.5), members.age_s("alive", 12.5)) == (None, 1.5)
    members.see({"dead": beat(1)}, 12.0)
    assert members.age_s("alive", 12.5) is None
