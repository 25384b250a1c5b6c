"""What a node decides, effect by effect, where a scene would not show the whole value or the corner is too small."""

import msgspec
import pytest

from semel.core.call import Effect, Spec, Status
from semel.core.entry import Doubted, Elected, Outcome, Read, Resigned
from semel.core.ledger import DictArchive
from semel.core.message import (
    Abandoned,
    Answer,
    Append,
    Appended,
    Committed,
    Confirm,
    Confirmed,
    Deny,
    Drained,
    Ended,
    Forward,
    Hello,
    Installed,
    Lost,
    Output,
    PeerFound,
    PeerLost,
    Pulsed,
    Received,
    Reconcile,
    Reconciled,
    Refusal,
    Refuse,
    Run,
    Send,
    Started,
    Submitted,
    Ticked,
)

from .values import (
    N1,
    N2,
    N3,
    READ,
    REPEATABLE,
    SPEC,
    a_call,
    a_decider,
    a_leader,
    a_record,
    at,
    doubted,
    elected,
    fold,
    founded,
    intent,
    kinds,
    outcome,
    raw,
    read,
    reconciled,
    resigned,
)

BUSY = Refusal("busy", "later")


# Whole values.


def test_a_call_on_the_leader_is_appended_then_run_then_appended_then_answered() -> None:
    leader, call = a_leader(), a_call(arguments={"amount": 5})
    begun = intent(N1, 1, call, at_ms=1000)
    assert leader.step(Submitted(7, call, SPEC), at(1)) == [Append(2, (begun,))]
    run = Run(run=1, call=call, timeout_s=60.0, term=1, attempt=1, intent=3)
    assert leader.step(Appended(2, committed=True), at(1.1)) == [run]
    done = Outcome(intent=3, status=Status.OK, result=raw("done"), executor=N1, duration_ms=5.0, at_ms=2000)
    assert leader.step(Ended(1, Status.OK, raw("done"), 5.0), at(2)) == [Append(3, (done,))]
    record = a_record(call, position=4, clock_ms=0, status=Status.OK, result=raw("done"), duration_ms=5.0)
    assert leader.step(Appended(3, committed=True), at(2.1)) == [Answer(7, record, replayed=False)]
    assert leader.step(Submitted(8, a_call(arguments={"amount": 5}, request="r2"), SPEC), at(3)) == [
        Answer(8, record, replayed=True)
    ]


def test_an_empty_log_is_founded_and_its_first_leader_elected_in_one_append() -> None:
    election = Elected(term=1, node=N1, url="http://n1", at_ms=1000)
    assert a_decider().step(Started(0), at(1)) == [Append(0, (founded(), election))]


def test_a_call_on_a_follower_is_forwarded_to_the_leader_again_and_again() -> None:
    follower, call = a_decider(N2, founded(), elected(N1, 1)), a_call()
    follower.step(Started(2), at(0))
    assert follower.step(Submitted(1, call, SPEC), at(0)) == [Send(N1, Forward(call, 1))]
    assert follower.step(Ticked(), at(0.4)) == []
    assert follower.step(Ticked(), at(0.5)) == [Send(N1, Forward(call, 2))]
    assert follower.step(Received(N1, Refuse(call.id, 1, BUSY)), at(0.6)) == []
    assert follower.step(Received(N3, Refuse(call.id, 2, BUSY)), at(0.6)) == []
    assert follower.step(Received(N1, Refuse(call.id, 2, BUSY)), at(0.6)) == [Deny(1, BUSY)]
    assert follower.step(Received(N1, Refuse(call.id, 2, BUSY)), at(0.6)) == []


def test_a_read_is_run_without_an_intent_and_written_with_its_outcome() -> None:
    follower, call = a_decider(N2, founded(), elected(N1, 1)), a_call(tool="balance")
    follower.step(Started(2), at(0))
    run = Run(run=1, call=call, timeout_s=60.0, term=1, attempt=1, intent=None)
    assert follower.step(Submitted(1, call, READ), at(0)) == [run]
    entry = Read(
        call=call,
        timeout_s=60.0,
        status=Status.OK,
        result=raw(7),
        term=1,
        executor=N2,
        duration_ms=5.0,
        at_ms=1000,
    )
    assert follower.step(Ended(1, Status.OK, raw(7), 5.0), at(1)) == [Append(2, (entry,))]


