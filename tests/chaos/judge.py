"""The judge: compares the effects outside semel, the log as it is stored, what every node shows, and the answers.

It reads the log with the simulator's chronicle, which knows the rules of the design and nothing of the core's code.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from semel.core.call import CallId, Effect, Status
from semel.core.codec import decode_entry
from semel.core.entry import Doubted, Intent, Outcome, Read
from semel.errors import KeyReused
from semel.sim.chronicle import Chronicle, Life
from tests.chaos.book import CALLER, Asked, Book, Told, body_of
from tests.chaos.field import End, Field
from tests.chaos.linearizable import UNKNOWN, Model, Operation, check, counter, register

EXCUSE_S = 3.0
"""A node may give up so long after harm that excuses it, such as a disk that was full or a lock that was held."""
CLOCKS_MS = 100.0
"""So much later than it was ordered a death may be, by the clock that the log's entries have."""
GIVEN_UP = 6
"""The exit code of a node that cannot start or go on, and says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a tool has left outside semel."""

    tool: str
    line: str
    key: str
    attempt: int
    term: int


@dataclass(frozen=True, slots=True)
class Death:
    """When a process died, by the wall clock in ms, and of what."""

    at_ms: float
    cause: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that there is to compare."""

    effects: list[Line]
    log: Chronicle
    audits: Mapping[str, list[dict[str, Any]]]
    book: Book
    deaths: Mapping[str, list[Death]]
    """The deaths of each node, in order."""


def read_log(data: list[bytes]) -> Chronicle:
    """Return what the entries in the storage say."""
    return Chronicle([decode_entry(position, entry) for position, entry in enumerate(data, 1)])


def read_effects(lines: list[str]) -> list[Line]:
    """Return the lines that the tools have left."""
    return [msgspec.json.decode(line, type=Line) for line in lines]


def judge(evidence: Evidence) -> list[str]:
    """Return every breach of a promise."""
    return [*evidence.log.faults, *(breach for each in CHECKS for breach in each(evidence))]


# What the tools did.


def effects_have_an_intent(evidence: Evidence) -> Iterator[str]:
    """Nothing but a read runs without an intent, and one intent is one start at most."""
    starts = Counter((effect.key, effect.attempt) for effect in evidence.effects if effect.tool != "look")
    for (key, attempt), times in starts.items():
        life = _life(evidence, key)
        if life is None or attempt > len(life.intents):
            yield f"{key}: attempt {attempt} acted, and the log has no intent for it"
        if times > 1:
            yield f"{key}: attempt {attempt} acted {times} times"


def once_is_once(evidence: Evidence) -> Iterator[str]:
    """A once tool acts at most once a call, exactly once if it is said to have ended, and never if it never began."""
    acted = Counter(effect.key for effect in evidence.effects)
    for life in evidence.log.lives:
        status, times = evidence.log.status_of(life), acted[life.id.key]
        if life.effect is Effect.ONCE and times > 1:
            yield f"{life.id.key}: a once tool acted {times} times"
        elif status in (Status.OK, Status.ERROR) and life.effect is not Effect.READ and times == 0:
            yield f"{life.id.key}: the outcome is {status}, and the tool never acted"
        elif status is Status.CANCELLED and times and not _may_have_acted(_texts(evidence.log, life)):
            yield f"{life.id.key}: cancelled as never started, and the tool acted"


# What the log says.


def calls_come_to_an_end(evidence: Evidence) -> Iterator[str]:
    """After the calm every call has an outcome, or is in doubt with a reason; only a once call may be in doubt."""
    for life in evidence.log.lives:
        if life.outcome is None and life.doubted is None:
            yield f"{life.id.key}: begun at {life.born} and never ended"
        if life.doubted is not None:
            entry = evidence.log.entries[life.doubted - 1]
            if not isinstance(entry, Doubted) or not entry.reason:
                yield f"{life.id.key}: in doubt at {life.doubted} without a reason"


def doubts_have_a_death(evidence: Evidence) -> Iterator[str]:
    """A call stays in doubt only if its executor died after the intent: who is cut off or stopped tells later."""
    for life in evidence.log.lives:
        if life.outcome is None and life.doubted is not None and cause_of_doubt(evidence, life) is None:
            yield f"{life.id.key}: in doubt at {life.doubted}, and its executor never died"


def cause_of_doubt(evidence: Evidence, life: Life) -> str | None:
    """Return what the executor of a call died of after it had begun; None if it did not."""
    intent = evidence.log.entries[life.intents[-1] - 1]
    assert isinstance(intent, Intent)
    deaths = evidence.deaths.get(intent.executor.name, ())
    return next((death.cause for death in deaths if death.at_ms > intent.at_ms - CLOCKS_MS), None)


def audits_are_the_log(evidence: Evidence) -> Iterator[str]:
    """Every node shows the same calls, in the order of the log, each with what the log says of it."""
    first = next(iter(evidence.audits.values()))
    for name, audit in evidence.audits.items():
        if audit != first:
            differing = next((pair for pair in zip(audit, first, strict=False) if pair[0] != pair[1]), "in length")
            yield f"the audit of {name} differs: {differing}"
    if [row["key"] for row in first] != [life.id.key for life in evidence.log.lives]:
        yield f"the audit shows {len(first)} calls, and the log has {len(evidence.log.lives)}, or in another order"
        return
    for row, life in zip(first, evidence.log.lives, strict=True):
        stands = Status.IN_DOUBT if life.outcome is None else evidence.log.status_of(life)
        if (row["outcome"], row["position"]) != (stands, life.outcome or life.doubted or life.intents[-1]):
            yield f"{life.id.key}: the audit says {row['outcome']} at {row['position']}, and the log {stands}"


# What the callers were told.


def answers_are_in_the_log(evidence: Evidence) -> Iterator[str]:
    """Every answer is the first outcome of the call that was asked for, or its doubt; the log still has it."""
    for asked in evidence.book.asked:
        if asked.told is None:
            continue
        life = evidence.log.life_at(CallId(CALLER, asked.key), asked.told.position)
        if life is None:
            yield f"{asked}, and the log has no such call at {asked.told.position}"
        elif life.digest != asked.digest:
            yield f"{asked}, which is the answer to other arguments"
        elif (wrong := _not_as_logged(evidence, life, asked.told)) is not None:
            yield f"{asked}: {wrong}"


def _not_as_logged(evidence: Evidence, life: Life, told: Told) -> str | None:
    entry = evidence.log.entries[told.position - 1]
    if not told.final:
        return None if told.position == life.doubted else f"its doubt is at {life.doubted}"
    if told.position != life.outcome or not isinstance(entry, Outcome | Read):
        return f"its outcome is at {life.outcome}"
    failed, texts, structured = body_of(msgspec.json.decode(entry.result))
    same = (entry.status, failed, texts) == (told.outcome, *told.body[:2])
    # Earlier versions of the protocol cannot carry every structured content: then there is none.
    return None if same and told.body[2] in (None, structured) else f"the log has {entry.status} {entry.result!r}"


def one_key_is_one_call(evidence: Evidence) -> Iterator[str]:
    """Of two requests under one key that are not the same call only one is ever answered; one request ran it."""
    for key, askings in evidence.book.by_key().items():
        answered = [asked for asked in askings if asked.told is not None]
        if len({asked.digest for asked in answered}) > 1:
            yield f"{key}: answered for different calls: {[*map(str, answered)]}"
        final = [asked for asked in answered if asked.told is not None and asked.told.final]
        runners = [asked for asked in final if asked.told is not None and not asked.told.replayed]
        if len(runners) > 1:
            yield f"{key}: {len(runners)} requests were told that they ran it: {[*map(str, runners)]}"


def refusals_are_deserved(evidence: Evidence) -> Iterator[str]:
    """No request is refused but one whose key was used for another call."""
    for askings in evidence.book.by_key().values():
        reused = len({asked.digest for asked in askings}) > 1
        for asked in askings:
            if asked.refusal is not None and not (reused and asked.refusal == KeyReused.code):
                yield f"undeserved: {asked}"


def the_calm_answers_all(evidence: Evidence) -> Iterator[str]:
    """In the calm every key is answered, whatever its callers were told before."""
    for key, askings in evidence.book.by_key().items():
        calm = [asked for asked in askings if asked.calm]
        if not any(asked.told is not None for asked in calm):
            yield f"{key}: not answered in the calm: {[*map(str, calm)]}"
        yield from (f"not answered in the calm: {asked}" for asked in calm if asked.trouble is not None)


def outcomes_stay(evidence: Evidence) -> Iterator[str]:
    """In real time: who asks after somebody was told an outcome is told that very outcome, and never doubt."""
    for askings in evidence.book.by_key().values():
        answered = [asked for asked in askings if asked.told is not None]
        settled = [asked for asked in answered if asked.told is not None and asked.told.final]
        if not settled:
            continue
        first = min(settled, key=lambda asked: asked.ended_s)
        assert first.told is not None
        for asked in answered:
            if asked.begun_s > first.ended_s and asked.told is not None and asked.told.position != first.told.position:
                yield f"{asked}, after {first}"


def histories_are_linearizable(evidence: Evidence) -> Iterator[str]:
    """Registers and counters behave as if each operation had happened at one moment while it was asked for."""
    for name, history in histories(evidence.book).items():
        found = check(history, _model(name), 0)
        if found is not None:
            yield f"{name} is not linearizable: {found}"


def histories(book: Book) -> dict[str, list[Operation]]:
    """Return the operations on each object. One that nobody was told the outcome of may have happened, or not."""
    found: dict[str, list[Operation]] = {}
    for askings in book.by_key().values():
        for same in _by_digest(askings):
            name = same[0].arguments.get("name")
            if name is not None and any(asked.refusal is None for asked in same):
                operation = _operation(same)
                if operation is not None:
                    found.setdefault(name, []).append(operation)
    return found


def _by_digest(askings: list[Asked]) -> Iterator[list[Asked]]:
    for digest in {asked.digest for asked in askings}:
        yield [asked for asked in askings if asked.digest == digest]


def _operation(askings: list[Asked]) -> Operation | None:
    """Return what the askings for one call come to; None for a call of which it is sure that it never happened."""
    asked = askings[0]
    arguments = tuple(value for name, value in asked.arguments.items() if name != "name")
    begun_s = min(each.begun_s for each in askings)
    told = [each for each in askings if each.told is not None and each.told.final]
    cancelled = [each.told for each in told if each.told is not None and each.told.outcome == Status.CANCELLED]
    if any(not _may_have_acted(each.body[1]) for each in cancelled):
        return None
    if not told or cancelled:
        return Operation(asked.tool, arguments, begun_s)
    first = min(told, key=lambda each: each.ended_s)
    assert first.told is not None
    value = None if asked.tool == "write" else first.told.value
    return Operation(asked.tool, arguments, begun_s, first.ended_s, value if first.told.outcome == "ok" else UNKNOWN)


def _may_have_acted(texts: Iterable[str]) -> bool:
    """Return whether what is said of a call that was cancelled is that its client cancelled it while it ran."""
    return any("may have acted" in text for text in texts)


def _texts(log: Chronicle, life: Life) -> list[str]:
    assert life.outcome is not None
    entry = log.entries[life.outcome - 1]
    assert isinstance(entry, Outcome)
    return [str(block.get("text")) for block in msgspec.json.decode(entry.result)["content"]]


def _model(name: str) -> Model:
    return counter if name.startswith("counter") else register


def _life(evidence: Evidence, key: str) -> Life | None:
    lives = evidence.log.lives_of(CallId(CALLER, key))
    return lives[0] if lives else None


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    effects_have_an_intent,
    once_is_once,
    calls_come_to_an_end,
    doubts_have_a_death,
    audits_are_the_log,
    answers_are_in_the_log,
    one_key_is_one_call,
    refusals_are_deserved,
    the_calm_answers_all,
    outcomes_stay,
    histories_are_linearizable,
)


# What the nodes did.


def unexcused(field: Field) -> Iterator[str]:
    """Yield the nodes that ended by themselves without a full disk or a held lock to blame, or without saying so."""
    for end in field.ends:
        if end.code != GIVEN_UP or not end.words or not _excused(field, end):
            yield f"{end.node} ended by itself with exit code {end.code}: {end.words or 'without a word'}"


def _excused(field: Field, end: End) -> bool:
    return any(harm.kind in field.store.excuses for harm in field.under_way(end.at_s - EXCUSE_S, end.at_s))
