"""Snapshots of a replica: made while it is in use, checked, installed in another while that is read."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from semel.core.call import CallId, Effect, NodeId, Record, Status
from semel.core.ledger import Totals
from semel.errors import ReplicaError
from semel.node.replica import Replica
from semel.node.snapshot import Shelf, Snapshot

pytestmark = pytest.mark.anyio


def record(number: int, *, text: str = "x") -> Record:
    return Record(
        id=CallId("ann", f"k{number}"),
        tool="charge",
        arguments=msgspec.Raw(b"{}"),
        digest="d",
        request=f"r{number}",
        client="",
        effect=Effect.ONCE,
        timeout_s=1.0,
        lane=None,
        execution_id=number,
        intents=(number,),
        position=number,
        term=1,
        attempt=1,
        executor=NodeId("n1", "1"),
        status=Status.OK,
        timestamp_ms=1,
        clock_ms=1,
        result=msgspec.Raw(msgspec.json.encode(text)),
        duration_ms=1.0,
    )


def filled(path: Path, count: int, *, text: str = "x") -> Replica:
    replica = Replica(path)
    for number in range(1, count + 1):
        replica.keep(record(number, text=text))
    replica.commit(Totals(position=count, cluster="c", cluster_id="id"), f"digest {count}")
    return replica


def test_a_snapshot_holds_the_last_commit_of_a_replica_in_use(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "replica.db", 3)) as replica:
        replica.keep(record(4))  # not committed
        snapshot = Snapshot.take(tmp_path / "replica.db", tmp_path / "copy.db")
    assert (snapshot.totals.position, snapshot.last_entry) == (3, "digest 3")
    with closing(Replica(tmp_path / "copy.db")) as copy:
        assert copy.find(CallId("ann", "k3")) == record(3)
        assert copy.find(CallId("ann", "k4")) is None


def test_an_installed_snapshot_takes_the_place_of_everything(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "peer.db", 500)) as _:
        snapshot = Snapshot.take(tmp_path / "peer.db", tmp_path / "copy.db")
    with (
        closing(filled(tmp_path / "replica.db", 2, text="old")) as replica,
        closing(sqlite3.connect(tmp_path / "replica.db")) as reader,
    ):
        rows = reader.execute("SELECT key FROM calls")
        assert rows.fetchone() == ("k1",)  # it reads on while the snapshot comes in
        replica.install(snapshot.path)
        assert rows.fetchall() == [("k2",)]
        assert reader.execute("SELECT count(*) FROM calls").fetchone() == (500,)
        assert replica.totals() == snapshot.totals
        assert replica.last_entry() == "digest 500"
        assert replica.find(CallId("ann", "k1")) == record(1)
        replica.keep(record(501))
        replica.commit(Totals(position=501), "digest 501")
        replica.sync()
    with closing(Replica(tmp_path / "replica.db")) as again:
        assert again.find(CallId("ann", "k501")) == record(501)
        assert again.find(CallId("ann", "k500")) == record(500)


@pytest.mark.parametrize(("version", "said"), [(1, "older than"), (99, "newer than")])
def test_a_backup_of_another_format_is_refused(tmp_path: Path, version: int, said: str) -> None:
    with closing(filled(tmp_path / "replica.db", 1)) as _:
        snapshot = Snapshot.take(tmp_path / "replica.db", tmp_path / "copy.db")
    with closing(sqlite3.connect(snapshot.path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(ReplicaError, match=f"has format {version}, {said}"):
        Snapshot.check(snapshot.path)


def test_an_installed_snapshot_does_not_hold_its_room_on_the_disk_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semel.node.replica.WAL_KEPT_BYTES", 64 * 1024)
    with closing(filled(tmp_path / "peer.db", 500, text="x" * 10_000)) as _:
        snapshot = Snapshot.take(tmp_path / "peer.db", tmp_path / "copy.db")
    with closing(Replica(tmp_path / "replica.db")) as replica:
        replica.install(snapshot.path)
        for number in (501, 502):
            replica.keep(record(number))
            replica.commit(Totals(position=number), f"digest {number}")
        assert (tmp_path / "replica.db-wal").stat().st_size < 256 * 1024


@pytest.mark.parametrize("harm", ["cut", "bits", "foreign", "empty", "missing"])
def test_what_is_no_whole_snapshot_is_refused(tmp_path: Path, harm: str) -> None:
    filled(tmp_path / "replica.db", 300).close()
    path = Snapshot.take(tmp_path / "replica.db", tmp_path / "copy.db").path
    match harm:
        case "cut":
            path.write_bytes(path.read_bytes()[:-8000])
        case "bits":
            data = bytearray(path.read_bytes())
            data[4096:12000] = b"\xff" * (12000 - 4096)
            path.write_bytes(data)
        case "foreign":
            path.unlink()
            with closing(sqlite3.connect(path)) as other:
                other.execute("CREATE TABLE state (totals, last_entry)")
        case "empty":
            path.write_bytes(b"")
        case _:
            path.unlink()
    with pytest.raises(ReplicaError, match=r"copy\.db"):
        Snapshot.check(path)


async def test_those_who_ask_at_once_share_a_snapshot_and_the_shelf_can_be_cleared(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "replica.db", 3)):
        shelf = Shelf(tmp_path / "replica.db")
        first, second = await asyncio.gather(shelf.newest(), shelf.newest())
        assert first == second
        shelf.clear()
        third = await shelf.newest()
        assert third.path.exists()
        shelf.clear()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["replica.db"]


async def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "replica.db", 3)):
        (tmp_path / "snapshots").write_text("a file where the folder should be")
        with pytest.raises(ReplicaError, match="snapshots"):
            await Shelf(tmp_path / "replica.db").newest()


async def test_a_snapshot_for_others_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semel.node.snapshot.ROOM_LEFT_BYTES", 2**60)
    with closing(filled(tmp_path / "replica.db", 3)):
        with pytest.raises(ReplicaError, match="no room for a snapshot"):
            await Shelf(tmp_path / "replica.db").newest()
        assert list((tmp_path / "snapshots").iterdir()) == []