def test_the_leaders_word_on_how_a_tool_is_run_counts() -> None:
    leader = a_leader()
    spec = REPEATABLE
    (append,) = leader.step(Received(N2, Forward(a_call(), 1), spec), at(1))
    assert append == Append(2, (intent(N1, 1, effect=Effect.REPEATABLE, at_ms=1000),))


def test_a_hook_is_asked_before_doubt_is_said_and_what_it_knows_is_the_outcome() -> None:
    call = a_call(arguments={"amount": 5})
    node = a_decider(N2, founded(), elected(N1, 1), intent(N1, 1, call))
    node.step(Started(3), at(0))
    node.step(PeerLost(N1), at(0))
    assert node.step(Appended(3, committed=True), at(0)) == []
    assert node.step(Ticked(), at(0.3)) == [Reconcile(intent=3, call=call, timeout_s=60.0, term=1)]
    assert node.step(Ticked(), at(0.8)) == []
    assert node.step(Reconciled(3, raw("done")), at(1)) == [Append(4, (reconciled(N2, 3, at_ms=1000),))]
    node.step(Appended(4, committed=True), at(1))
    settled = a_record(call, position=5, status=Status.OK, result=raw("done"), duration_ms=0.0, reconciled=True)
    assert node.ledger.find(call.id) == settled


def test_a_hook_that_does_not_know_leads_to_doubt_which_says_why() -> None:
    leader = a_leader()
    leader.step(Submitted(1, a_call(), SPEC), at(0))
    leader.step(Appended(2, committed=True), at(0))
    assert leader.step(Lost(1, "it crashed"), at(0)) == [Reconcile(3, a_call(), 60.0, 1)]
    (append,) = leader.step(Reconciled(3, None, "its hook is silent"), at(1))
    assert append == Append(3, (Doubted(intent=3, reason="it crashed; its hook is silent", at_ms=1000),))


# Corners.


def test_a_node_that_goes_down_waits_for_the_hooks_that_it_has_asked() -> None:
    leader = a_leader()
    leader.step(Submitted(1, a_call(), SPEC), at(0))
    leader.step(Abandoned(1), at(0))
    leader.step(Appended(2, committed=True), at(0))
    leader.step(Lost(1, "it crashed"), at(0))
    assert leader.step(Drained(), at(0)) == [Append(3, (Resigned(term=1, node=N1, at_ms=0),))]
    leader.step(Appended(3, committed=True), at(0))
    assert not leader.idle
    assert leader.step(Reconciled(3, raw("done")), at(1)) == [Append(4, (reconciled(N1, 3, at_ms=1000),))]
    leader.step(Appended(4, committed=True), at(1))
    assert leader.idle


def test_a_leader_that_goes_down_asks_no_hook_of_another_any_more() -> None:
    node = a_decider(N2, founded(), elected(N1, 1), intent(N1, 1), batch_entries_max=1)
    node.step(Started(3), at(0))
    node.step(PeerLost(N1), at(0))
    node.step(Appended(3, committed=True), at(0))
    node.step(Drained(), at(0))
    assert node.step(Ticked(), at(0.5)) == []


def test_what_was_not_asked_cannot_be_answered() -> None:
    with pytest.raises(KeyError):
        a_leader().step(Reconciled(3, None), at(0))


def test_a_forward_to_a_node_that_does_not_lead_is_let_go() -> None:
    follower = a_decider(N2, founded(), elected(N1, 1))
    follower.step(Started(2), at(0))
    assert follower.step(Received(N3, Forward(a_call(), 1), SPEC), at(0)) == []


def test_a_forward_of_a_call_that_is_known_needs_no_answer() -> None:
    leader = a_leader()
    leader.step(Received(N2, Forward(a_call(), 1), SPEC), at(1))
    leader.step(Appended(2, committed=True), at(1))
    assert leader.step(Received(N2, Forward(a_call(), 2), SPEC), at(1)) == []
    leader.step(Ended(1, Status.OK, raw("done"), 5.0), at(1))
    leader.step(Appended(3, committed=True), at(1))
    assert leader.step(Received(N2, Forward(a_call(), 3), SPEC), at(1)) == []


