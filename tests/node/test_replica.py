"""The replica holds what the ledger keeps, survives a restart, and says clearly when it cannot be used."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from semel.core.call import Call, CallId, Effect, NodeId, Record, Status
from semel.core.entry import Elected, Forgot, Founded, Intent, Outcome
from semel.core.ledger import DictArchive, Ledger, Totals
from semel.errors import ReplicaError
from semel.node import replica as replica_module
from semel.node.replica import Replica

N1 = NodeId("n1", "a")


def call(key: str, tool: str = "charge") -> Call:
    arguments = msgspec.Raw(b'{"amount": 5}')
    return Call(id=CallId("shop", key), tool=tool, arguments=arguments, digest="d" + key, request="n1.a/1")


def intent(key: str, *, at_ms: int = 1000, effect: Effect = Effect.ONCE) -> Intent:
    return Intent(call=call(key), effect=effect, timeout_s=2.5, lane="x", term=1, attempt=1, executor=N1, at_ms=at_ms)


def outcome(position: int, status: Status = Status.OK, *, reconciled: bool = False) -> Outcome:
    result = msgspec.Raw(b'{"content": []}')
    return Outcome(
        intent=position,
        status=status,
        result=result,
        executor=N1,
        duration_ms=1.5,
        at_ms=1010,
        reconciled=reconciled,
    )


HISTORY = [
    Founded(cluster="semel", id="c1"),
    Elected(term=1, node=N1, url="http://127.0.0.1:1", at_ms=1000),
    intent("k1"),
    intent("k2", at_ms=2000),
    outcome(3),
    outcome(3, Status.ERROR),
    intent("k3", at_ms=3000),
    Forgot(at_ms=9000, step_ms=1000, result_retention_ms=500, key_retention_ms=5000),
    intent("k4", at_ms=4000),
    outcome(9, reconciled=True),
]


def fold(ledger: Ledger) -> Ledger:
    for position, entry in enumerate(HISTORY[ledger.position :], ledger.position + 1):
        ledger.apply(position, entry)
    return ledger


def comparable(record: Record | None) -> bytes:
    return msgspec.json.encode(record)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replica.db"


def test_a_replica_and_a_dict_hold_the_same_after_the_same_entries(path: Path) -> None:
    replica, archive = Replica(path), DictArchive()
    on_disk, in_memory = fold(Ledger(replica)), fold(Ledger(archive))
    assert on_disk.totals == in_memory.totals
    for key in ("k1", "k2", "k3", "k4"):
        name = CallId("shop", key)
        assert comparable(replica.find(name)) == comparable(archive.find(name))
    assert sorted(map(comparable, replica.open_records())) == sorted(map(comparable, archive.open_records()))
    replica.close()


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_wherever_it_commits_it_finds_what_it_keeps_and_its_file_has_what_was_committed(path: Path, every: int) -> None:
    replica, archive = Replica(path), DictArchive()
    on_disk, in_memory = Ledger(replica), Ledger(archive)
    committed: bytes | None = None
    for position, entry in enumerate(HISTORY, 1):
        for call in [CallId("shop", f"k{number}") for number in range(10)]:
            assert comparable(replica.find(call)) == comparable(archive.find(call))
        on_disk.apply(position, entry)
        in_memory.apply(position, entry)
        if position % every == 0:
            replica.commit(on_disk.totals, f"digest {position}")
            committed = msgspec.json.encode(on_disk.totals)
        with closing(Replica(path)) as reader:
            assert (committed and msgspec.json.decode(committed, type=Totals)) == reader.totals()
            if position % every == 0:
                open_now = sorted(map(comparable, reader.open_records()))
                assert open_now == sorted(map(comparable, archive.open_records()))
    replica.close()


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 16, 17, 64, 65, 300])
def test_calls_that_are_looked_up_together_are_found_as_one_by_one_and_new_ones_without_a_query(
    path: Path, number: int
) -> None:
    replica = Replica(path)
    ledger = fold(Ledger(replica))
    replica.commit(ledger.totals, "e")
    ledger.apply(len(HISTORY) + 1, intent("k5"))  # in memory alone
    known = [CallId("shop", f"k{each}") for each in range(2, 6)]
    others = [CallId("another", "k4"), CallId("shop", "k2", 2), CallId("shop", "k2 "), CallId("shop", "%")]
    others += [CallId("shop", f"new {each}") for each in range(number)]
    replica.look_up(iter([*others[:number], *known, *others[number:], *known]))
    queries: list[str] = []
    replica._connection.set_trace_callback(queries.append)
    assert [replica.find(call) for call in others] == [None] * len(others)
    assert queries == []
    replica._connection.set_trace_callback(None)
    assert [found.id for call in known if (found := replica.find(call))] == known
    replica.close()


def test_a_call_that_was_looked_up_in_vain_is_found_once_it_is_kept_or_comes_with_a_snapshot(path: Path) -> None:
    replica, other = Replica(path), Replica(path.with_name("other.db"))
    replica.look_up([CallId("shop", f"k{each}") for each in range(5)])
    there = fold(Ledger(other))
    other.commit(there.totals, "e")
    other.close()
    ledger = Ledger(replica)
    for position, entry in enumerate(HISTORY[:3], 1):
        ledger.apply(position, entry)
    assert replica.find(CallId("shop", "k1")) is not None
    replica.install(path.with_name("other.db"))
    assert replica.find(CallId("shop", "k4")) is not None
    replica.close()


def test_it_says_when_it_keeps_so_much_that_it_must_be_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "UNWRITTEN_MAX", 2)
    replica = Replica(path)
    ledger = Ledger(replica)
    full = []
    for position, entry in enumerate(HISTORY, 1):
        ledger.apply(position, entry)
        full.append(replica.full)
    assert full.index(True) > 1
    replica.commit(ledger.totals, "e")
    assert not replica.full
    monkeypatch.setattr(replica_module, "UNWRITTEN_BYTES_MAX", 1)
    ledger.apply(len(HISTORY) + 1, intent("another"))
    assert replica.full
    replica.close()


def test_a_restart_goes_on_from_the_last_commit_and_folds_the_rest_again(path: Path) -> None:
    replica = Replica(path)
    ledger = Ledger(replica)
    for position, entry in enumerate(HISTORY, 1):
        ledger.apply(position, entry)
        if position == 4:
            replica.commit(ledger.totals, "e")
    replica.close()

    again = Replica(path)
    totals = again.totals()
    assert totals is not None
    assert totals.position == 4
    restarted = Ledger(again, totals)
    assert {record.id.key for record in restarted.open.values()} == {"k1", "k2"}
    fold(restarted)
    fresh = fold(Ledger(DictArchive()))
    assert restarted.totals == fresh.totals
    assert restarted.open.keys() == fresh.open.keys()
    again.close()


def round_of(number: int, *, at_ms: int = 1000) -> Intent:
    """Return the intent of a round of the call `k9`, each of which brings what the one before asked for."""
    first = call("k9")
    answers = None if number == 1 else msgspec.Raw(b'{"requestState": "s"}')
    made = msgspec.structs.replace(first, id=CallId("shop", "k9", number), answers=answers)
    traced = msgspec.structs.replace(made, meta=msgspec.Raw(b'{"traceparent": "00-1"}'))
    return msgspec.structs.replace(intent("k9", at_ms=at_ms), call=traced)


def asks(position: int) -> Outcome:
    result = msgspec.Raw(b'{"requestState": "s"}')
    return msgspec.structs.replace(outcome(position, Status.INPUT_REQUIRED), result=result)


def forgot(at_ms: int) -> Forgot:
    return Forgot(at_ms=at_ms, step_ms=10**6, result_retention_ms=500, key_retention_ms=1000)


def test_the_rounds_of_a_call_are_kept_and_forgotten_as_in_a_dict(path: Path) -> None:
    replica, archive = Replica(path), DictArchive()
    on_disk, in_memory = Ledger(replica), Ledger(archive)
    entries = [
        *HISTORY[:2],
        round_of(1),
        asks(3),
        forgot(1400),
        round_of(2),
        forgot(9000),  # while the second round runs nothing of the call is forgotten
        asks(6),
        round_of(3),
        outcome(9),
        intent("k1"),
        outcome(11),
        forgot(9500),
        forgot(9501),  # the results of all rounds
        forgot(10_000),
        forgot(10_001),  # all rounds
    ]
    sizes = []
    for position, entry in enumerate(entries, 1):
        on_disk.apply(position, entry)
        in_memory.apply(position, entry)
        for number in range(1, 5):
            name = CallId("shop", "k9", number)
            assert comparable(replica.find(name)) == comparable(archive.find(name))
        sizes.append((len(archive.records), sum(record.forgotten for record in archive.records.values())))
    assert sizes[-5:] == [(4, 0), (4, 0), (4, 4), (4, 4), (0, 0)]
    assert on_disk.totals == in_memory.totals
    assert (on_disk.totals.calls, on_disk.totals.rounds) == (2, 4)
    replica.close()


def test_a_round_is_begun_again_after_a_restart_with_what_it_brought(path: Path) -> None:
    replica = Replica(path)
    ledger = Ledger(replica)
    for position, entry in enumerate([*HISTORY[:2], round_of(1), asks(3), round_of(2)], 1):
        ledger.apply(position, entry)
    replica.commit(ledger.totals, "e")
    replica.close()
    again = Replica(path)
    (record,) = again.open_records()
    assert record.call == round_of(2).call
    again.close()


def test_a_new_replica_has_no_totals(path: Path) -> None:
    replica = Replica(path)
    assert (replica.totals(), replica.last_entry()) == (None, "")
    replica.commit(Totals(position=7, term=2), "e")
    assert (replica.totals(), replica.last_entry()) == (Totals(position=7, term=2), "e")
    replica.close()


def test_a_late_outcome_is_kept_as_evidence(path: Path) -> None:
    replica = Replica(path)
    ledger = fold(Ledger(replica))
    replica.commit(ledger.totals, "e")
    replica.close()
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT position, intent, outcome FROM evidence").fetchall()
    connection.close()
    assert rows == [(6, 3, "error")]


def test_a_file_that_is_no_replica_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"these are somebody's notes, and no database" * 100)
    before = path.read_bytes()
    with pytest.raises(ReplicaError, match="cannot be used"):
        Replica(path)
    assert path.read_bytes() == before


def test_somebody_elses_database_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ReplicaError, match="not a replica"):
        Replica(path)
    assert path.read_bytes() == before


def test_a_replica_of_a_newer_semel_is_refused(path: Path) -> None:
    Replica(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(ReplicaError, match=r"format 99.*upgrade"):
        Replica(path)


def test_a_replica_of_an_older_semel_is_refused_and_left_alone(path: Path) -> None:
    Replica(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ReplicaError, match=r"format 1, older than 2.*may be moved away"):
        Replica(path)
    assert path.read_bytes() == before


def test_a_full_disk_is_a_clear_error_and_loses_no_commit(path: Path) -> None:
    replica = Replica(path)
    ledger = Ledger(replica)
    for position, entry in enumerate(HISTORY[:3], 1):
        ledger.apply(position, entry)
    replica.commit(ledger.totals, "e")
    (pages,) = replica._connection.execute("PRAGMA page_count").fetchone()
    replica._connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for number in range(4, 2000):
            ledger.apply(number, intent(f"key-{number}"))
        replica.commit(ledger.totals, "e")

    with pytest.raises(ReplicaError, match=r"full.*Nothing is lost"):
        fill()
    replica.close()
    again = Replica(path)
    totals = again.totals()
    assert totals is not None
    assert totals.position == 3
    again.close()
