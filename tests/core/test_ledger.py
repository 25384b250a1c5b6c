"""The laws of the fold, entry by entry."""

import random
from typing import Any

import msgspec
import pytest

from semel.core.call import Call, CallId, Effect, Status, digest_of
from semel.core.entry import Entry, Forgot
from semel.core.ledger import DictArchive, Leader, Ledger, Totals

from .values import (
    N1,
    N2,
    N3,
    a_call,
    a_record,
    doubted,
    elected,
    fold,
    founded,
    intent,
    outcome,
    raw,
    read,
    resigned,
)

LED = (founded(), elected(N1, 1))
"""A cluster that n1 leads, at position 2."""

FAR_MS = 10**9
"""A time at which everything that may be forgotten is."""


def forgot(at_ms: int, *, step_ms: int = 10**12, results_ms: int = 100, keys_ms: int = 1000) -> Forgot:
    return Forgot(at_ms=at_ms, step_ms=step_ms, result_retention_ms=results_ms, key_retention_ms=keys_ms)


def held(archive: DictArchive) -> list[tuple[CallId, Status]]:
    return [(call, record.status) for call, record in archive.records.items()]


# Reigns.


def test_an_empty_ledger_knows_nothing() -> None:
    ledger = Ledger(DictArchive())
    assert ledger.totals == Totals()
    assert (ledger.position, ledger.leader, ledger.open) == (0, None, {})
    assert ledger.find(CallId("ann", "k1")) is None


def test_positions_are_dense() -> None:
    with pytest.raises(AssertionError, match="position 2 after 0"):
        Ledger(DictArchive()).apply(2, founded())


def test_a_log_is_founded_at_its_first_position_only() -> None:
    assert fold(founded()).totals == Totals(position=1, cluster="test", cluster_id="0")
    assert fold(elected(N1, 1), founded()).totals.cluster == ""


def test_the_leader_is_the_one_that_was_elected_last() -> None:
    assert fold(*LED).totals == Totals(
        position=2, clock_ms=1, cluster="test", cluster_id="0", term=1, leader=Leader(N1, "http://n1", 2)
    )
    ledger = fold(*LED, elected(N2, 2))
    assert (ledger.totals.term, ledger.leader) == (2, Leader(N2, "http://n2", 3))


@pytest.mark.parametrize("term", [0, 1])
def test_an_election_for_a_term_that_was_is_void(term: int) -> None:
    ledger = fold(*LED, elected(N2, term))
    assert (ledger.totals.term, ledger.leader) == (1, Leader(N1, "http://n1", 2))


def test_a_leader_that_resigns_leaves_nobody_to_lead() -> None:
    ledger = fold(*LED, resigned(N1, 1))
    assert (ledger.totals.term, ledger.leader) == (1, None)


@pytest.mark.parametrize("entry", [resigned(N2, 1), resigned(N1, 0), resigned(N1, 2)])
def test_only_the_leader_resigns_and_only_from_its_term(entry: Entry) -> None:
    assert fold(*LED, entry).leader == Leader(N1, "http://n1", 2)


def test_a_second_resignation_changes_nothing() -> None:
    assert fold(*LED, resigned(N1, 1), resigned(N1, 1)).leader is None


# Intents.


def test_an_intent_opens_a_call() -> None:
    call = a_call(arguments={"amount": 5})
    ledger = Ledger(archive := DictArchive())
    assert ledger.apply(1, founded()) is None
    assert ledger.apply(2, elected(N1, 1)) is None
    record = ledger.apply(3, intent(N1, 1, call, lane="ann"))
    assert record == a_record(call, lane="ann")
    assert ledger.open == {call.id: record}
    assert archive.records == {call.id: record}
    assert ledger.find(call.id) == record
    assert (ledger.totals.calls, ledger.totals.executions_by_node) == (1, {"n1": 1})