def test_a_forward_with_other_arguments_is_refused() -> None:
    leader = a_leader()
    leader.step(Submitted(1, a_call(), SPEC), at(1))
    (send,) = leader.step(Received(N2, Forward(a_call(arguments={"amount": 1}), 4), SPEC), at(1))
    assert isinstance(send, Send)
    assert isinstance(send.message, Refuse)
    assert (send.to, send.message.number, send.message.refusal.code) == (N2, 4, "key_reused")


def test_a_refusal_of_a_call_that_has_begun_after_all_is_ignored() -> None:
    follower, call = a_decider(N2, founded(), elected(N1, 1)), a_call()
    follower.step(Started(2), at(0))
    follower.step(Submitted(1, call, SPEC), at(0))
    follower.step(Committed(3, (intent(N1, 1, call),)), at(0))
    assert follower.step(Received(N1, Refuse(call.id, 1, BUSY)), at(0)) == []


def test_a_client_that_has_gone_is_not_answered_and_its_call_goes_on() -> None:
    leader = a_leader()
    leader.step(Submitted(1, a_call(), SPEC), at(1))
    leader.step(Abandoned(1), at(1))
    leader.step(Abandoned(1), at(1))
    assert kinds(leader.step(Appended(2, committed=True), at(1))) == ["Run"]
    leader.step(Ended(1, Status.OK, raw("done"), 5.0), at(1))
    assert leader.step(Appended(3, committed=True), at(1)) == []


def test_entries_that_were_read_already_are_skipped() -> None:
    leader = a_leader()
    leader.step(Submitted(1, a_call(), SPEC), at(1))
    begun = intent(N1, 1, at_ms=1000)
    assert kinds(leader.step(Committed(3, (begun,)), at(1))) == ["Run"]
    assert leader.step(Committed(2, (elected(N1, 1), begun)), at(1)) == []
    assert leader.step(Appended(2, committed=True), at(1)) == []
    assert leader.step(Committed(3, (begun,)), at(1)) == []
    assert leader.ledger.position == 3


def test_an_append_that_landed_and_was_called_a_conflict_begins_nothing_twice() -> None:
    leader = a_leader()
    leader.step(Submitted(1, a_call(), SPEC), at(1))
    assert kinds(leader.step(Committed(3, (intent(N1, 1, at_ms=1000),)), at(1))) == ["Run"]
    assert leader.step(Appended(2, committed=False), at(1)) == []
    assert leader.step(Ticked(), at(1)) == []


def test_what_was_admitted_twice_begins_once() -> None:
    """A call expires here while its intent is on its way, is asked for again, and the intent loses its place."""
    leader = a_leader(hold_s=1.0)
    leader.step(Submitted(1, a_call(), SPEC), at(1))
    assert kinds(leader.step(Ticked(), at(2))) == ["Deny"]
    assert leader.step(Submitted(2, a_call(request="r2"), SPEC), at(2)) == []
    assert leader.step(Appended(2, committed=False), at(2)) == []
    (append,) = leader.step(Committed(3, (outcome(N2, 99),)), at(2))
    assert append == Append(3, (intent(N1, 1, a_call(request="r2"), at_ms=2000),))


def test_attempts_wait_for_room_like_every_other_run() -> None:
    calls = [a_call(f"k{number}") for number in range(3)]
    begun = [intent(N2, 1, call, effect=Effect.REPEATABLE) for call in calls]
    node = a_decider(N1, founded(), elected(N2, 1), *begun, resigned(N2, 1), concurrency_max=2)
    node.step(Started(6), at(0))
    node.step(PeerLost(N2), at(0))
    (append,) = node.step(Appended(6, committed=True), at(0))
    again = [intent(N1, 2, call, effect=Effect.REPEATABLE, attempt=2, at_ms=0) for call in calls]
    assert append == Append(7, tuple(again[:2]))
    assert kinds(node.step(Appended(7, committed=True), at(0))) == ["Run", "Run"]
    done = msgspec.structs.replace(outcome(N1, 8), at_ms=0)
    assert node.step(Ended(1, Status.OK, raw("done"), 5.0), at(0)) == [Append(9, (done, again[2]))]


