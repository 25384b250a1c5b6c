"""The judge must see: a small true history passes, and each way of breaking a promise in it is found."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from semel.core.call import Call, CallId, Effect, NodeId, Status, digest_of
from semel.core.entry import Doubted, Elected, Entry, Founded, Intent, Outcome
from semel.sim.chronicle import Chronicle
from tests.chaos.book import CALLER, Asked, Book, Told
from tests.chaos.judge import CHECKS, Death, Evidence, Line, histories_are_linearizable, judge, once_is_once

N1 = NodeId("n1", "a")
ARGUMENTS = {"line": "x"}


def intent(key: str, tool: str, effect: Effect, attempt: int = 1) -> Intent:
    call = Call(
        id=CallId(CALLER, key),
        tool=tool,
        arguments=msgspec.Raw(b'{"line":"x"}'),
        digest=digest_of(tool, ARGUMENTS),
        request=f"n1/{key}",
    )
    return Intent(call=call, effect=effect, timeout_s=9, lane=None, term=1, attempt=attempt, executor=N1, at_ms=0)


def outcome(of: int, text: str, status: Status = Status.OK) -> Outcome:
    result = msgspec.json.encode({"content": [{"type": "text", "text": text}]})
    return Outcome(intent=of, status=status, result=msgspec.Raw(result), executor=N1, duration_ms=1, at_ms=0)


def entries() -> list[Entry]:
    return [
        Founded(cluster="semel", id="c"),
        Elected(term=1, node=N1, url="", at_ms=0),
        intent("k1", "append", Effect.ONCE),  # 3
        outcome(3, "one"),
        intent("k2", "append", Effect.ONCE),  # 5
        Doubted(intent=5, reason="n1 was lost", at_ms=0),
        intent("k3", "store", Effect.REPEATABLE),  # 7
        outcome(7, "three"),
    ]


def told(key: str, tool: str, position: int, outcome: str, text: str, at_s: float, *, replayed: bool) -> Asked:
    answer = Told(outcome, position, 1, replayed, text, (False, (text,), None))
    return Asked(key, tool, ARGUMENTS, at_s, calm=replayed, ended_s=at_s + 1, told=answer)


def asked() -> list[Asked]:
    return [
        told("k1", "append", 4, "ok", "one", 1, replayed=False),
        told("k1", "append", 4, "ok", "one", 9, replayed=True),
        told("k2", "append", 6, "in_doubt", "", 9, replayed=True),
        Asked("k3", "store", ARGUMENTS, 1, calm=False, trouble="no answer"),
        told("k3", "store", 8, "ok", "three", 9, replayed=True),
    ]


def lines() -> list[Line]:
    return [Line("append", "x", "k1", 1, 1), Line("store", "x", "k3", 1, 1)]


def audit() -> list[dict[str, object]]:
    stand = [("k1", "ok", 4), ("k2", "in_doubt", 6), ("k3", "ok", 8)]
    return [{"key": key, "outcome": outcome, "position": position} for key, outcome, position in stand]


def evidence(
    log: list[Entry] | None = None,
    effects: list[Line] | None = None,
    audits: list[list[dict[str, object]]] | None = None,
    book: list[Asked] | None = None,
    deaths: dict[str, list[Death]] | None = None,
) -> Evidence:
    shown = audits or [audit(), audit()]
    return Evidence(
        lines() if effects is None else effects,
        Chronicle(log or entries()),
        {f"n{number}": each for number, each in enumerate(shown, 1)},
        Book(asked() if book is None else book),
        {"n1": [Death(1.0, "was killed")]} if deaths is None else deaths,
    )


def without(position: int, instead: Entry) -> list[Entry]:
    return [instead if at == position else entry for at, entry in enumerate(entries(), 1)]


def with_answer(number: int, **changed: object) -> list[Asked]:
    book = asked()
    answer = book[number].told
    assert answer is not None
    book[number].told = replace(answer, **changed)  # type: ignore[arg-type]
    return book


def an_add(key: str, tells: int, begun_s: float) -> Asked:
    answer = Told("ok", 4, 1, True, tells, (False, (str(tells),), None))
    arguments = {"name": "counter-1", "amount": 1}
    return Asked(key, "add", arguments, begun_s, calm=False, ended_s=begun_s + 1, told=answer)


BREACHES: dict[str, tuple[str, Callable[[], Evidence]]] = {
    "a once tool that acted twice": ("once_is_once", lambda: evidence(effects=[*lines(), lines()[0]])),
    "one intent that was two starts": ("effects_have_an_intent", lambda: evidence(effects=[*lines(), lines()[1]])),
    "an effect without a call": (
        "effects_have_an_intent",
        lambda: evidence(effects=[*lines(), Line("append", "x", "k9", 1, 1)]),
    ),
    "an attempt that the log does not know": (
        "effects_have_an_intent",
        lambda: evidence(effects=[*lines(), Line("store", "x", "k3", 2, 1)]),
    ),
    "an outcome without an effect": ("once_is_once", lambda: evidence(effects=lines()[1:])),
    "an effect of what was never started": (
        "once_is_once",
        lambda: evidence(without(4, outcome(3, "one", Status.CANCELLED))),
    ),
    "a call without an end": ("calls_come_to_an_end", lambda: evidence(entries()[:-1])),
    "a doubt without a reason": (
        "calls_come_to_an_end",
        lambda: evidence(without(6, Doubted(intent=5, reason="", at_ms=0))),
    ),
    "a doubt that nobody's death left": ("doubts_have_a_death", lambda: evidence(deaths={"n2": [Death(1.0, "")]})),
    "a doubt that was left by a death before the call": (
        "doubts_have_a_death",
        lambda: evidence(deaths={"n1": [Death(-1000.0, "")]}),
    ),
    "two nodes with two histories": ("audits_are_the_log", lambda: evidence(audits=[audit(), audit()[:-1]])),
    "an audit that leaves out a call": ("audits_are_the_log", lambda: evidence(audits=[audit()[:-1], audit()[:-1]])),
    "an audit that changed an outcome": (
        "audits_are_the_log",
        lambda: evidence(audits=[[audit()[0] | {"outcome": "error"}, *audit()[1:]]] * 2),
    ),
    "an answer that is not in the log": ("answers_are_in_the_log", lambda: evidence(book=with_answer(0, position=99))),
    "an answer that is not the outcome": (
        "answers_are_in_the_log",
        lambda: evidence(book=with_answer(0, body=(False, ("two",), None))),
    ),
    "an answer to other arguments": (
        "answers_are_in_the_log",
        lambda: evidence(book=[replace(asked()[0], arguments={"line": "y"}), *asked()[1:]]),
    ),
    "a doubt that is not in the log": ("answers_are_in_the_log", lambda: evidence(book=with_answer(2, position=5))),
    "one key answered for two calls": (
        "one_key_is_one_call",
        lambda: evidence(book=[replace(asked()[0], arguments={"line": "y"}), *asked()[1:]]),
    ),
    "two requests that both ran it": ("one_key_is_one_call", lambda: evidence(book=with_answer(1, replayed=False))),
    "a refusal that nobody deserved": (
        "refusals_are_deserved",
        lambda: evidence(book=[*asked(), Asked("k1", "append", ARGUMENTS, 3, calm=False, refusal="key_reused")]),
    ),
    "a key without an answer in the calm": ("the_calm_answers_all", lambda: evidence(book=asked()[:-1])),
    "doubt after an outcome was told": (
        "outcomes_stay",
        lambda: evidence(book=with_answer(1, outcome="in_doubt", position=6)),
    ),
    "a counter that went back": (
        "histories_are_linearizable",
        lambda: evidence(book=[*asked(), an_add("c1", 2, 1), an_add("c2", 1, 5)]),
    ),
}


def test_a_tool_that_its_client_had_stopped_may_have_acted_and_may_not() -> None:
    stopped = outcome(3, "append was cancelled while it ran. It was told to stop, and may have acted", Status.CANCELLED)
    for effects in (lines(), lines()[1:]):
        assert not list(once_is_once(evidence(without(4, stopped), effects=effects)))


def test_an_add_that_was_stopped_counts_or_does_not() -> None:
    stopped = an_add("k1", 0, 1.0)
    assert stopped.told is not None
    words = ("add was cancelled while it ran. It was told to stop, and may have acted",)
    stopped.told = replace(stopped.told, outcome="cancelled", value=None, body=(True, words, None))
    for tells in (1, 2):
        assert not list(histories_are_linearizable(evidence(book=[stopped, an_add("k2", tells, 5.0)])))


def test_a_true_history_passes() -> None:
    assert judge(evidence()) == []


@pytest.mark.parametrize("name", BREACHES)
def test_the_judge_sees(name: str) -> None:
    check, broken = BREACHES[name]
    assert [*next(each for each in CHECKS if each.__name__ == check)(broken())]


def test_every_check_has_a_breach_that_it_sees() -> None:
    assert {check for check, _ in BREACHES.values()} == {each.__name__ for each in CHECKS}
