"""The audit finds calls by tool, caller, key, node, outcome and time, in order, in the promised shape."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from semel.audit.query import PAGE_ROWS, Filter, _where, history, news
from semel.core.call import Call, CallId, Effect, NodeId, Status
from semel.core.entry import Doubted, Elected, Entry, Forgot, Founded, Intent, Outcome
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


def test_a_call_of_one_round_says_so_and_what_the_request_said_along(path: Path) -> None:
    (row,) = history(path, Filter(caller="alice", key="k1"))
    assert (row["rounds"], row["earlier_rounds"], row["meta"]) == (1, [], {})


# Calls in rounds.

META = {"traceparent": "00-1"}
ASKING = {"inputRequests": {"q": {"method": "elicitation/create"}}, "requestState": "s1"}
ANSWERS = {"inputResponses": {"q": {"action": "accept"}}, "requestState": "s1"}


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def round_of(number: int, *, at_ms: int) -> Intent:
    """Return the intent of a round of the call `k1` of carol."""
    begun = intent("carol", "k1", "pay", at_ms=at_ms)
    given = ANSWERS if number > 1 else None
    called = msgspec.structs.replace(
        begun.call,
        id=CallId("carol", "k1", number),
        digest="d" if given is None else f"d.a{number}",
        meta=raw(META),
        answers=None if given is None else raw(given),
    )
    return msgspec.structs.replace(begun, call=called)


def asks(intent: int) -> Outcome:
    return msgspec.structs.replace(outcome(intent, "0", Status.INPUT_REQUIRED), result=raw(ASKING))


IN_ROUNDS: list[Entry] = [
    *HISTORY[:2],
    round_of(1, at_ms=1000),
    asks(3),
    intent("bob", "k1", "add", at_ms=2000),
    outcome(5, "1"),
    round_of(2, at_ms=3000),
    asks(7),
    intent("bob", "k2", "add", at_ms=4000),
    round_of(3, at_ms=5000),
    outcome(10, '"paid"'),
]


def folded(path: Path, upto: int) -> Path:
    """Return a replica that has read the log up to a position."""
    replica = Replica(path)
    ledger = Ledger(replica)
    for position, entry in enumerate(IN_ROUNDS[:upto], 1):
        ledger.apply(position, entry)
    replica.commit(ledger.totals, "e")
    replica.close()
    return path


def shown(rows: Iterable[dict[str, Any]]) -> list[tuple[int, str, str, int]]:
    return [(row["execution_id"], row["caller"], row["outcome"], row["rounds"]) for row in rows]


def test_a_call_in_rounds_is_one_object_that_of_its_last_round_with_the_earlier_ones_in_it(tmp_path: Path) -> None:
    (row,) = history(folded(tmp_path / "r.db", 11), Filter(caller="carol"))
    last = {
        "execution_id": 5,
        "position": 11,
        "key": "k1",
        "outcome": "ok",
        "result": "paid",
        "timestamp_ms": 5000,
        "arguments": {"a": 1, "b": 2},
        "arguments_digest": "d",
        "meta": META,
        "rounds": 3,
    }
    assert row.items() >= last.items()
    first = {
        "round": 1,
        "execution_id": 1,
        "position": 4,
        "outcome": "input_required",
        "asked": ASKING,
        "answered": ANSWERS,
        "timestamp_ms": 1000,
        "duration_ms": 1.5,
        "executor": "n1",
        "term": 1,
        "attempt": 1,
        "client": "cli/1",
        "intents": [3],
        "incarnation": "a",
        "meta": META,
    }
    second = first | {"round": 2, "execution_id": 3, "position": 8, "timestamp_ms": 3000, "intents": [7]}
    assert row["earlier_rounds"] == [first, second]


@pytest.mark.parametrize(
    ("upto", "calls"),
    [
        (3, [(1, "carol", "running", 1)]),
        (4, [(1, "carol", "input_required", 1)]),
        (7, [(2, "bob", "ok", 1), (3, "carol", "running", 2)]),
        (8, [(2, "bob", "ok", 1), (3, "carol", "input_required", 2)]),
        (11, [(2, "bob", "ok", 1), (4, "bob", "running", 1), (5, "carol", "ok", 3)]),
    ],
)
def test_a_call_in_rounds_stands_as_its_last_round_does(
    tmp_path: Path, upto: int, calls: list[tuple[int, str, str, int]]
) -> None:
    assert shown(history(folded(tmp_path / "r.db", upto), Filter())) == calls


def test_a_call_between_two_rounds_shows_what_was_asked_and_has_no_result(tmp_path: Path) -> None:
    (row,) = history(folded(tmp_path / "r.db", 8), Filter(outcome="input_required"))
    assert (row["caller"], row["result"], row["answer"]) == ("carol", None, ASKING)
    assert [(one["asked"], one["answered"]) for one in row["earlier_rounds"]] == [(ASKING, ANSWERS)]


def test_filters_and_limits_see_calls_and_not_rounds(tmp_path: Path) -> None:
    path = folded(tmp_path / "r.db", 11)
    assert ids(path, outcome="input_required") == []
    assert ids(path, key="k1") == [2, 5]
    assert ids(path, tool="pay", limit=2) == [5]
    assert ids(path, limit=2) == [4, 5]


def test_news_of_a_call_in_rounds_are_of_its_last_round_alone(tmp_path: Path) -> None:
    path = folded(tmp_path / "r.db", 8)
    assert shown(news(path, Filter(), 0)[0]) == [(2, "bob", "ok", 1), (3, "carol", "input_required", 2)]
    rows, after = news(folded(tmp_path / "later.db", 11), Filter(), 8)
    assert (shown(rows), after) == ([(5, "carol", "ok", 3)], 11)


def test_a_round_that_begins_while_the_history_is_read_takes_nothing_out_of_it(tmp_path: Path) -> None:
    path = folded(tmp_path / "r.db", 4)
    rows = history(path, Filter())
    replica = Replica(path)
    totals = replica.totals()
    assert totals is not None
    ledger = Ledger(replica, totals)

    def go_on() -> None:
        for position, entry in enumerate(IN_ROUNDS[4:], 5):
            ledger.apply(position, entry)
        replica.commit(ledger.totals, "e")

    with closing(replica), patch("semel.audit.query._where", side_effect=_where) as asked:
        asked.side_effect = lambda *given: (go_on(), _where(*given))[1]
        assert shown(rows) == [(1, "carol", "input_required", 1)]


def test_the_rounds_of_a_forgotten_call_are_shown_without_what_was_said(tmp_path: Path) -> None:
    path = folded(tmp_path / "r.db", 11)
    replica = Replica(path)
    totals = replica.totals()
    assert totals is not None
    ledger = Ledger(replica, totals)
    ledger.apply(12, Forgot(at_ms=10**6, step_ms=10**6, result_retention_ms=0, key_retention_ms=10**9))
    replica.commit(ledger.totals, "e")
    replica.close()
    (row,) = history(path, Filter(caller="carol"))
    assert (row["forgotten"], row["rounds"], row["meta"]) == (True, 3, {})
    said = [(one["asked"], one["answered"], one["meta"]) for one in row["earlier_rounds"]]
    assert said == [(None, None, {}), (None, None, {})]


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
