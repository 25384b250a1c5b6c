"""Appends whose answer was lost, or that arrive late: each is decided by proposing it again, and none lands twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from semel.errors import Conflict, LogUnavailable
from semel.log.etcd import rpc
from semel.log.etcd.engine import EtcdLog
from semel.log.etcd.member import Member
from semel.log.protocol import Log
from tests.log.conftest import PATIENCE_S, Entries, OpenEtcd
from tests.log.members import EtcdCluster
from tests.log.wire import Way, Wire

pytestmark = pytest.mark.anyio


@pytest.fixture
async def wire(etcd: EtcdCluster) -> AsyncIterator[Wire]:
    wire = Wire(etcd.members[0].port)
    await wire.start()
    yield wire
    await wire.close()


@pytest.fixture
async def log(wire: Wire, open_etcd: OpenEtcd) -> EtcdLog:
    """A log behind the wire; it has one entry, so that its connection is up."""
    log = await open_etcd(wire.endpoint)
    await log.append(0, [b"a"])
    return log


@pytest.fixture
async def other(etcd: EtcdCluster, log: EtcdLog, open_etcd: OpenEtcd) -> EtcdLog:
    """The same log, without the wire."""
    return await open_etcd(*etcd.endpoints)


async def test_an_append_whose_answer_was_lost_is_found_by_proposing_it_again(
    log: EtcdLog, other: EtcdLog, wire: Wire, entries: Entries
) -> None:
    wire.answers = Way.LOST
    with pytest.raises(LogUnavailable, match="no answer in time"):
        await log.append(1, [b"b", b"c"])
    assert await other.tail() == 3  # it has landed, and nobody told
    wire.answers = Way.OPEN
    assert await _until_decided(log, 1, [b"b", b"c"]) == 3
    assert await entries(other, 3) == [b"a", b"b", b"c"]


async def test_a_lost_answer_is_found_behind_the_entries_of_others(
    log: EtcdLog, other: EtcdLog, wire: Wire, entries: Entries
) -> None:
    wire.answers = Way.LOST
    with pytest.raises(LogUnavailable):
        await log.append(1, [b"b"])
    assert await other.append(2, [b"x"]) == 3
    wire.answers = Way.OPEN
    assert await _until_decided(log, 1, [b"b"]) == 2
    assert await entries(other, 3) == [b"a", b"b", b"x"]


async def test_a_connection_that_is_cut_before_the_answer_leaves_one_append(
    log: EtcdLog, other: EtcdLog, wire: Wire, entries: Entries
) -> None:
    for after in range(1, 6):
        wire.answers, before = Way.CUTS, wire.cuts
        proposal = asyncio.ensure_future(_until_decided(log, after, [b"%d" % after]))
        while wire.cuts == before:
            await asyncio.sleep(0.001)
        wire.answers = Way.OPEN
        assert await proposal == after + 1
    assert await entries(other, 6) == [b"a", b"1", b"2", b"3", b"4", b"5"]


async def test_an_append_that_is_delivered_late_does_not_land_twice(
    log: EtcdLog, other: EtcdLog, wire: Wire, entries: Entries, etcd: EtcdCluster
) -> None:
    await _propose_and_hold(log, wire, 1, [b"b"])
    assert await other.append(1, [b"b"]) == 2  # proposed again, by another way
    await _deliver(wire, etcd)
    assert await other.tail() == 2
    assert await entries(other, 2) == [b"a", b"b"]


async def test_an_append_that_is_delivered_late_does_not_land_behind_the_entry_of_another(
    log: EtcdLog, other: EtcdLog, wire: Wire, entries: Entries, etcd: EtcdCluster
) -> None:
    await _propose_and_hold(log, wire, 1, [b"b"])
    assert await other.append(1, [b"x"]) == 2
    await _deliver(wire, etcd)
    assert await entries(other, 2) == [b"a", b"x"]
    assert await other.tail() == 2
    with pytest.raises(Conflict, match="ends at position 2"):
        await _until_decided(log, 1, [b"b"])


async def test_nothing_is_concluded_from_absence(log: EtcdLog, other: EtcdLog, wire: Wire, etcd: EtcdCluster) -> None:
    await _propose_and_hold(log, wire, 1, [b"b"])
    assert await other.tail() == 1  # it is not there, and yet it comes
    await _deliver(wire, etcd)
    assert await other.tail() == 2
    assert await _until_decided(log, 1, [b"b"]) == 2


async def test_a_large_append_whose_connection_is_cut_in_the_middle_is_whole_or_not_there(
    log: EtcdLog, other: EtcdLog, wire: Wire, entries: Entries
) -> None:
    large = [bytes([number]) * 3_000_000 for number in range(2)]
    proposal = asyncio.ensure_future(_until_decided(log, 1, large))
    for _ in range(3):
        await asyncio.sleep(0.005)  # somewhere in the middle, wherever that is
        await wire.cut()
        assert await other.tail() in (1, 3)
    assert await proposal == 3
    assert await entries(other, 2, after=1) == large


async def _until_decided(log: Log, after: int, proposed: list[bytes]) -> int:
    """Propose the very same append until its position is decided, as the runtime does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await log.append(after, proposed)
            except LogUnavailable:
                await asyncio.sleep(0.01)


async def _propose_and_hold(log: Log, wire: Wire, after: int, proposed: list[bytes]) -> None:
    """Propose an append that stays on the wire, and cut the proposer off."""
    wire.requests = Way.HELD
    proposal = asyncio.ensure_future(log.append(after, proposed))
    async with asyncio.timeout(PATIENCE_S):
        await wire.held.wait()
    await wire.cut()
    with pytest.raises(LogUnavailable):
        await proposal


async def _deliver(wire: Wire, etcd: EtcdCluster) -> None:
    """Deliver what is held, and wait until etcd has decided it: its own log is longer then."""
    member = Member(etcd.endpoints[0], None)
    before = await _index(member)
    await wire.deliver()
    async with asyncio.timeout(PATIENCE_S):
        while await _index(member) == before:
            await asyncio.sleep(0.01)
    member.close()


async def _index(member: Member) -> int:
    status = await member.ask("status", rpc.status(), within_s=5, token=None)
    return int(status.raftAppliedIndex)
