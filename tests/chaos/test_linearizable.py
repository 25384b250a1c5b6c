"""The checker must see bad histories; and it must agree with trying out every order, on small random ones."""

import itertools
import random
import time
from typing import Any

import pytest

from tests.chaos.linearizable import UNKNOWN, Model, Operation, check, counter, register


def op(begun_s: float, ended_s: float | None, name: str, *arguments: Any, tells: Any = UNKNOWN) -> Operation:
    return Operation(name, arguments, begun_s, float("inf") if ended_s is None else ended_s, tells)


GOOD: dict[str, tuple[Model, list[Operation]]] = {
    "nothing happened": (register, []),
    "a read during a write may see either": (
        register,
        [op(0, 9, "write", 1, tells=None), op(1, 2, "read", tells=0), op(3, 4, "read", tells=1)],
    ),
    "a swap that lost was late": (
        register,
        [op(0, 3, "swap", 0, 1, tells=True), op(1, 4, "swap", 0, 2, tells=False)],
    ),
    "a write in doubt happened, much later": (
        register,
        [op(0, None, "write", 7), op(1, 2, "read", tells=0), op(3, 4, "read", tells=7)],
    ),
    "a write in doubt never happened": (register, [op(0, None, "write", 7), op(1, 2, "read", tells=0)]),
    "of two adds in doubt one happened": (
        counter,
        [op(0, None, "add", 1), op(0, None, "add", 5), op(1, 2, "add", 10, tells=15)],
    ),
}

BAD: dict[str, tuple[Model, list[Operation]]] = {
    "a stale read": (register, [op(0, 1, "write", 1, tells=None), op(2, 3, "read", tells=0)]),
    "a read of what nobody wrote": (register, [op(0, 1, "write", 1, tells=None), op(2, 3, "read", tells=2)]),
    "new, then old again": (
        register,
        [op(0, 9, "write", 1, tells=None), op(1, 2, "read", tells=1), op(3, 4, "read", tells=0)],
    ),
    "two swaps both won": (
        register,
        [op(0, 3, "swap", 0, 1, tells=True), op(1, 4, "swap", 0, 2, tells=True)],
    ),
    "an add that ran twice": (counter, [op(0, 1, "add", 1, tells=1), op(2, 3, "add", 1, tells=3)]),
    "an add that was lost": (counter, [op(0, 1, "add", 1, tells=1), op(2, 3, "add", 1, tells=1)]),
    "an add in doubt that happened twice": (
        counter,
        [op(0, None, "add", 1), op(1, 2, "read", tells=1), op(3, 4, "read", tells=2)],
    ),
    "an add in doubt that came and went": (
        counter,
        [op(0, None, "add", 1), op(1, 2, "read", tells=1), op(3, 4, "read", tells=0)],
    ),
    "an add in doubt that happened before it was asked for": (
        counter,
        [op(0, 1, "read", tells=1), op(2, None, "add", 1)],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_has_an_order_passes(name: str) -> None:
    model, history = GOOD[name]
    assert check(history, model, 0) is None


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_has_none_is_seen(name: str) -> None:
    model, history = BAD[name]
    found = check(history, model, 0)
    assert found is not None
    assert found.stuck


def by_trying_all(history: list[Operation], model: Model) -> bool:
    """Return whether some order of all that was told, and of some of what was not, explains the history."""
    told = [it for it in history if it.result is not UNKNOWN]
    untold = [it for it in history if it.result is UNKNOWN]
    chosen = itertools.chain.from_iterable(itertools.combinations(untold, size) for size in range(len(untold) + 1))
    return any(explains(order, model) for some in chosen for order in itertools.permutations([*told, *some]))


def explains(order: tuple[Operation, ...], model: Model) -> bool:
    if any(later.ended_s < earlier.begun_s for earlier, later in itertools.combinations(order, 2)):
        return False
    state: Any = 0
    for it in order:
        state, result = model(state, it.name, it.arguments)
        if it.result is not UNKNOWN and it.result != result:
            return False
    return True


def some_history(
    dice: random.Random, model: Model, size: int, *, overlap: float, lies: float = 0.0, silence: float = 0.2
) -> list[Operation]:
    """Return a history as an object makes it that is honest but for some lies, and silent about some results."""
    state: Any = 0
    history = []
    for at in range(size):
        kind = dice.choice(("read", "write", "swap") if model is register else ("read", "add", "add"))
        values = [dice.randrange(3) for _ in range({"read": 0, "swap": 2}.get(kind, 1))]
        happens, told = dice.random() < 0.9, dice.random() >= silence
        after, result = model(state, kind, tuple(values))
        state = after if happens or told else state
        if dice.random() < lies:
            result = dice.randrange(3) if kind in ("read", "add") else not result
        spread = [at - dice.random() * overlap, at + dice.random() * overlap]
        history.append(op(spread[0], spread[1] if told else None, kind, *values, tells=result if told else UNKNOWN))
    return history


@pytest.mark.parametrize("model", [register, counter])
def test_the_search_agrees_with_trying_every_order(model: Model) -> None:
    verdicts = []
    for seed in range(400):
        dice = random.Random(seed)
        history = some_history(dice, model, 6, lies=0.1, overlap=2)
        expected = by_trying_all(history, model)
        assert (check(history, model, 0) is None) == expected, "\n".join(map(str, history))
        verdicts.append(expected)
    assert 100 < sum(verdicts) < 390  # it has seen enough of both


def test_a_history_of_two_thousand_operations_is_checked_in_seconds() -> None:
    history = some_history(random.Random(1), counter, 2000, overlap=4, silence=0.01)
    begun_s = time.monotonic()
    assert check(history, counter, 0) is None
    assert time.monotonic() - begun_s < 20
