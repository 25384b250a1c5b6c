"""Entries and messages come back from bytes as they went in; what is not one is said to be damaged or newer."""

import json
import sys
from typing import Any

import msgspec
import pytest

from semel.core.call import CallId, Effect, Status, encode_payload
from semel.core.codec import decode_entry, decode_message, encode
from semel.core.entry import Entry, Forgot, Restored
from semel.core.limits import NESTING_MAX
from semel.core.message import Forward, Hello, Message, Refusal, Refuse
from semel.errors import LogDamaged, LogNewer

from .values import N1, N2, a_call, doubted, elected, founded, intent, outcome, raw, read, reconciled, resigned

ENTRIES: list[Entry] = [
    founded(),
    elected(N1, 1),
    resigned(N1, 1),
    intent(N1, 1),
    intent(N1, 2, a_call("k2", arguments={"é": [1.5, None]}), effect=Effect.REPEATABLE, attempt=2, lane="ann"),
    intent(N1, 1, a_call(round=3, answers={"inputResponses": {"q": {"action": "accept"}}, "requestState": "s"})),
    *(outcome(N1, 3, status=status) for status in Status if status.final),
    reconciled(N2, 3),
    read(N2),
    doubted(3),
    Forgot(at_ms=-1, step_ms=2, result_retention_ms=3, key_retention_ms=4),
    Restored(at_ms=5),
]

MESSAGES: list[Message] = [
    Hello("test", N1),
    Forward(a_call(), 3),
    Forward(msgspec.structs.replace(a_call(round=2, answers={}), meta=raw({"traceparent": "00-1"})), 4),
    Refuse(CallId("ann", "k1"), 3, Refusal("busy", "later")),
]


def test_every_kind_of_entry_and_message_is_tried() -> None:
    assert {type(entry) for entry in ENTRIES} == set(Entry.__args__)
    assert {type(message) for message in MESSAGES} == set(Message.__args__)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__.lower())
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert decode_entry(7, encode(entry)) == entry


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__.lower())
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode_message(encode(message)) == message
    assert decode_message(encode(message).decode()) == message


def test_an_outcome_of_before_there_were_hooks_is_read_as_it_was_meant() -> None:
    fields = json.loads(encode(outcome(N1, 3)))
    assert fields.pop("reconciled") is False
    assert decode_entry(7, json.dumps(fields).encode()) == outcome(N1, 3)


def test_an_intent_of_before_there_were_rounds_is_a_first_round() -> None:
    fields = json.loads(encode(intent(N1, 1)))
    assert "answers" not in fields["call"]
    fields["call"]["id"] = ["ann", "k1"]
    assert decode_entry(7, json.dumps(fields).encode()) == intent(N1, 1)


def test_an_entry_is_one_json_object_with_its_type_and_version() -> None:
    assert json.loads(encode(doubted(3))) == {
        "type": "doubted",
        "v": 1,
        "intent": 3,
        "reason": "n1 was lost",
        "at_ms": 3000,
    }


def test_the_most_deeply_nested_payload_is_read_wherever_python_is_already_deep() -> None:
    payload: dict[str, Any] = {}
    for _ in range(NESTING_MAX - 1):
        payload = {"a": payload}
    entry = msgspec.structs.replace(outcome(N1, 3), result=msgspec.Raw(encode_payload(payload)))

    def read_below(frames: int) -> Entry:
        return read_below(frames - 1) if frames else decode_entry(4, encode(entry))

    assert read_below(sys.getrecursionlimit() // 2) == entry


def test_a_payload_is_embedded_as_it_came() -> None:
    payload = b'{ "z" : 1.50,\t"a" : 12345678901234567890, "e" : "\\u00e9" }'
    entry = msgspec.structs.replace(outcome(N1, 3), result=msgspec.Raw(payload))
    encoded = encode(entry)
    assert payload in encoded
    decoded = decode_entry(4, encoded)
    assert decoded == entry
    assert bytes(decoded.result) == payload


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"v": 2, "type": "merged", "at_ms": 1}', id="a new kind"),
        pytest.param(b'{"v": 2, "type": "doubted", "intent": 3, "reason": "r", "at_ms": 1}', id="a kind as now"),
        pytest.param(b'{"v": 2, "type": "doubted", "intent": [], "why": {}}', id="a kind with other fields"),
        pytest.param(b'{"v": 2}', id="without a kind"),
    ],
)
def test_a_newer_version_is_said_to_be_newer(data: bytes) -> None:
    with pytest.raises(LogNewer) as caught:
        decode_entry(7, data)
    assert str(caught.value) == (
        "the entry at position 7 has format 2, and this semel reads up to 1: "
        "upgrade semel on this node; nothing was skipped and nothing is lost"
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe\x00", id="not text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"v": 1, "type": "doubted", "intent": 3, "reason": "r"', id="cut off"),
        pytest.param(b'{"v": 1, "type": "doubted", "intent": 3, "reason": "r", "at_ms": 1}}', id="too long"),
        pytest.param(b'{"v": 1, "type": "merged"}', id="an unknown kind"),
        pytest.param(b'{"v": 0, "type": "doubted", "intent": 3, "reason": "r", "at_ms": 1}', id="version 0"),
        pytest.param(b'{"v": "2", "type": "doubted"}', id="a version that is no number"),
        pytest.param(b'{"v": 1, "type": "doubted", "intent": 3, "at_ms": 1}', id="a field is missing"),
        pytest.param(b'{"v": 1, "type": "doubted", "intent": "3", "reason": "r", "at_ms": 1}', id="a wrong type"),
        pytest.param(
            b'{"v": 1, "type": "doubted", "intent": 3, "reason": "r", "at_ms": 1, "x": 1}', id="an unknown field"
        ),
        pytest.param(b'{"v": 1, "type": "doubted", "intent": 3, "reason": "\xff", "at_ms": 1}', id="damaged text"),
    ],
)
def test_what_is_no_entry_is_damage_and_never_skipped(data: bytes) -> None:
    with pytest.raises(LogDamaged, match=r"^the entry at position 7 cannot be read \(.*\): restore the log"):
        decode_entry(7, data)


def test_an_unknown_field_inside_is_damage_as_well() -> None:
    data = json.loads(encode(intent(N1, 1)))
    data["call"]["deadline"] = 5
    with pytest.raises(LogDamaged):
        decode_entry(7, json.dumps(data).encode())


@pytest.mark.parametrize("entry", [outcome(N1, 3), read(N1)], ids=["outcome", "read"])
def test_an_outcome_that_is_none_is_damage(entry: Entry) -> None:
    data = json.loads(encode(entry)) | {"status": "running"}
    with pytest.raises(LogDamaged):
        decode_entry(7, json.dumps(data).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b'{"type": "hi"}', b'{"type": "refuse", "number": 1}', "{"])
def test_what_is_no_message_is_a_value_error(data: bytes | str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's own error is one, and its text is not ours
        decode_message(data)