def test_attempts_that_are_too_large_for_one_batch_go_in_two() -> None:
    calls = [a_call(f"k{number}", arguments={"text": "x" * 60}) for number in range(2)]
    begun = [intent(N2, 1, call, effect=Effect.REPEATABLE) for call in calls]
    node = a_decider(N1, founded(), elected(N2, 1), *begun, resigned(N2, 1), batch_bytes_max=100)
    node.step(Started(5), at(0))
    node.step(PeerLost(N2), at(0))
    first, second = (intent(N1, 2, call, effect=Effect.REPEATABLE, attempt=2, at_ms=0) for call in calls)
    assert node.step(Appended(5, committed=True), at(0)) == [Append(6, (first,))]
    run, append = node.step(Appended(6, committed=True), at(0))
    assert (kinds([run]), append) == (["Run"], Append(7, (second,)))


def test_a_replay_tells_nobody_what_was_so_for_a_while() -> None:
    node = a_decider(N3)
    node.step(Submitted(1, a_call(request="r2"), SPEC), at(0))
    node.step(Started(5), at(0))
    assert node.step(Committed(1, (founded(), elected(N1, 1), intent(N1, 1), doubted(3))), at(0)) == []
    (answer,) = node.step(Committed(5, (outcome(N1, 3),)), at(0))
    assert isinstance(answer, Answer)
    assert (answer.record.status, answer.replayed) == (Status.OK, True)


def test_attempts_and_new_calls_share_the_room() -> None:
    begun = intent(N2, 1, effect=Effect.REPEATABLE)
    node = a_decider(N1, founded(), elected(N2, 1), begun, resigned(N2, 1), concurrency_max=2)
    node.step(Started(4), at(0))
    node.step(PeerLost(N2), at(0))
    for ticket in (1, 2):
        node.step(Submitted(ticket, a_call(f"new{ticket}"), SPEC), at(0))
    (append,) = node.step(Appended(4, committed=True), at(0))
    again = intent(N1, 2, effect=Effect.REPEATABLE, attempt=2, at_ms=0)
    assert append == Append(5, (again, intent(N1, 2, a_call("new1"), at_ms=0)))


def test_a_deposed_leader_refuses_nobody() -> None:
    node = a_leader(concurrency_max=1, hold_s=2.0, patience_s=60.0)
    node.step(Submitted(1, a_call("running"), SPEC), at(0))
    node.step(Appended(2, committed=True), at(0))
    node.step(Submitted(2, a_call(), SPEC), at(0))
    assert node.step(Received(N3, Forward(a_call(), 1), SPEC), at(0)) == []
    assert node.step(Committed(4, (elected(N2, 2),)), at(0)) == [Send(N2, Forward(a_call(), 1))]
    assert kinds(node.step(Ticked(), at(3))) == ["Deny"]


def test_an_outcome_that_another_wrote_of_the_same_intent_leaves_ones_own_to_be_written() -> None:
    leader = a_leader()
    leader.step(Submitted(1, a_call(), SPEC), at(0))
    leader.step(Appended(2, committed=True), at(0))
    own = outcome(N1, 3, result="own", at_ms=0)
    assert leader.step(Ended(1, Status.OK, raw("own"), 5.0), at(0)) == [Append(3, (own,))]
    assert leader.step(Appended(3, committed=False), at(0)) == []
    answer, append = leader.step(Committed(4, (outcome(N2, 3, result="other"),)), at(0))
    assert isinstance(answer, Answer)
    assert answer.record.result == raw("other")
    assert append == Append(4, (own,))


def test_an_echo_of_an_older_forward_is_let_go() -> None:
    leader = a_leader()
    assert kinds(leader.step(Received(N2, Forward(a_call("k2"), 2), SPEC), at(0))) == ["Append"]
    assert leader.step(Received(N2, Forward(a_call("k2"), 2), SPEC), at(0)) == []
    assert leader.step(Received(N2, Forward(a_call("k1"), 1), SPEC), at(0)) == []
    assert kinds(leader.step(Appended(2, committed=True), at(0))) == ["Run"]