@pytest.mark.parametrize(
    "before",
    [
        pytest.param((founded(), resigned(N1, 1)), id="nobody has been elected"),
        pytest.param((*LED, resigned(N1, 1)), id="it has resigned"),
        pytest.param((*LED, elected(N2, 2)), id="another leads"),
        pytest.param((*LED, elected(N1, 2)), id="it leads a later term"),
    ],
)
def test_an_intent_past_its_reign_is_void(before: tuple[Entry, ...]) -> None:
    ledger = Ledger(archive := DictArchive())
    for position, entry in enumerate(before, 1):
        ledger.apply(position, entry)
    assert ledger.apply(len(before) + 1, intent(N1, 1)) is None
    assert (ledger.open, archive.records, ledger.totals.calls) == ({}, {}, 0)


def test_another_life_of_the_leader_has_no_reign() -> None:
    reborn = msgspec.structs.replace(N1, incarnation="2")
    assert fold(*LED, intent(reborn, 1)).open == {}


@pytest.mark.parametrize("executor", [N1, N2])
def test_a_second_intent_of_a_once_call_is_void_whoever_wrote_it(executor: object) -> None:
    ledger = fold(*LED, intent(N1, 1)) if executor == N1 else fold(*LED, intent(N1, 1), elected(N2, 2))
    before = ledger.open[CallId("ann", "k1")]
    second = intent(N1, 1, attempt=2) if executor == N1 else intent(N2, 2, attempt=2)
    assert ledger.apply(ledger.position + 1, second) is None
    assert ledger.open == {before.id: before}
    assert ledger.totals.executions_by_node == {"n1": 1}


def test_a_call_declared_once_stays_so_whatever_a_later_intent_says() -> None:
    ledger = fold(*LED, intent(N1, 1), elected(N2, 2))
    assert ledger.apply(5, intent(N2, 2, effect=Effect.REPEATABLE)) is None


def test_a_repeatable_call_has_another_attempt() -> None:
    call = a_call()
    ledger = fold(*LED, intent(N1, 1, call, effect=Effect.REPEATABLE), elected(N2, 2))
    later = intent(N2, 2, a_call(request="r2"), effect=Effect.REPEATABLE, attempt=7, at_ms=9000)
    record = ledger.apply(5, later)
    expected = a_record(call, effect=Effect.REPEATABLE, intents=(3, 5), position=5, term=2, attempt=2, executor=N2)
    assert record == expected
    assert ledger.open == {call.id: expected}
    assert (ledger.totals.calls, ledger.totals.executions_by_node) == (1, {"n1": 1, "n2": 1})


@pytest.mark.parametrize("before", [outcome(N1, 3), doubted(3)], ids=["settled", "in doubt"])
def test_a_repeatable_call_that_does_not_run_has_no_other_attempt(before: Entry) -> None:
    ledger = fold(*LED, intent(N1, 1, effect=Effect.REPEATABLE), before)
    assert ledger.apply(5, intent(N1, 1, effect=Effect.REPEATABLE)) is None


# Outcomes.


def test_an_outcome_settles_its_call() -> None:
    call = a_call()
    ledger = fold(*LED, intent(N1, 1, call), archive=(archive := DictArchive()))
    record = ledger.apply(4, outcome(N1, 3, status=Status.ERROR))
    expected = a_record(call, position=4, status=Status.ERROR, result=raw("done"), duration_ms=5.0)
    assert record == expected
    assert (ledger.open, archive.records, archive.evidence) == ({}, {call.id: expected}, {})
    assert ledger.find(call.id) == expected


def test_the_first_outcome_stands_and_a_later_one_is_evidence() -> None:
    late = outcome(N2, 5, result="second")
    archive = DictArchive()
    entries = (*LED, intent(N1, 1, effect=Effect.REPEATABLE), elected(N2, 2), intent(N2, 2, effect=Effect.REPEATABLE))
    ledger = fold(*entries, archive=archive)
    first = ledger.apply(6, outcome(N1, 3, result="first"))
    assert ledger.apply(7, late) is None
    assert first is not None
    assert (first.result, first.executor, first.attempt) == (raw("first"), N1, 2)
    assert archive.records == {first.id: first}
    assert archive.evidence == {7: late}


