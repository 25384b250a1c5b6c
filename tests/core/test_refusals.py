"""Every refusal says what was wrong, what to do, and whether a retry is safe; its code is that of an error."""

import json

import pytest

from semel.core.call import Status
from semel.core.message import Refusal
from semel.core.refusals import bad_ticket, busy, draining, key_reused, key_stale, no_leader, not_begun, said, undecided
from semel.errors import (
    BadTicket,
    Busy,
    Draining,
    KeyReused,
    KeyStale,
    NoLeader,
    SemelError,
    Undecided,
    UnknownTool,
    by_code,
)

from .values import N1, a_call, a_record

STALE = key_stale(a_record(a_call(), status=Status.OK))

REFUSALS = [
    (
        key_reused(a_call()),
        KeyReused,
        "the idempotency key 'k1' already names a call with another tool or other arguments: "
        "send charge with a key of its own. Nothing was run",
    ),
    (
        key_reused(a_call(round=2, answers={})),
        KeyReused,
        "round 2 of the call 'k1' was begun with other answers, or other arguments, and has one outcome: send what it "
        "was begun with to hear it. Nothing was run",
    ),
    (
        bad_ticket(a_call(round=2, answers={}), "no round 1 of it is known"),
        BadTicket,
        "round 2 of the call 'k1' cannot begin: no round 1 of it is known. Send the call without a requestState, under "
        "its key, to hear how it stands. Nothing was run",
    ),
    (
        STALE,
        KeyStale,
        "the call 'k1' ended (ok) so long ago that its result is forgotten; it is never run again under this key. "
        "Nothing was run",
    ),
    (
        busy(N1, 4096),
        Busy,
        "n1 holds 4096 unanswered calls, as many as it may: try again in a moment. "
        "Nothing was run; retrying with the same key is safe",
    ),
    (
        not_begun(N1, 30.0),
        Busy,
        "n1 had no room to begin the call for 30 s: try again later. "
        "Nothing was run; retrying with the same key is safe",
    ),
    (
        draining(N1),
        Draining,
        "n1 is going down and takes no more calls: ask another node. "
        "Nothing was run; retrying with the same key is safe",
    ),
    (
        no_leader(0.5),
        NoLeader,
        "no leader was found for 0.5 s: see `semel status`, and whether the log can be reached. "
        "Nothing was run; retrying with the same key is safe",
    ),
    (
        undecided(30.0),
        Undecided,
        "the call was passed on, and nothing was heard of it for 30 s: it may have run or may yet run. "
        "Retrying with the same key is safe and tells; a new key is not",
    ),
]


@pytest.mark.parametrize(("refusal", "kind", "text"), REFUSALS, ids=lambda it: getattr(it, "__name__", ""))
def test_a_refusal_says_what_to_do(refusal: Refusal, kind: type[SemelError], text: str) -> None:
    assert refusal == Refusal(kind.code, text)


@pytest.mark.parametrize(("refusal", "kind", "text"), REFUSALS, ids=lambda it: getattr(it, "__name__", ""))
def test_a_refusal_arrives_as_its_error(refusal: Refusal, kind: type[SemelError], text: str) -> None:
    error = by_code(refusal.code, refusal.message)
    assert type(error) is kind
    assert str(error) == text


@pytest.mark.parametrize(("refusal", "kind", "text"), REFUSALS, ids=lambda it: getattr(it, "__name__", ""))
def test_a_refusal_says_that_a_retry_is_safe_when_it_is(refusal: Refusal, kind: type[SemelError], text: str) -> None:
    assert ("the same key is safe" in refusal.message) == kind.retry_safe


def test_a_code_that_nobody_knows_is_an_error_all_the_same() -> None:
    assert type(by_code("of_the_future", "text")) is SemelError
    assert type(by_code("error", "text")) is SemelError
    assert type(by_code("unknown_tool", "text")) is UnknownTool


def test_what_the_core_says_itself_is_a_failed_tools_result() -> None:
    assert json.loads(bytes(said('lost: "x"'))) == {
        "content": [{"type": "text", "text": 'lost: "x"'}],
        "isError": True,
    }