def test_doubt_is_not_said_by_a_node_that_still_reads() -> None:
    node = a_decider(N2, founded(), elected(N1, 1), intent(N1, 1), doubted(3))
    assert node.step(Submitted(1, a_call(request="r2"), SPEC), at(0)) == [Confirm(1)]
    assert node.step(Confirmed(1, 4), at(0)) == []
    (answer,) = node.step(Started(4), at(0))
    assert isinstance(answer, Answer)
    assert (answer.record.status, answer.replayed) == (Status.IN_DOUBT, True)


def test_doubt_is_not_said_to_a_client_that_has_gone() -> None:
    node = a_decider(N2, founded(), elected(N1, 1), intent(N1, 1))
    node.step(Started(3), at(0))
    node.step(Submitted(1, a_call(request="r2"), SPEC), at(0))
    assert node.step(Committed(4, (doubted(3),)), at(0)) == [Confirm(1)]
    assert node.step(Abandoned(1), at(0)) == []
    assert node.step(Confirmed(1, 4), at(0)) == []
    assert node.idle


def test_a_call_for_which_nobody_waits_any_more_is_let_go_when_it_is_in_doubt() -> None:
    node = a_decider(N2, founded(), elected(N1, 1), intent(N1, 1))
    node.step(Started(3), at(0))
    node.step(Submitted(1, a_call(request="r2"), SPEC), at(0))
    node.step(Abandoned(1), at(0))
    assert node.step(Committed(4, (doubted(3),)), at(0)) == []


def test_whether_a_node_seems_alive_can_be_asked() -> None:
    leader = a_leader()
    leader.step(Pulsed({"n2": (N2, "1")}), at(0))
    assert leader.alive(N2, at(1))
    leader.step(PeerLost(N2), at(1))
    assert not leader.alive(N2, at(1))
    leader.step(PeerFound(N2), at(1))
    assert leader.alive(N2, at(1))


def test_an_election_in_flight_is_not_proposed_twice() -> None:
    node = a_decider(N1, founded(), elected(N2, 1))
    node.step(Started(2), at(0))
    assert kinds(node.step(PeerLost(N2), at(0))) == ["Append"]
    assert node.step(Ticked(), at(5)) == []
    assert node.step(Drained(), at(5)) == []


def test_a_node_that_is_elected_while_it_drains_resigns() -> None:
    node = a_decider(N1, founded(), elected(N2, 1))
    node.step(Started(2), at(0))
    node.step(PeerLost(N2), at(0))
    node.step(Drained(), at(0))
    assert not node.idle
    assert node.step(Appended(2, committed=True), at(1)) == [Append(3, (Resigned(term=2, node=N1, at_ms=1000),))]
    node.step(Appended(3, committed=True), at(1))
    assert node.idle


def test_a_node_that_drains_writes_what_it_knows_before_it_resigns() -> None:
    leader = a_leader(batch_entries_max=1)
    for ticket in (1, 2):
        leader.step(Submitted(ticket, a_call(f"k{ticket}"), SPEC), at(0))
        leader.step(Appended(ticket + 1, committed=True), at(0))
    (first,) = leader.step(Ended(1, Status.OK, raw("done"), 5.0), at(0))
    assert first == Append(4, (outcome(N1, 3, at_ms=0),))
    assert leader.step(Ended(2, Status.OK, raw("done"), 5.0), at(0)) == []
    assert leader.step(Drained(), at(0)) == []
    _, second = leader.step(Appended(4, committed=True), at(0))
    assert second == Append(5, (outcome(N1, 4, at_ms=0),))
    _, third = leader.step(Appended(5, committed=True), at(0))
    assert third == Append(6, (Resigned(term=1, node=N1, at_ms=0),))


@pytest.mark.parametrize("given", ["no input", 7, None])
def test_an_input_of_no_known_kind_is_our_own_mistake(given: object) -> None:
    with pytest.raises(AssertionError):
        a_decider().step(given, at(0))  # type: ignore[arg-type]