@pytest.mark.parametrize("of", [1, 2, 4, 99])
def test_an_outcome_of_no_valid_intent_is_evidence(of: int) -> None:
    archive = DictArchive()
    ledger = fold(*LED, intent(N1, 1), intent(N1, 1), archive=archive)
    assert ledger.apply(5, outcome(N1, of)) is None
    assert archive.evidence == {5: outcome(N1, of)}
    assert ledger.open.keys() == {CallId("ann", "k1")}


def test_an_outcome_needs_no_reign() -> None:
    ledger = fold(*LED, intent(N1, 1), elected(N2, 2), resigned(N2, 2))
    record = ledger.apply(6, outcome(N1, 3))
    assert record is not None
    assert record.status is Status.OK


@pytest.mark.parametrize("status", [Status.RUNNING, Status.IN_DOUBT])
def test_an_outcome_is_one(status: Status) -> None:
    with pytest.raises(ValueError, match="is no outcome"):
        outcome(N1, 3, status=status)


# Doubt.


def test_doubt_is_a_state_that_an_outcome_settles() -> None:
    call = a_call()
    ledger = fold(*LED, intent(N1, 1, call))
    expected = a_record(call, position=4, status=Status.IN_DOUBT, reason="n1 was lost")
    assert ledger.apply(4, doubted(3)) == expected
    assert ledger.open == {call.id: expected}
    settled = ledger.apply(5, outcome(N1, 3))
    assert settled == msgspec.structs.replace(
        expected, position=5, status=Status.OK, result=raw("done"), duration_ms=5.0
    )
    assert ledger.open == {}


@pytest.mark.parametrize(
    ("entries", "of"),
    [
        pytest.param((), 2, id="of no intent"),
        pytest.param((doubted(3),), 3, id="a second time"),
        pytest.param((outcome(N1, 3),), 3, id="after the outcome"),
    ],
)
def test_doubt_changes_only_a_call_that_runs(entries: tuple[Entry, ...], of: int) -> None:
    ledger = fold(*LED, intent(N1, 1), *entries)
    before = ledger.find(CallId("ann", "k1"))
    assert ledger.apply(ledger.position + 1, doubted(of)) is None
    assert ledger.find(CallId("ann", "k1")) == before


def test_doubt_of_an_earlier_attempt_changes_nothing() -> None:
    ledger = fold(*LED, intent(N1, 1, effect=Effect.REPEATABLE), intent(N1, 1, effect=Effect.REPEATABLE, attempt=2))
    assert ledger.apply(5, doubted(3)) is None
    record = ledger.apply(6, doubted(4))
    assert record is not None
    assert record.status is Status.IN_DOUBT


# Reads.


def test_a_read_is_call_and_outcome_in_one() -> None:
    call = a_call(tool="balance")
    archive = DictArchive()
    ledger = fold(*LED, archive=archive)
    record = ledger.apply(3, read(N2, call))
    expected = a_record(
        call,
        effect=Effect.READ,
        intents=(),
        executor=N2,
        status=Status.OK,
        timestamp_ms=1995,
        result=raw("seen"),
        duration_ms=5.9,
    )
    assert record == expected
    assert (ledger.open, archive.records) == ({}, {call.id: expected})
    assert (ledger.totals.calls, ledger.totals.executions_by_node) == (1, {"n2": 1})


@pytest.mark.parametrize(
    "before", [(read(N1),), (intent(N1, 1),), (intent(N1, 1), outcome(N1, 3))], ids=["a read", "a run", "an outcome"]
)
def test_a_read_of_a_known_call_changes_nothing(before: tuple[Entry, ...]) -> None:
    ledger = fold(*LED, *before)
    totals = ledger.totals
    assert ledger.apply(ledger.position + 1, read(N2, result="other")) is None
    assert ledger.totals == msgspec.structs.replace(totals, position=totals.position + 1)


def test_an_intent_under_the_key_of_a_read_is_void() -> None:
    assert fold(*LED, read(N2), intent(N1, 1)).open == {}


# Rounds.


ASKING = {"inputRequests": {"q": "sure?"}, "requestState": "s1"}


def second(**changes: Any) -> Call:
    return msgspec.structs.replace(a_call(round=2, answers={"requestState": "s1"}, request="r2"), **changes)


