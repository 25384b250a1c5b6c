"""What makes two requests one call, and what a key and arguments may look like."""

import hashlib
import json
import math
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785

from semel.core.call import (
    CallId,
    Effect,
    NodeId,
    Spec,
    Status,
    arguments_digest,
    check_key,
    digest_of,
    encode_arguments,
    encode_payload,
    is_plain_json,
)
from semel.core.limits import NESTING_MAX, Limits
from semel.errors import BadArguments, BadKey, TooLarge

from .values import a_call, a_record

BIG = 2**53 + 1
"""The first integer that a double cannot hold."""


def test_a_digest_is_the_sha256_of_the_canonical_form() -> None:
    canonical = b'["charge",{"amount":5,"to":"bob"}]'
    assert digest_of("charge", {"to": "bob", "amount": 5}) == hashlib.sha256(canonical).hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, id="order of names"),
        pytest.param({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, id="order of names inside"),
        pytest.param({"a": 1}, {"a": 1.0}, id="1 and 1.0"),
        pytest.param({"a": 100}, {"a": 1e2}, id="100 and 1e2"),
        pytest.param({"a": 0}, {"a": -0.0}, id="0 and -0.0"),
        pytest.param({"a": 2**53 - 1}, {"a": float(2**53 - 1)}, id="the largest exact integer"),
        pytest.param({"a": [BIG, {"y": 1, "x": 1.0}]}, {"a": [BIG, {"x": 1, "y": 1}]}, id="beside a big integer"),
        pytest.param({"a": "\u00e9"}, {"a": "é"}, id="an escape and its character"),
    ],
)
def test_how_arguments_are_spelled_makes_no_other_call(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert digest_of("charge", one) == digest_of("charge", other)


def a_value(dice: random.Random, depth: int = 0) -> Any:
    texts = ["", "a", "B", "_", "\x00", "\x1f", "\x7f", '"', "\\", "/", "\n\t", "<&>", "é", "\u2028", "\ue000", "😀"]
    simple = [*texts, None, True, False, 0, -1, 10, 2**53 - 1, -(2**53) + 1, 1.5, 1e16, 1e21, 1e-7, -0.0, 100.0]
    kind = dice.random()
    if depth > 3 or kind < 0.6:
        return dice.choice(simple)
    if kind < 0.8:
        return [a_value(dice, depth + 1) for _ in range(dice.randrange(4))]
    return {"".join(dice.choices(texts, k=2)): a_value(dice, depth + 1) for _ in range(dice.randrange(5))}


def test_the_short_ways_to_spell_values_spell_them_as_the_long_ones_do() -> None:
    dice = random.Random(1)
    for _ in range(3000):
        arguments = {str(number): a_value(dice) for number in range(dice.randrange(4))}
        expected = hashlib.sha256(rfc8785.dumps(["charge", arguments])).hexdigest()
        assert digest_of("charge", arguments) == expected, arguments
        assert json.loads(bytes(encode_arguments(arguments, Limits()))) == arguments
        told = json.dumps(arguments, ensure_ascii=False, separators=(",", ":")).encode()
        assert bytes(encode_arguments(arguments, Limits())) == told


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({}, {"a": None}, id="nothing and null"),
        pytest.param({"a": 1}, {"a": "1"}, id="number and text"),
        pytest.param({"a": 1}, {"a": True}, id="number and boolean"),
        pytest.param({"a": [1, 2]}, {"a": [2, 1]}, id="order of a list"),
        pytest.param({"a": [1, [2]]}, {"a": [[1], 2]}, id="nesting"),
        pytest.param({"a": {"b": 1}}, {"a.b": 1}, id="nested and flat"),
        pytest.param({"a": BIG}, {"a": BIG + 1}, id="big integers"),
        pytest.param({"a": BIG}, {"a": BIG - 1}, id="integers that are one double"),
        pytest.param({"a": BIG}, {"a": -BIG}, id="sign of a big integer"),
        pytest.param({"a": BIG}, {"a": str(BIG)}, id="big integer and text"),
        pytest.param({"a": [10**30]}, {"a": [10**30 + 1]}, id="very big integers in a list"),
        pytest.param({"a": "é"}, {"a": "e\u0301"}, id="composed and decomposed text"),
        pytest.param({"a": "x"}, {"a": "X"}, id="case"),
    ],
)
def test_other_arguments_make_another_call(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert digest_of("charge", one) != digest_of("charge", other)


def test_another_tool_makes_another_call() -> None:
    assert digest_of("charge", {}) != digest_of("refund", {})


def test_booleans_beside_a_big_integer_stay_booleans() -> None:
    assert digest_of("t", {"a": BIG, "b": True}) != digest_of("t", {"a": BIG, "b": 1})


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"a": {"": str(BIG)}}, id="alone"),
        pytest.param({"a": {"": str(BIG)}, "b": BIG}, id="beside a big integer"),
        pytest.param({"=a": {"": str(BIG)}, "b": BIG}, id="with an escape"),
    ],
)
def test_no_object_looks_like_a_big_integer(forged: dict[str, Any]) -> None:
    assert digest_of("t", {"a": BIG}) != digest_of("t", forged)
    assert digest_of("t", dict.fromkeys(forged, BIG)) != digest_of("t", forged)


