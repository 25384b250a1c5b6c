"""Is a history linearizable? The search of Wing and Gong with Lowe's memory of what was tried; it knows no semel.

J. Wing and C. Gong, "Testing and verifying concurrent objects", J. Parallel Distrib. Comput. 17 (1993): look for an
order of the operations that the object's sequential form explains, and that keeps every operation after those that
had ended before it began. G. Lowe, "Testing for linearizability", Concurrency and Computation 29 (2017): never
search on from the same set of operations in the same state again, which makes the search quick in practice.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

UNKNOWN: Final = object()
"""The result of an operation that nobody was told of: it may have happened, at any time since it began, or never."""
STEPS_MAX = 2_000_000
"""A search that takes more steps than this is given up; no history of ours comes near."""

State = Any
Model = Callable[[State, str, tuple[Any, ...]], tuple[State, Any]]
"""The object, one operation after the other: state, operation and arguments to the next state and the result."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one object, by real time in seconds: when it was asked for and when its result was told."""

    name: str
    arguments: tuple[Any, ...]
    begun_s: float
    ended_s: float = float("inf")
    result: Any = UNKNOWN

    def __str__(self) -> str:
        result = "?" if self.result is UNKNOWN else repr(self.result)
        arguments = ", ".join(map(repr, self.arguments))
        return f"{self.begun_s:.4f} to {self.ended_s:.4f}: {self.name}({arguments}) -> {result}"


class SearchTooLong(Exception):
    """Whether the history is linearizable could not be found out within the steps allowed."""


@dataclass(frozen=True, slots=True)
class NotLinearizable:
    """No order explains the history; the longest order that was found, and what could not follow it."""

    explained: tuple[Operation, ...]
    stuck: tuple[Operation, ...]

    def __str__(self) -> str:
        last = "; ".join(map(str, self.explained[-3:])) or "nothing"
        return f"{len(self.explained)} operations can be explained, last {last}; then none of {[*map(str, self.stuck)]}"


def check(history: Iterable[Operation], model: Model, initial: State) -> NotLinearizable | None:
    """Return None if the history is linearizable, else how far an order could be found.

    Raises:
        SearchTooLong: it could not be found out.
    """
    operations = sorted(history, key=lambda it: it.begun_s)
    told = sum(1 << number for number, it in enumerate(operations) if it.result is not UNKNOWN)
    state, done = initial, 0
    order: list[int] = []
    trail = [(state, done, _next(operations, done))]
    tried = {(done, state)}
    best, steps = NotLinearizable((), ()), 0
    while done & told != told:
        steps += 1
        if steps > STEPS_MAX:
            raise SearchTooLong(f"{len(operations)} operations, {steps} steps")
        state, done, candidates = trail[-1]
        number = next(candidates, None)
        if number is None:
            if len(order) > len(best.explained) or not best.stuck:
                stuck = tuple(operations[each] for each in _next(operations, done))
                best = NotLinearizable(tuple(operations[each] for each in order), stuck)
            trail.pop()
            if not trail:
                return best
            done = trail[-1][1]
            order.pop()
            continue
        operation = operations[number]
        after, result = model(state, operation.name, operation.arguments)
        now = done | 1 << number
        if operation.result in (UNKNOWN, result) and (now, after) not in tried:
            tried.add((now, after))
            order.append(number)
            done = now
            trail.append((after, done, _next(operations, done)))
    return None


def _next(operations: list[Operation], done: int) -> Iterator[int]:
    """Yield the operations that may be the next one: not done, and begun before any other that is not done ended."""
    number = (~done & (done + 1)).bit_length() - 1  # the first that is not done: those before it need no look
    begun: list[int] = []
    first_end_s = float("inf")
    for each in range(number, len(operations)):
        if done >> each & 1:
            continue
        if operations[each].begun_s > first_end_s:
            break
        begun.append(each)
        first_end_s = min(first_end_s, operations[each].ended_s)
    return (each for each in begun if operations[each].begun_s <= first_end_s)


def register(state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
    """A register that can be read, written, and swapped if it holds what is expected."""
    match name:
        case "read":
            return state, state
        case "write":
            return arguments[0], None
        case "swap":
            expected, new = arguments
            return (new, True) if state == expected else (state, False)
    raise AssertionError(name)


def counter(state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
    """A counter that can be read and added to; adding tells the sum."""
    match name:
        case "read":
            return state, state
        case "add":
            return state + arguments[0], state + arguments[0]
    raise AssertionError(name)