def asked(result: Any = ASKING, *, status: Status = Status.INPUT_REQUIRED) -> tuple[Entry, ...]:
    """Return a log in which the first round of a call has asked for more, at position 4."""
    return (*LED, intent(N1, 1), outcome(N1, 3, status=status, result=result))


def test_a_round_that_was_asked_for_begins_as_a_call_does() -> None:
    archive = DictArchive()
    ledger = fold(*asked(), archive=archive)
    first = archive.records[CallId("ann", "k1")]
    record = ledger.apply(5, intent(N1, 1, second()))
    assert record == a_record(second(), execution_id=2, intents=(5,), position=5)
    assert archive.records == {first.id: first, record.id: record}
    assert (ledger.totals.calls, ledger.totals.rounds, ledger.totals.executions_by_node) == (1, 2, {"n1": 2})
    settled = ledger.apply(6, outcome(N1, 5))
    assert settled is not None
    assert (settled.id, settled.status, settled.result) == (CallId("ann", "k1", 2), Status.OK, raw("done"))
    assert ledger.find(first.id) == first


def test_a_read_goes_in_rounds_too() -> None:
    asking = msgspec.structs.replace(read(N1, result=ASKING), status=Status.INPUT_REQUIRED)
    ledger = fold(*LED, asking)
    record = ledger.apply(4, read(N2, second(tool="balance", digest=digest_of("balance", {}, {"requestState": "s1"}))))
    assert record is not None
    assert (record.id.round, record.status, record.answers) == (2, Status.OK, raw({"requestState": "s1"}))


@pytest.mark.parametrize(
    ("before", "call"),
    [
        pytest.param(LED, second(), id="after nothing"),
        pytest.param((*LED, intent(N1, 1)), second(), id="after a round that runs"),
        pytest.param((*LED, intent(N1, 1), doubted(3)), second(), id="after a round in doubt"),
        pytest.param(asked(status=Status.OK), second(), id="after the outcome"),
        pytest.param(asked(status=Status.ERROR), second(), id="after an error"),
        pytest.param(asked(), second(id=CallId("ann", "k1", 3)), id="after a round that is not the one before"),
        pytest.param(asked(), second(id=CallId("ann", "k1", 0)), id="round 0"),
        pytest.param(asked(), second(id=CallId("bob", "k1", 2)), id="of another caller"),
        pytest.param(asked(), second(digest=digest_of("charge", {"a": 1}, {})), id="of other arguments"),
        pytest.param(asked(), second(digest=digest_of("refund", {}, {})), id="of another tool"),
        pytest.param(asked(), second(answers=raw({"requestState": "s2"})), id="with another requestState"),
        pytest.param(asked(), second(answers=raw({"inputResponses": {}})), id="without a requestState"),
        pytest.param(asked(), second(answers=None), id="without answers"),
        pytest.param(asked(), second(answers=raw("s1")), id="with answers that are no object"),
        pytest.param(asked({}), second(), id="with a requestState that was not given"),
        pytest.param(asked("s1"), second(), id="after what is no object"),
        pytest.param((*asked(), forgot(102)), second(), id="after a round that is forgotten"),
    ],
)
def test_a_round_that_nobody_asked_for_is_void(before: tuple[Entry, ...], call: Call) -> None:
    archive = DictArchive()
    ledger = fold(*before, archive=archive)
    held, totals = dict(archive.records), ledger.totals
    for entry in (intent(N1, 1, call), read(N1, call)):
        assert ledger.apply(ledger.position + 1, entry) is None
    assert archive.records == held
    assert msgspec.structs.replace(ledger.totals, position=totals.position) == totals


@pytest.mark.parametrize("answers", [{"requestState": "s1", "inputResponses": {"q": 1}}, {"requestState": "s1"}])
def test_any_answers_may_come_with_the_state_that_was_given(answers: dict[str, Any]) -> None:
    assert fold(*asked(), intent(N1, 1, a_call(round=2, answers=answers))).open