def test_arguments_that_are_nested_too_deeply_are_bad_arguments() -> None:
    arguments: Any = {}
    for _ in range(50_000):
        arguments = [arguments]
    with pytest.raises(BadArguments):
        digest_of("t", {"a": arguments})


def test_the_digest_of_a_round_is_that_of_its_call_and_then_that_of_its_answers() -> None:
    answers = hashlib.sha256(b'[{"requestState":"s"}]').hexdigest()
    first, second = digest_of("charge", {"amount": 5}), digest_of("charge", {"amount": 5.0}, {"requestState": "s"})
    assert second == f"{first}.{answers}"
    assert arguments_digest(first) == arguments_digest(second) == first
    assert digest_of("charge", {"amount": 5}, {}) not in (first, second)
    assert arguments_digest(digest_of("charge", {"amount": 6}, {"requestState": "s"})) != first


def test_the_answers_of_a_round_count_however_they_are_spelled_and_whatever_is_in_them() -> None:
    assert digest_of("t", {}, {"a": 1, "b": BIG}) == digest_of("t", {}, {"b": BIG, "a": 1.0})
    assert digest_of("t", {}, {"b": BIG}) != digest_of("t", {}, {"b": BIG + 1})


def test_rounds_are_counted_from_one_and_each_knows_its_neighbours() -> None:
    assert CallId("ann", "k").round == 1
    assert CallId("ann", "k", 2).before == CallId("ann", "k")
    assert CallId("ann", "k").after == CallId("ann", "k", 2)


def test_what_a_client_sends_along_is_the_payload() -> None:
    assert a_call(arguments={"a": 1}).payload_bytes == len('{"a": 1}{}')
    assert a_call(arguments={"a": 1}, round=2, answers={"b": 2}).payload_bytes == len('{"a": 1}{}{"b": 2}')


@pytest.mark.parametrize("key", ["k", "order-42", "a b", "日本", "x" * 256])
def test_a_key_is_a_printable_name(key: str) -> None:
    check_key(key, Limits())


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("", "the idempotency key is empty: leave it out, or say one. Nothing was run"),
        (
            "x" * 257,
            "the idempotency key has 257 characters, more than 256: send a hash of it instead. Nothing was run",
        ),
        (
            "a\nb",
            "the idempotency key has characters that cannot be printed: use letters, digits and signs. Nothing was run",
        ),
        (
            "\x00",
            "the idempotency key has characters that cannot be printed: use letters, digits and signs. Nothing was run",
        ),
        (
            "\ud800",
            "the idempotency key has characters that cannot be printed: use letters, digits and signs. Nothing was run",
        ),
    ],
)
def test_any_other_key_is_refused_with_what_to_do(key: str, what: str) -> None:
    with pytest.raises(BadKey) as caught:
        check_key(key, Limits())
    assert str(caught.value) == what


def test_a_caller_is_a_name_of_the_same_kind_and_is_called_what_it_is() -> None:
    with pytest.raises(BadKey, match="the caller's name has 257 characters"):
        check_key("x" * 257, Limits(), "caller's name")


def test_arguments_become_compact_json_in_their_own_order() -> None:
    arguments = {"b": 1.5, "a": ["é", None, True, BIG]}
    assert bytes(encode_arguments(arguments, Limits())) == '{"b":1.5,"a":["é",null,true,9007199254740993]}'.encode()


