"""A backup becomes the beginning of an empty log, once, and of nothing else."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from semel.core.codec import decode_entry, encode
from semel.core.entry import Founded, Restored
from semel.core.ledger import Totals
from semel.errors import LogTrimmed, LogUnavailable, ReplicaError, UsageError
from semel.log.memory import MemoryLog
from semel.node.place import Place, take_place
from semel.node.replica import Replica
from semel.node.restoring import restore

pytestmark = pytest.mark.anyio

TOTALS = Totals(position=41, cluster="pay", cluster_id="id", term=3)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / "backup.db"
    with closing(Replica(path)) as replica:
        replica.commit(TOTALS, "digest")
    return path


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = take_place(tmp_path / "nodes", "n1")
    yield place
    place.leave()


async def test_a_log_goes_on_where_the_backup_ends_and_the_node_has_it(backup: Path, place: Place) -> None:
    log = MemoryLog()
    assert await restore(backup, log, place) == TOTALS
    assert await log.first() == encode(Founded(cluster="pay", id="id"))
    batch = await anext(log.follow(41))
    assert isinstance(decode_entry(42, batch.entries[0]), Restored)
    with pytest.raises(LogTrimmed):
        await anext(log.follow(40))
    with closing(Replica(place.replica)) as replica:
        assert (replica.totals(), replica.last_entry()) == (TOTALS, "digest")
    assert sorted(file.name for file in place.folder.iterdir()) == ["lock", "replica.db"]


async def test_a_replica_in_use_is_a_backup_too(tmp_path: Path, place: Place) -> None:
    with closing(Replica(tmp_path / "replica.db")) as replica:
        replica.commit(TOTALS, "digest")  # still in the write-ahead file
        assert await restore(tmp_path / "replica.db", MemoryLog(), place) == TOTALS


async def test_a_try_that_was_interrupted_is_done_again(backup: Path, place: Place) -> None:
    class Interrupted(MemoryLog):
        lost = 2

        async def begin_after(self, first: bytes, after: int, entry: bytes) -> None:
            self.lost -= 1
            if self.lost == 0:  # the second time it is done, and the answer is lost
                await super().begin_after(first, after, entry)
            if self.lost >= 0:
                raise LogUnavailable("cut")

    log = Interrupted()
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            await restore(backup, log, place)
    assert await restore(backup, log, place) == TOTALS
    assert await log.tail() == 42


async def test_a_log_with_anything_in_it_is_left_alone(backup: Path, place: Place) -> None:
    log = MemoryLog()
    await log.append(0, [encode(Founded(cluster="other", id="other"))])
    with pytest.raises(UsageError, match="not empty"):
        await restore(backup, log, place)
    assert await log.tail() == 1
    assert not place.replica.exists()


async def test_a_node_with_a_replica_of_its_own_is_left_alone(backup: Path, place: Place) -> None:
    with closing(Replica(place.replica)) as replica:
        replica.commit(Totals(position=7), "other")
    with pytest.raises(UsageError, match="replica of its own"):
        await restore(backup, MemoryLog(), place)
    with closing(Replica(place.replica)) as replica:
        assert replica.totals() == Totals(position=7)


async def test_what_is_no_backup_or_holds_nothing_is_refused(tmp_path: Path, place: Place) -> None:
    (tmp_path / "text").write_text("this is no database, however long it may be" * 100)
    with pytest.raises(ReplicaError, match="text"):
        await restore(tmp_path / "text", MemoryLog(), place)
    with closing(Replica(tmp_path / "new.db")) as replica:
        replica.commit(Totals(), "")
    with pytest.raises(UsageError, match="holds nothing"):
        await restore(tmp_path / "new.db", MemoryLog(), place)