def test_a_tool_need_not_give_a_state() -> None:
    ledger = fold(*asked({"inputRequests": {}}), intent(N1, 1, a_call(round=2, answers={"inputResponses": {}})))
    assert ledger.open.keys() == {CallId("ann", "k1", 2)}


def test_a_round_has_another_attempt_though_nothing_is_looked_up_again() -> None:
    ledger = fold(*asked(), intent(N1, 1, second(), effect=Effect.REPEATABLE), elected(N2, 2))
    record = ledger.apply(7, intent(N2, 2, second(), effect=Effect.REPEATABLE, attempt=2))
    assert record is not None
    assert (record.attempt, record.answers) == (2, second().answers)
    assert (ledger.totals.calls, ledger.totals.rounds) == (1, 2)


# Forgetting.


def clocks(*entries: Entry) -> list[int]:
    """Return the log's clock after each entry."""
    ledger, clocks = Ledger(DictArchive()), []
    for position, entry in enumerate(entries, 1):
        ledger.apply(position, entry)
        clocks.append(ledger.totals.clock_ms)
    return clocks


def test_the_first_election_sets_the_logs_clock_and_no_later_one_moves_it() -> None:
    assert clocks(founded(), elected(N1, 5), elected(N2, 6), intent(N2, 6, at_ms=999)) == [0, 5, 5, 5]


def test_the_logs_clock_goes_on_by_one_step_at_most() -> None:
    assert clocks(*LED, forgot(50), forgot(200, step_ms=100), forgot(10**15, step_ms=100)) == [0, 1, 50, 150, 250]


def test_the_logs_clock_never_goes_back() -> None:
    assert clocks(*LED, forgot(50), forgot(-(10**15)), forgot(49), forgot(51)) == [0, 1, 50, 50, 50, 51]


def test_first_the_result_is_forgotten_and_then_the_key() -> None:
    call = a_call()
    archive = DictArchive()
    ledger = fold(*LED, intent(N1, 1, call), outcome(N1, 3), archive=archive)
    whole = archive.records[call.id]
    tombstone = msgspec.structs.replace(whole, arguments=raw(None), result=None, forgotten=True, meta=raw({}))

    assert ledger.apply(5, forgot(101)) is None
    assert ledger.find(call.id) == whole
    ledger.apply(6, forgot(102))
    assert ledger.find(call.id) == tombstone
    ledger.apply(7, forgot(1001))
    assert ledger.find(call.id) == tombstone
    ledger.apply(8, forgot(1002))
    assert ledger.find(call.id) is None


def test_a_call_is_remembered_from_its_end_by_the_logs_clock() -> None:
    archive = DictArchive()
    ledger = fold(*LED, intent(N1, 1, at_ms=0), forgot(500), outcome(N1, 3, at_ms=0), archive=archive)
    record = archive.records[CallId("ann", "k1")]
    assert (record.timestamp_ms, record.clock_ms) == (0, 500)
    ledger.apply(6, forgot(600))
    assert ledger.find(record.id) == record
    ledger.apply(7, forgot(601))
    assert archive.records[record.id].forgotten


def test_a_read_is_remembered_from_when_it_is_written() -> None:
    archive = DictArchive()
    fold(*LED, forgot(500), read(N1), forgot(600), archive=archive)
    (record,) = archive.records.values()
    assert (record.clock_ms, record.forgotten) == (500, False)


@pytest.mark.parametrize("entries", [(), (doubted(3),)], ids=["running", "in doubt"])
def test_a_call_without_an_outcome_is_never_forgotten(entries: tuple[Entry, ...]) -> None:
    archive = DictArchive()
    ledger = fold(*LED, intent(N1, 1), *entries, archive=archive)
    before = dict(archive.records)
    ledger.apply(ledger.position + 1, forgot(FAR_MS))
    assert archive.records == before
    assert ledger.open == before


