"""etcd under fire: members that die, hang, come back, or are no members; what a node does and what it is told."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from semel.errors import LogDamaged, LogError, LogTrimmed, LogUnavailable
from semel.log.etcd import rpc
from semel.log.etcd.address import EtcdAddress
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.engine import EtcdLog
from semel.log.etcd.health import Status, unfit
from semel.log.protocol import Batch, Log
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


async def test_the_death_of_any_member_of_three_loses_nothing_and_stops_nobody(
    three_members: EtcdCluster, open_etcd: OpenEtcd, entries: Entries
) -> None:
    log, other = await open_etcd(*three_members.endpoints), await open_etcd(*three_members.endpoints)
    following = asyncio.ensure_future(entries(other, 30))
    for number, member in enumerate(three_members.members):
        for after in range(10 * number, 10 * number + 5):
            await _append(log, after, b"%d" % after)
        member.kill()
        for after in range(10 * number + 5, 10 * number + 10):
            await _append(log, after, b"%d" % after)
        member.start()
        await asyncio.to_thread(member.wait_until_ready)
    assert await following == [b"%d" % after for after in range(30)]
    assert await log.tail() == 30


async def test_a_member_that_hangs_is_left_by_appends_and_by_followers(
    three_members: EtcdCluster, open_etcd: OpenEtcd, entries: Entries
) -> None:
    hanging = three_members.members[0]
    log, other = await open_etcd(*three_members.endpoints), await open_etcd(*three_members.endpoints)
    following = asyncio.ensure_future(entries(other, 20))
    for after in range(10):
        await _append(log, after, b"%d" % after)
    hanging.stop()
    try:
        for after in range(10, 20):
            await _append(log, after, b"%d" % after)
        await _learn(other, 20)
        assert await following == [b"%d" % after for after in range(20)]
    finally:
        hanging.go_on()


async def test_without_a_quorum_that_is_said_and_with_it_all_goes_on(
    three_members: EtcdCluster, open_etcd: OpenEtcd, entries: Entries
) -> None:
    log = await open_etcd(*three_members.endpoints)
    following = asyncio.ensure_future(entries(log, 2))
    await _append(log, 0, b"a")
    for member in three_members.members[1:]:
        member.kill()
    await _until_told(lambda: log.append(1, [b"b"]), "no quorum: 1 of 3 etcd members reachable")
    for asked in (log.tail, log.first, log.pulses):
        with pytest.raises(LogUnavailable):
            await asked()
    await log.pulse("a", b"lost in silence")
    three_members.members[0].kill()
    await _until_told(lambda: log.append(1, [b"b"]), "no quorum: 0 of 3 etcd members reachable")
    for member in three_members.members:
        member.start()
    assert await _append(log, 1, b"b") == 2
    assert await following == [b"a", b"b"]


async def test_what_was_acknowledged_outlives_the_sudden_death_of_all_members(
    three_members: EtcdCluster, open_etcd: OpenEtcd, entries: Entries
) -> None:
    log = await open_etcd(*three_members.endpoints)
    for after in range(20):
        await log.append(after, [b"%d" % after])
    for member in three_members.members:
        member.kill()
    for member in three_members.members:
        member.start()
    assert await _append(log, 20, b"20") == 21
    assert await entries(log, 21) == [b"%d" % after for after in range(21)]


async def test_a_stream_that_falls_silent_is_left(etcd: EtcdCluster, wire: Wire, open_etcd: OpenEtcd) -> None:
    direct = await open_etcd(*etcd.endpoints)
    behind = await open_etcd(wire.endpoint, *etcd.endpoints)
    async with aclosing(behind.follow(0)) as batches:
        await direct.append(0, [b"a"])
        assert await _next(batches) == Batch(1, [b"a"])
        following = asyncio.ensure_future(_next(batches))
        wire.answers = Way.LOST
        await direct.append(1, [b"b"])
        await _learn(behind, 2)
        assert await following == Batch(2, [b"b"])


async def test_a_follower_that_was_cut_off_through_a_compaction_misses_nothing(
    etcd: EtcdCluster, wire: Wire, open_etcd: OpenEtcd
) -> None:
    direct, behind = await open_etcd(*etcd.endpoints), await open_etcd(wire.endpoint)
    async with aclosing(behind.follow(0)) as batches:
        await direct.append(0, [b"a"])
        assert await _next(batches) == Batch(1, [b"a"])
        wire.requests = wire.answers = Way.LOST
        for after in range(1, 10):
            await direct.append(after, [b"%d" % after])
        await _compact(etcd)
        wire.requests = wire.answers = Way.OPEN
        await wire.cut()
        position = 1
        while position < 10:
            batch = await _next(batches)
            assert batch.first == position + 1
            position = batch.last


async def test_a_follower_that_was_cut_off_through_a_trim_is_told(
    etcd: EtcdCluster, wire: Wire, open_etcd: OpenEtcd
) -> None:
    direct, behind = await open_etcd(*etcd.endpoints), await open_etcd(wire.endpoint)
    async with aclosing(behind.follow(0)) as batches:
        await direct.append(0, [b"a"])
        await _next(batches)
        wire.requests = wire.answers = Way.LOST
        for after in range(1, 10):
            await direct.append(after, [b"%d" % after])
        await direct.trim(8)
        await _compact(etcd)
        wire.requests = wire.answers = Way.OPEN
        await wire.cut()
        with pytest.raises(LogTrimmed, match="trimmed"):
            await _next(batches)


async def test_a_port_that_speaks_something_else_is_passed_over(etcd: EtcdCluster, open_etcd: OpenEtcd) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        log = await open_etcd(endpoint, *etcd.endpoints)
        assert await log.append(0, [b"a"]) == 1
        with pytest.raises(LogUnavailable, match=rf"no etcd member .* can be reached.*{endpoint}"):
            await open_etcd(endpoint)


async def test_where_nobody_listens_the_refusal_says_where(open_etcd: OpenEtcd) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else takes the port
        bound.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(LogUnavailable, match=rf"{endpoint}.*refused"):
            await open_etcd(endpoint)


async def test_members_of_two_clusters_are_no_log(
    etcd: EtcdCluster, etcd_binary_path: Path, tmp_path: Path, open_etcd: OpenEtcd
) -> None:
    with (
        EtcdCluster(etcd_binary_path, tmp_path / "another", members=1) as another,
        pytest.raises(LogError, match="belongs to another cluster"),
    ):
        await open_etcd(*etcd.endpoints, *another.endpoints)


async def test_a_log_that_is_older_than_its_follower_says_so(etcd: EtcdCluster, open_etcd: OpenEtcd) -> None:
    log = await open_etcd(*etcd.endpoints)
    await log.append(0, [b"a"])
    with pytest.raises(LogDamaged, match="ends at position 1, before 7"):
        await _next(log.follow(7))


async def test_a_closed_log_says_so_to_whoever_asks_or_follows(etcd: EtcdCluster, open_etcd: OpenEtcd) -> None:
    log = await open_etcd(*etcd.endpoints)
    following = asyncio.ensure_future(_next(log.follow(0)))
    await asyncio.sleep(0)  # it has begun
    await log.close()
    with pytest.raises(LogError, match="is closed"):
        await following
    with pytest.raises(LogError, match="is closed"):
        await log.tail()


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("3.3.25", "not supported"),
        ("3.5.0", "corrupt"),
        ("3.5.2", "corrupt"),
        ("4.0.0", "not supported"),
        ("", "no ver"),
    ],
)
def test_versions_that_cannot_be_trusted_are_refused(version: str, reason: str) -> None:
    refusal = unfit(Status(1, version, 1, 1, 0, 0, ()), "h1:2379", 0)
    assert reason in str(refusal)


@pytest.mark.parametrize("version", ["3.4.0", "3.4.23", "3.5.3", "3.5.30", "3.6.1", "3.7.0"])
def test_versions_that_can_be_trusted_are_taken(version: str) -> None:
    assert unfit(Status(1, version, 1, 1, 0, 0, ()), "h1:2379", 0) is None


async def _append(log: Log, after: int, entry: bytes) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await log.append(after, [entry])
            except LogUnavailable:
                await asyncio.sleep(0.01)


async def _next(batches: object) -> Batch:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(batches)  # type: ignore[call-overload]


async def _learn(log: EtcdLog, position: int) -> None:
    """Have `log` hear of the tail, as a node does that looks at pulses several times a second."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if await log.tail() >= position:
                    return
            except LogUnavailable:
                pass
            await asyncio.sleep(0.05)


async def _until_told(ask: Callable[[], Awaitable[object]], text: str) -> None:
    """Ask until the refusal says `text`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with pytest.raises(LogUnavailable) as refusal:
                await ask()
            if text in str(refusal.value):
                return


async def _compact(etcd: EtcdCluster) -> None:
    """Forget all of etcd's history."""
    cluster = await Cluster.open(EtcdAddress(endpoints=tuple(etcd.endpoints)))
    revision = (await cluster.ask("range", rpc.one(b"x"))).header.revision
    await cluster.ask("compact", rpc.compact(revision))
    await cluster.close()
