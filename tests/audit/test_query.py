"""The audit finds calls by tool, caller, key, node, outcome and time, in order, in the promised shape."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from semel.audit.query import PAGE_ROWS, Filter, history, news
from semel.core.call import Call, CallId, Effect, NodeId, Status
from semel.core.entry import Doubted, Elected, Entry, Founded, Intent, Outcome
from semel.core.ledger import Ledger
from semel.node.replica import Replica

N1, N2 = NodeId("n1", "a"), NodeId("n2", "b")


def intent(caller: str, key: str, tool: str, *, at_ms: int, node: NodeId = N1, term: int = 1) -> Intent:
    arguments = msgspec.Raw(b'{"b":2,"a":1}')
    called = Call(id=CallId(caller, key), tool=tool, arguments=arguments, digest="d", request="r", client="cli/1")
    return Intent(
        call=called, effect=Effect.ONCE, timeout_s=60.0, lane=None, term=term, attempt=1, executor=node, at_ms=at_ms
    )


def outcome(intent: int, value: str, status: Status = Status.OK, node: NodeId = N1) -> Outcome:
    result = msgspec.Raw(f'{{"content":[],"structuredContent":{{"result":{value}}}}}'.encode())
    return Outcome(intent=intent, status=status, result=result, executor=node, duration_ms=1.5, at_ms=0)


HISTORY: list[Entry] = [
    Founded(cluster="semel", id="c1"),
    Elected(term=1, node=N1, url="http://127.0.0.1:1", at_ms=1),
    intent("alice", "k1", "add", at_ms=1000),
    intent("bob", "k1", "pay", at_ms=2000),
    outcome(4, '"paid"'),
    outcome(3, "3"),
    intent("bob", "k2", "pay", at_ms=3000),
    Elected(term=2, node=N2, url="http://127.0.0.1:2", at_ms=3100),
    Doubted(intent=7, reason="n1 was lost", at_ms=3200),
    intent("alice", "k2", "add", at_ms=4000, node=N2, term=2),
    outcome(10, '"no"', Status.ERROR, N2),
    intent("alice", "k3", "add", at_ms=5000, node=N2, term=2),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    replica = Replica(tmp_path / "replica.db")
    ledger = Ledger(replica)
    for position, entry in enumerate(HISTORY, 1):
        ledger.apply(position, entry)
    replica.commit(ledger.totals, "e")
    replica.close()
    return tmp_path / "replica.db"


def ids(path: Path, **wanted: Any) -> list[int]:
    return [row["execution_id"] for row in history(path, Filter(**wanted))]


def test_a_call_is_shown_in_the_promised_shape(path: Path) -> None:
    (row,) = history(path, Filter(caller="alice", key="k1"))
    promised = {
        "execution_id": 1,
        "position": 6,
        "key": "k1",
        "caller": "alice",
        "tool": "add",
        "arguments": {"a": 1, "b": 2},
        "outcome": "ok",
        "result": 3,
        "timestamp_ms": 1000,
        "duration_ms": 1.5,
        "executor": "n1",
        "term": 1,
        "attempt": 1,
        "effect": "once",
    }
    assert row.items() >= promised.items()
    assert row["answer"] == {"content": [], "structuredContent": {"result": 3}}


def test_calls_come_in_the_order_in_which_they_began(path: Path) -> None:
    assert ids(path) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"tool": "add"}, [1, 4, 5]),
        ({"caller": "bob"}, [2, 3]),
        ({"key": "k1"}, [1, 2]),
        ({"node": "n2"}, [4, 5]),
        ({"outcome": "in_doubt"}, [3]),
        ({"outcome": "running"}, [5]),
        ({"outcome": "error"}, [4]),
        ({"outcome": "ok"}, [1, 2]),
        ({"since_ms": 3000}, [3, 4, 5]),
        ({"limit": 2}, [4, 5]),
        ({"limit": 2, "tool": "pay"}, [2, 3]),
        ({"limit": 0}, []),
        ({"tool": "add", "caller": "alice", "outcome": "ok"}, [1]),
        ({"tool": "no such"}, []),
    ],
)
def test_filters_narrow_the_history(path: Path, wanted: dict[str, Any], found: list[int]) -> None:
    assert ids(path, **wanted) == found


def test_news_are_the_calls_that_ended_or_came_into_doubt_past_a_position(path: Path) -> None:
    rows, after = news(path, Filter(), 5)
    assert [(row["execution_id"], row["outcome"]) for row in rows] == [(1, "ok"), (3, "in_doubt"), (4, "error")]
    assert after == 12
    assert news(path, Filter(), after) == ([], after)


def test_news_that_nobody_wants_are_passed_over_once(path: Path) -> None:
    assert news(path, Filter(tool="no such"), 5) == ([], 12)


def test_news_come_in_pages(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "replica.db")
    ledger = Ledger(replica)
    calls = range(PAGE_ROWS + 2)
    entries: list[Entry] = [*HISTORY[:2], *(intent("c", f"k{number}", "add", at_ms=number) for number in calls)]
    entries += [outcome(number + 3, "1") for number in calls]
    for position, entry in enumerate(entries, 1):
        ledger.apply(position, entry)
    replica.commit(ledger.totals, "e")
    first, after = news(tmp_path / "replica.db", Filter(), 0)
    rest, end = news(tmp_path / "replica.db", Filter(), after)
    assert [row["execution_id"] for row in first + rest] == [number + 1 for number in calls]
    assert end == len(entries)
    replica.close()


def test_a_history_up_to_a_position_and_the_news_past_it_show_each_outcome_once(path: Path) -> None:
    told = [row["execution_id"] for row in history(path, Filter(), upto=9)]
    assert told == [1, 2, 3]
    assert [row["execution_id"] for row in news(path, Filter(), 9)[0]] == [4]


def test_a_history_longer_than_a_page_is_whole(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "replica.db")
    ledger = Ledger(replica)
    calls = PAGE_ROWS * 2 + 3
    entries = [*HISTORY[:2], *(intent("c", f"k{number}", "add", at_ms=number) for number in range(calls))]
    for position, entry in enumerate(entries, 1):
        ledger.apply(position, entry)
    replica.commit(ledger.totals, "e")
    assert ids(tmp_path / "replica.db") == list(range(1, calls + 1))
    replica.close()