def test_the_rounds_of_a_call_are_forgotten_together_when_the_last_is_old_enough() -> None:
    archive = DictArchive()
    ledger = fold(*asked(), forgot(60), intent(N1, 1, second()), outcome(N1, 6), archive=archive)
    other = a_call("k2")
    ledger.apply(8, intent(N1, 1, other))
    ledger.apply(9, outcome(N1, 8))
    ledger.apply(10, forgot(160))
    assert [record.forgotten for record in archive.records.values()] == [False, False, False]
    ledger.apply(11, forgot(161))
    assert {record.id.round: (record.result, record.answers) for record in archive.records.values()} == {
        1: (None, None),
        2: (None, None),
    }
    ledger.apply(12, forgot(1060))
    assert len(archive.records) == 3
    ledger.apply(13, forgot(1061))
    assert archive.records == {}


@pytest.mark.parametrize("entries", [(), (doubted(5),)], ids=["running", "in doubt"])
def test_a_round_is_remembered_as_long_as_a_later_one_has_no_outcome(entries: tuple[Entry, ...]) -> None:
    archive = DictArchive()
    ledger = fold(*asked(), intent(N1, 1, second()), *entries, archive=archive)
    before = dict(archive.records)
    ledger.apply(ledger.position + 1, forgot(FAR_MS))
    assert archive.records == before


def test_what_happened_stays_counted_when_it_is_forgotten() -> None:
    ledger = fold(*LED, read(N1), forgot(FAR_MS), intent(N1, 1))
    assert ledger.totals.calls == 2
    assert ledger.open[CallId("ann", "k1")].execution_id == 2


# Snapshots.


def history(seed: int, length: int) -> list[Entry]:
    """Return a log of any entries at all, most of which mean something where they stand."""
    chance = random.Random(seed)
    nodes = [N1, N2, N3]
    entries: list[Entry] = [founded()]
    for position in range(2, length):
        node, term = chance.choice(nodes), chance.randrange(1, 2 + position // 10)
        key, effect = f"k{chance.randrange(position)}", chance.choice(list(Effect))
        call = a_call(key) if chance.random() < 0.5 else a_call(key, round=chance.randrange(1, 4), answers={})
        choices: list[Entry] = [
            elected(node, term),
            resigned(node, term),
            *(intent(it, term, call, effect=effect, at_ms=position) for it in nodes * 2),
            *(outcome(node, chance.randrange(position), at_ms=position) for _ in range(2)),
            outcome(node, chance.randrange(position), status=Status.INPUT_REQUIRED, result={}, at_ms=position),
            read(node, a_call(key, tool="balance")),
            doubted(chance.randrange(position)),
            forgot(
                position, step_ms=chance.randrange(20), results_ms=chance.randrange(50), keys_ms=chance.randrange(150)
            ),
        ]
        entries.append(chance.choice(choices))
    return entries


def copy_of(archive: DictArchive) -> DictArchive:
    copy = DictArchive()
    copy.records, copy.evidence = dict(archive.records), dict(archive.evidence)
    return copy


@pytest.mark.parametrize("seed", range(30))
def test_a_snapshot_and_the_rest_of_the_log_are_the_whole_log(seed: int) -> None:
    entries = history(seed, 150)
    whole = fold(*entries, archive=(whole_archive := DictArchive()))
    cut = random.Random(seed).randrange(len(entries))
    before = fold(*entries[:cut], archive=(archive := DictArchive()))

    wire = msgspec.json.decode(msgspec.json.encode(before.totals), type=Totals)
    restored = Ledger(archive := copy_of(archive), wire)
    assert (restored.totals, restored.open, restored.position) == (before.totals, before.open, cut)
    for position, entry in enumerate(entries[cut:], cut + 1):
        restored.apply(position, entry)
    assert (restored.totals, restored.open) == (whole.totals, whole.open)
    assert held(archive) == held(whole_archive)
    assert (archive.records, archive.evidence) == (whole_archive.records, whole_archive.evidence)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_open_is_what_the_archive_holds_without_an_outcome(seed: int) -> None:
    ledger = fold(*history(seed, 150), archive=(archive := DictArchive()))
    assert {record.id: record for record in archive.open_records()} == ledger.open
    assert all(ledger.find(call) == record for call, record in archive.records.items())


def test_an_entry_of_no_known_kind_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        Ledger(DictArchive()).apply(1, "no entry")  # type: ignore[arg-type]