def test_a_greeting_is_nothing_for_the_core() -> None:
    with pytest.raises(AssertionError):
        a_leader().step(Received(N2, Hello("test", N2)), at(0))  # type: ignore[arg-type]


def test_a_log_that_is_not_read_in_order_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="position 4 after 2"):
        a_leader().step(Committed(4, (resigned(N1, 1),)), at(0))


def test_an_append_is_decided_once() -> None:
    with pytest.raises(AssertionError):
        a_leader().step(Appended(2, committed=True), at(0))


@pytest.mark.parametrize("limit", [{"in_flight_max": 2}, {"unwritten_bytes_max": 2 * len(raw("seen"))}])
def test_a_node_takes_no_new_calls_when_it_holds_too_much_that_the_log_has_not_taken(limit: dict[str, int]) -> None:
    leader = a_leader(**limit)
    proposed: list[Output] = []
    for number in (1, 2):
        given = Submitted(number, a_call(f"made-{number}", tool="look"), READ, keyed=False)
        assert kinds(leader.step(given, at(1)))[-1:] == ["Run"]
        proposed += leader.step(Ended(number, Status.OK, raw("seen"), 5.0), at(1))
    (append,) = proposed
    assert isinstance(append, Append)
    assert kinds(leader.step(Ticked(), at(4))) == ["Answer", "Answer"]
    assert leader.step(Ticked(), at(5)) == []  # each is told once
    (denied,) = leader.step(Submitted(3, a_call("made-3", tool="look"), READ, keyed=False), at(6))
    assert isinstance(denied, Deny)
    assert "holds 2 outcomes that the log has not taken yet" in denied.refusal.message
    leader.step(Committed(3, append.entries), at(6))
    again = Submitted(4, a_call("made-3", tool="look"), READ, keyed=False)
    assert kinds(leader.step(again, at(6))) == ["Run"]


# Rounds.

ASKING = raw({"requestState": "s1"})
SECOND = a_call(round=2, answers={"requestState": "s1"})
FORGED = a_call(round=2, answers={"requestState": "s2"})
ASKED = outcome(N1, 3, status=Status.INPUT_REQUIRED, result={"requestState": "s1"})


def test_a_round_that_can_never_begin_is_refused_at_once_by_whoever_knows() -> None:
    node = a_decider(N2, founded(), elected(N1, 1), intent(N1, 1), ASKED)
    node.step(Started(4), at(0))
    (deny,) = node.step(Submitted(1, FORGED, SPEC), at(0))
    assert isinstance(deny, Deny)
    assert (deny.ticket, deny.refusal.code) == (1, "bad_ticket")
    assert node.idle


def test_the_leader_refuses_a_forward_of_a_round_that_can_never_begin() -> None:
    leader = a_decider(N1, founded(), elected(N1, 1), intent(N1, 1), ASKED)
    leader.step(Started(4), at(0))
    (send,) = leader.step(Received(N2, Forward(FORGED, 1), SPEC), at(0))
    assert isinstance(send, Send)
    assert isinstance(send.message, Refuse)
    assert (send.to, send.message.number, send.message.refusal.code) == (N2, 1, "bad_ticket")


def test_a_leader_keeps_a_forward_until_it_has_read_what_it_goes_on_from() -> None:
    leader = a_decider(N1, founded(), elected(N1, 1), intent(N1, 1))
    leader.step(Started(3), at(0))
    assert leader.step(Received(N2, Forward(SECOND, 1), SPEC), at(0)) == []
    assert leader.step(Committed(4, (ASKED,)), at(0)) == [Append(4, (intent(N1, 1, SECOND, at_ms=0),))]


def test_nothing_is_said_of_a_round_by_a_node_that_still_reads() -> None:
    node = a_decider(N2, founded(), elected(N1, 1))
    assert node.step(Submitted(1, SECOND, SPEC), at(0)) == [Confirm(1)]
    node.step(Started(4), at(0))
    assert node.step(Confirmed(1, 2), at(0)) == []
    assert node.step(Committed(3, (intent(N1, 1), ASKED)), at(0)) == [Send(N1, Forward(SECOND, 1))]