def test_arguments_may_be_as_large_as_the_limit_and_no_larger() -> None:
    assert bytes(encode_arguments({"a": 1}, Limits(arguments_bytes_max=7))) == b'{"a":1}'
    with pytest.raises(TooLarge) as caught:
        encode_arguments({"a": 10_000}, Limits(arguments_bytes_max=7))
    assert str(caught.value) == (
        "the arguments are 11 bytes of JSON, more than 7: store the data elsewhere and pass its name. Nothing was run"
    )


def test_the_limit_is_of_bytes_and_not_of_characters() -> None:
    with pytest.raises(TooLarge):
        encode_arguments({"a": "日本"}, Limits(arguments_bytes_max=12))


def nested(depth: int) -> dict[str, Any]:
    inner: Any = {}
    for _ in range(depth):
        inner = {"a": inner}
    return {"a": inner}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"a": float("nan")}, id="NaN"),
        pytest.param({"a": float("inf")}, id="infinity"),
        pytest.param({"a": b"bytes"}, id="bytes"),
        pytest.param({"a": "\ud800"}, id="half a character"),
        pytest.param(nested(100_000), id="nested without end"),
    ],
)
def test_what_is_not_json_is_bad_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(BadArguments, match=r"^the arguments are not JSON: .*\. Nothing was run$"):
        encode_arguments(arguments, Limits())


@pytest.mark.parametrize("leaf", [None, 1.5], ids=["plain", "with a number that is not"])
@pytest.mark.parametrize(
    "around",
    [lambda it: [it], lambda it: (it,), lambda it: {"a": it}, lambda it: OrderedDict(a=it)],
    ids=["[]", "()", "{}", "a kind of {}"],
)
def test_what_is_nested_more_deeply_than_every_node_can_read_is_no_payload(
    leaf: object, around: Callable[[object], object]
) -> None:
    inner = leaf
    for _ in range(NESTING_MAX - 1):
        inner = around(inner)
    assert json.loads(encode_payload({"a": inner}))
    assert len(digest_of("charge", {"a": inner})) == 64
    with pytest.raises(RecursionError, match=f"nested more deeply than {NESTING_MAX} levels"):
        encode_payload({"a": around(inner)})
    with pytest.raises(BadArguments, match="nested too deeply"):
        digest_of("charge", {"a": around(inner)})


def test_half_a_character_is_an_error_or_a_question_mark() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_payload({"a": "\ud800"})
    assert encode_payload({"a": "\ud800"}, odd="replace") == b'{"a":"?"}'


def test_running_and_in_doubt_are_no_outcomes() -> None:
    assert {status for status in Status if not status.final} == {Status.RUNNING, Status.IN_DOUBT}


def test_a_node_is_spelled_with_its_incarnation() -> None:
    assert str(NodeId("n1", "7f")) == "n1.7f"


def test_a_record_tells_how_to_run_its_call_again() -> None:
    call = a_call(arguments={"amount": 5}, round=2, answers={"requestState": "s"})
    record = a_record(call, effect=Effect.REPEATABLE, timeout_s=2.0, lane="ann")
    assert record.call == call
    assert record.spec == Spec(effect=Effect.REPEATABLE, timeout_s=2.0, lane="ann")


@pytest.mark.parametrize("arguments", [{"a": "half \ud800"}, {"a": "half \ud800", "b": 0.5}, {"a": math.nan}])
def test_what_is_no_json_has_no_digest(arguments: dict[str, Any]) -> None:
    with pytest.raises(BadArguments, match=r"the arguments are not JSON: .*Nothing was run"):
        digest_of("charge", arguments)


@pytest.mark.parametrize(
    "value", ["", "日本", True, None, 0, 2**53 - 1, 1 - 2**53, [], {}, {"a": [None, {"b": [True, 1, "c"]}]}]
)
def test_plain_is_what_has_one_spelling(value: Any) -> None:
    assert is_plain_json(value)


@pytest.mark.parametrize("value", [0.5, 2**53, -(2**53), b"", (), {1: 2}, [0.5], {"a": [{"b": 0.5}]}])
def test_floats_big_integers_and_what_is_no_json_are_not_plain(value: Any) -> None:
    assert not is_plain_json(value)