def test_a_round_is_refused_when_the_log_ends_and_does_not_know_the_one_before() -> None:
    node = a_decider(N2, founded(), elected(N1, 1))
    node.step(Started(2), at(0))
    assert node.step(Submitted(1, SECOND, SPEC), at(0)) == [Confirm(1)]
    assert node.step(Submitted(2, SECOND, SPEC), at(0)) == [Confirm(2)]
    assert node.step(Confirmed(1, 3), at(0)) == []
    assert kinds(node.step(Committed(3, (intent(N1, 1),)), at(0))) == ["Deny"]
    assert node.step(Committed(4, (ASKED,)), at(0)) == [Send(N1, Forward(SECOND, 1))]


def test_a_round_whose_round_before_is_not_found_in_time_is_held_no_longer_than_others() -> None:
    node = a_decider(N2, founded(), elected(N1, 1), hold_s=1.0)
    node.step(Started(2), at(0))
    node.step(Submitted(1, SECOND, SPEC), at(0))
    assert node.step(Ticked(), at(0.5)) == []
    (deny,) = node.step(Ticked(), at(1.0))
    assert isinstance(deny, Deny)
    assert (deny.refusal.code, node.idle) == ("no_leader", True)


def test_a_snapshot_of_a_peer_brings_what_a_round_goes_on_from() -> None:
    node = a_decider(N2, founded(), elected(N1, 1))
    node.step(Started(2), at(0))
    node.step(Submitted(1, SECOND, SPEC), at(0))
    other = fold(founded(), elected(N1, 1), intent(N1, 1), ASKED, archive=(archive := DictArchive()))
    for record in archive.records.values():
        node.ledger._archive.keep(record)
    assert node.step(Installed(other.totals), at(0)) == [Send(N1, Forward(SECOND, 1))]


@pytest.mark.parametrize("spec", [SPEC, REPEATABLE], ids=["once", "repeatable"])
def test_a_tool_that_asks_for_more_ends_its_round_and_what_is_said_later_is_evidence(spec: Spec) -> None:
    leader = a_leader()
    leader.step(Submitted(1, a_call(), spec), at(0))
    leader.step(Appended(2, committed=True), at(0))
    leader.step(Ended(1, Status.INPUT_REQUIRED, ASKING, 5.0), at(0))
    (answer,) = leader.step(Appended(3, committed=True), at(0))
    assert isinstance(answer, Answer)
    assert (answer.record.status, answer.record.result, leader.ledger.open) == (Status.INPUT_REQUIRED, ASKING, {})
    late = outcome(N2, 3)
    leader.step(Committed(5, (late,)), at(0))
    archive = leader.ledger._archive
    assert isinstance(archive, DictArchive)
    assert archive.evidence == {5: late}
    assert leader.ledger.find(a_call().id) == answer.record


def test_the_outcome_of_a_lost_round_may_be_known_to_its_hook_which_is_told_the_answers() -> None:
    node = a_decider(N2, founded(), elected(N1, 1), intent(N1, 1), ASKED, intent(N1, 1, SECOND))
    node.step(Started(5), at(0))
    node.step(PeerLost(N1), at(0))
    node.step(Appended(5, committed=True), at(0))
    assert node.step(Ticked(), at(0.3)) == [Reconcile(intent=5, call=SECOND, timeout_s=60.0, term=1)]
    assert node.step(Reconciled(5, raw("done")), at(1)) == [Append(6, (reconciled(N2, 5, at_ms=1000),))]


def test_a_later_round_of_a_read_is_not_answered_without_the_log() -> None:
    asking = msgspec.structs.replace(
        read(N2, a_call(tool="balance"), result={"requestState": "s1"}), status=Status.INPUT_REQUIRED
    )
    node = a_decider(N2, founded(), elected(N1, 1), asking)
    node.step(Started(3), at(0))
    call = a_call(tool="balance", round=2, answers={"requestState": "s1"})
    assert kinds(node.step(Submitted(1, call, READ, keyed=False), at(0))) == ["Run"]
    node.step(Ended(1, Status.OK, raw(7), 5.0), at(0))
    assert node.step(Ticked(), at(100)) == []
