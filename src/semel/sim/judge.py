"""The judge: holds a whole history against the promises of the design, one check a promise.

It believes the tools' own book, the bytes in the log with their times of commit, and what the clients heard; of the
core under test it believes nothing but the ledgers that it is to compare. What a check does not cover, it says.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec

from semel.core.call import CallId, Effect, NodeId, Record, Status
from semel.core.entry import Doubted, Elected, Intent, Outcome, Read
from semel.errors import BadTicket, Busy, KeyReused, KeyStale, NoLeader, Undecided
from semel.sim.chronicle import Chronicle, Life
from semel.sim.history import Asked, Checkpoint, Question, Start
from semel.sim.told import name_of
from semel.sim.toolbox import TOOLS
from semel.sim.world import Run

FASTEST_CLOCK = 1.25
"""How much faster than the world's time a node's own clock may go."""

ELECTIONS_MAX = 20
"""More of them in half a second are no storm's doing: it declares a peer lost falsely every 40 ms at most."""


def judge(run: Run) -> list[str]:
    """Return every breach of a promise in the history of a run."""
    chronicle = Chronicle(run.entries)
    found = [*run.history.breaches, *chronicle.faults]
    for check in CHECKS:
        found += check(run, chronicle)
    return found


# What the tools did.


def starts_are_covered(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """Each start but a read's has a valid intent: committed before, of the executor, and folded while it led."""
    for start in run.history.starts:
        if start.intent is None:
            if start.effect is not Effect.READ:
                yield f"{_text(start)} without an intent"
            continue
        intent = run.entries[start.intent - 1] if start.intent <= len(run.entries) else None
        if not isinstance(intent, Intent) or start.intent not in chronicle.by_intent:
            yield f"{_text(start)}, and position {start.intent} is no valid intent"
        elif (intent.executor, intent.call, intent.term) != (start.node, start.call, start.term):
            yield f"{_text(start)} under an intent of another: {intent}"
        elif run.committed_s[start.intent - 1] > start.at_s or start.folded < start.intent:
            yield f"{_text(start)} before its intent was committed and read"
        elif chronicle.reigns[start.folded] != (start.node, start.term):
            yield f"{_text(start)}, which had read that its reign was over"


def once_is_at_most_once(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """A once tool is started at most once in the life of a call; a repeatable one at most once an intent."""
    seen: dict[tuple[CallId, int], Start] = {}
    for start in run.history.starts:
        life = chronicle.by_intent.get(start.intent or 0)
        if life is not None:
            assert start.intent is not None
            place = (life.id, life.born if start.effect is Effect.ONCE else start.intent)
            if place in seen:
                yield f"{_text(start)} a second time, first at {seen[place].at_s:.4f}"
            seen[place] = start


def rounds_were_asked_for(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """A round after the first starts only where its node had read that the one before it asked for just that round."""
    for start in run.history.starts:
        if start.call.id.round != 1 and not chronicle.asked_for(start.call, start.folded):
            yield f"{_text(start)}, which no round before it asked for"


def lanes_hold(run: Run, _: Chronicle) -> Iterator[str]:
    """On one node, runs of one lane do not overlap, and start in the order of their intents.

    Not checked across nodes: a leader that was cut off still runs what it began, and nobody can know.
    """
    lanes: dict[tuple[NodeId, str], list[Start]] = {}
    for start in run.history.starts:
        if start.lane is not None and start.intent is not None:
            lanes.setdefault((start.node, start.lane), []).append(start)
    for starts in lanes.values():
        for one, other in pairwise(starts):
            if one.ended_s is None or one.ended_s > other.at_s:
                yield f"{_text(other)} while its lane was taken by the run of intent {one.intent}"
            if (one.intent or 0) > (other.intent or 0):
                yield f"{_text(other)} out of order in its lane"


def _given_up(chronicle: Chronicle, position: int, entry: Outcome) -> bool:
    """Return whether a leader gives up a repeatable call that has had more than one attempt."""
    life, reign = chronicle.by_intent.get(entry.intent), chronicle.reigns[position - 1]
    if life is None or life.effect is not Effect.REPEATABLE or reign is None:
        return False
    return reign[0] == entry.executor and life.intents.index(entry.intent) > 0


# What the log says.


def outcomes_are_true(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """Every outcome says what the tool did: it ran and ended so, or it was lost, or it never began.

    Late outcomes too. Only a repeatable call or a read may have an error for a lost run, only a once call be cancelled.
    """
    runs: dict[int | None, list[Start]] = {}
    for start in run.history.starts:
        runs.setdefault(start.intent, []).append(start)
    for position, entry in enumerate(run.entries, 1):
        if isinstance(entry, Outcome):
            if entry.reconciled:
                continue  # see `hooks_are_believed`
            intent, effect = entry.intent, _effect_at(chronicle, entry.intent)
        elif isinstance(entry, Read):
            intent, effect = None, Effect.READ
        else:
            continue
        starts = [start for start in runs.get(intent, ()) if start.node == entry.executor]
        told = any((start.status, start.result) == (entry.status, bytes(entry.result)) for start in starts)
        lost = any(start.status is None and start.ended_s is not None for start in starts)
        if entry.status is Status.CANCELLED and effect is Effect.ONCE and not starts:
            continue
        if entry.status is Status.ERROR and effect is not Effect.ONCE and lost:
            continue
        if isinstance(entry, Outcome) and entry.status is Status.ERROR and _given_up(chronicle, position, entry):
            continue
        if not told:
            yield f"the outcome at {position} is not what the tool did: {entry}"


def hooks_are_believed(run: Run, _: Chronicle) -> Iterator[str]:
    """What is said to be reconciled did happen, by the tools' own book, and the node had it from the tool's hook."""
    acted = {(start.intent, start.acted) for start in run.history.starts if start.acted}
    told: dict[tuple[int, NodeId, bytes | None], float] = {
        (it.intent, it.node, it.result): it.told_s for it in run.history.questions if it.told_s is not None
    }
    for position, entry in enumerate(run.entries, 1):
        if isinstance(entry, Outcome) and entry.reconciled:
            result = bytes(entry.result)
            told_s = told.get((entry.intent, entry.executor, result))
            if entry.status is not Status.OK or (entry.intent, result) not in acted:
                yield f"the outcome at {position} is reconciled, and no tool did that: {entry}"
            elif told_s is None or told_s > run.committed_s[position - 1]:
                yield f"the outcome at {position} is reconciled, and no hook had said so: {entry}"


def hooks_are_asked_first(run: Run, _: Chronicle) -> Iterator[str]:
    """Doubt is stated of a tool with a hook only after it was asked and did not know, and says what the hook said.

    One life of a node asks about an intent once, and about once calls only.
    """
    asked: set[tuple[int, NodeId]] = set()
    unknown: dict[int, list[Question]] = {}
    for question in run.history.questions:
        unknown.setdefault(question.intent, [])
        if question.told_s is not None and question.result is None:
            unknown[question.intent].append(question)
        if (question.intent, question.node) in asked or TOOLS[question.call.tool].effect is not Effect.ONCE:
            yield f"{question.node} asked the hook about intent {question.intent}, {question.call.tool}, in vain"
        asked.add((question.intent, question.node))
    for position, entry in enumerate(run.entries, 1):
        if isinstance(entry, Doubted):
            intent, at_s = run.entries[entry.intent - 1], run.committed_s[position - 1]
            assert isinstance(intent, Intent)
            said = [it for it in unknown.get(entry.intent, ()) if it.told_s is not None and it.told_s <= at_s]
            if TOOLS[intent.call.tool].hook and not any(entry.reason.endswith(f"; {it.reason}") for it in said):
                yield f"the doubt at {position} is not what the hook of {intent.call.tool} said: {entry.reason}"


def calls_come_to_an_end(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """After the calm no call just runs: a repeatable one has its outcome, a once call that or a doubt.

    A repeatable call may not end in an error for lost runs before it had all its attempts: not checked.
    """
    for life in chronicle.lives:
        if life.outcome is None and life.doubted is None:
            yield f"the call {life.id.key} of intents {life.intents} never came to an end"


def doubts_are_real(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """No call is said to be in doubt while its executor lives, can be heard, and leads: nobody lost it."""
    for life in chronicle.lives:
        if life.doubted is not None:
            entry = run.entries[life.doubted - 1]
            assert isinstance(entry, Doubted)
            intent = run.entries[entry.intent - 1]
            assert isinstance(intent, Intent)
            ended = [it for it in run.history.starts if it.intent == entry.intent and it.status is None]
            if chronicle.reigns[life.doubted - 1] == (intent.executor, intent.term) and not any(
                it.ended_s is not None for it in ended
            ):
                yield f"the call {life.id.key} was put in doubt at {life.doubted}, and its tool was not lost"


def elections_come_to_rest(run: Run, _: Chronicle) -> Iterator[str]:
    """Nodes that suspect each other do not depose each other for ever: no more than a few elections in half a second.

    How many a storm can cause is a guess; what is meant to be found makes a hundred.
    """
    elected_s = [run.committed_s[at] for at, entry in enumerate(run.entries) if isinstance(entry, Elected)]
    for first_s, last_s in zip(elected_s, elected_s[ELECTIONS_MAX:], strict=False):
        if last_s - first_s < 0.5:
            yield f"{ELECTIONS_MAX + 1} elections between {first_s:.4f} and {last_s:.4f}"
            return


# What the clients heard.


def answers_are_the_outcome(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """An answer is the first outcome of the call asked for, or its doubt, and was committed before it was given."""
    for asked in run.history.asked:
        record = asked.answer
        if record is None or asked.told_s is None:
            continue
        if record.position == 0:
            yield from _unlogged_answer(run, asked, record)
            continue
        life = chronicle.life_at(record.id, record.position)
        if life is None or record.id != asked.call.id:
            yield f"{_told(asked)}, and no such call is in the log"
        elif run.committed_s[record.position - 1] > asked.told_s:
            yield f"{_told(asked)} before it was committed"
        elif life.digest != asked.call.digest:
            yield f"{_told(asked)}, the answer to other arguments"
        elif asked.replayed != (life.request != asked.call.request):
            yield f"{_told(asked)}, replayed={asked.replayed}, and the run was for {life.request}"
        elif (wrong := _not_as_in_the_log(run, life, record)) is not None:
            yield f"{_told(asked)}: {wrong}"


def _unlogged_answer(run: Run, asked: Asked, record: Record) -> Iterator[str]:
    """Yield why an answer that is said not to be in the log should not have been given."""
    assert asked.told_s is not None
    ran = [start for start in run.history.starts if start.call == asked.call and start.node == asked.node]
    if asked.effect is not Effect.READ or asked.keyed:
        yield f"{_told(asked)} without the log, and others may ask for the same"
    elif not any(_said(start, record) for start in ran):
        yield f"{_told(asked)} without the log, and no tool said so"
    elif all(asked.told_s - (it.ended_s or 0.0) < run.limits.unlogged_after_s / FASTEST_CLOCK for it in ran):
        yield f"{_told(asked)} without the log, which had no time to take it"


def _said(start: Start, record: Record) -> bool:
    """Return whether a read ended as its record says; one that was lost is an error."""
    if start.status is None:
        return start.ended_s is not None and record.status is Status.ERROR
    return (start.status, start.result) == (record.status, bytes(record.result or b""))


def _not_as_in_the_log(run: Run, life: Life, record: Record) -> str | None:
    entry = run.entries[record.position - 1]
    if record.status is Status.IN_DOUBT:
        return None if record.position == life.doubted else "it was not put in doubt there"
    if record.position != life.outcome:
        return f"its outcome is at {life.outcome}"
    assert isinstance(entry, Outcome | Read)
    same = (record.status, record.result) == (entry.status, entry.result)
    return None if same else f"it is {entry.status} {entry.result!r} there"


def final_answers_agree(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """All final answers in one life of a call are equal, whoever asked and wherever."""
    first: dict[tuple[CallId, int], Asked] = {}
    for asked in run.history.asked:
        if asked.answer is None or not asked.answer.status.final:
            continue
        life = chronicle.life_at(asked.answer.id, asked.answer.position)
        if life is not None:
            earlier = first.setdefault((life.id, life.born), asked)
            if earlier.answer != asked.answer:
                yield f"{_told(asked)}, but {_told(earlier)}"


def doubt_is_the_last_word(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """In real time: nobody is told that a call is in doubt who asked after its outcome was in the log.

    So an outcome that one client has seen is what every later asker gets. Refusals for lack of a leader, room or time
    are no statement about the call, and may come after an outcome.
    """
    for asked in run.history.asked:
        if asked.answer is not None and not asked.answer.status.final:
            life = chronicle.life_at(asked.call.id, asked.answer.position)
            settled_s = run.committed_s[life.outcome - 1] if life is not None and life.outcome is not None else None
            if settled_s is not None and settled_s < asked.at_s:
                yield f"{_told(asked)}, which asked at {asked.at_s:.4f}, and the outcome was there at {settled_s:.4f}"


def refusals_are_true(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """A request that was refused with "Nothing was run" has no intent, before or after: it was not retried as it was.

    Every retry here is a request of its own, so an intent that names the refused one came from it. Not checked for
    reads: they have no intent, and a read whose key turned out to be taken may well have run.
    """
    begun = {life.request: life for life in chronicle.lives if life.effect is not Effect.READ}
    digests: dict[CallId, set[str]] = {}
    for asked in run.history.asked:
        digests.setdefault(asked.call.id, set()).add(asked.call.digest)
    for asked in run.history.asked:
        refusal = asked.refusal
        if refusal is None:
            continue
        if "Nothing was run" in refusal.message and asked.call.request in begun:
            yield f"{_told(asked)}, but its intent is at {begun[asked.call.request].born}"
        if refusal.code == KeyReused.code and len(digests[asked.call.id]) == 1:
            yield f"{_told(asked)}, but nobody ever used that key for another call"
        if refusal.code == KeyStale.code and not any(life.forgotten for life in chronicle.lives_of(asked.call.id)):
            yield f"{_told(asked)}, but it was never forgotten"
        if refusal.code in (Busy.code, NoLeader.code) and "Nothing was run" not in refusal.message:
            yield f"{_told(asked)}, and does not say whether it was run"
        if refusal.code == Undecided.code and "Nothing was run" in refusal.message:
            yield f"{_told(asked)}, which nobody can know"


def tickets_are_bad(run: Run, chronicle: Chronicle) -> Iterator[str]:
    """In real time: a round is refused for want of the one before it only if that was not in the log when it came.

    What was forgotten before the refusal is no ground for it, either.
    """
    for asked in run.history.asked:
        if asked.refusal is None or asked.refusal.code != BadTicket.code or asked.told_s is None:
            continue
        if asked.call.id.round == 1:
            yield f"{_told(asked)}, and goes on from nothing"
        for life in chronicle.asked_for(asked.call, len(run.entries)):
            assert life.outcome is not None
            asked_s = run.committed_s[life.outcome - 1]
            forgotten_s = math.inf if life.forgotten is None else run.committed_s[life.forgotten - 1]
            if asked_s < asked.at_s and asked.told_s < forgotten_s:
                yield f"{_told(asked)}, which asked at {asked.at_s:.4f}, and was asked for at {asked_s:.4f}"


# What the nodes hold.


def ledgers_are_equal(run: Run, _: Chronicle) -> Iterator[str]:
    """At one position all ledgers are one, whether folded from the beginning or from any snapshot."""
    archive = run.core.archive()
    ledger = run.core.ledger(archive, None)
    for checkpoint in sorted(run.history.checkpoints, key=lambda it: it.totals.position):
        if checkpoint.totals.position > len(run.entries):
            yield f"the ledger of {checkpoint.node} is at {checkpoint.totals.position} of {len(run.entries)}"
            continue
        for position in range(ledger.position + 1, checkpoint.totals.position + 1):
            ledger.apply(position, run.entries[position - 1])
        mine = Checkpoint(checkpoint.node, ledger.totals, archive.records, ledger.open)
        if checkpoint != mine:
            yield f"the ledger of {checkpoint.node} at {ledger.position} differs: {_difference(checkpoint, mine)}"


def _difference(one: Checkpoint, other: Checkpoint) -> str:
    if one.totals != other.totals:
        return f"{one.totals} is not {other.totals}"
    for these, those in ((one.records, other.records), (one.open, other.open)):
        for call in sorted({*these, *those}, key=msgspec.json.encode):
            if these.get(call) != those.get(call):
                return f"{these.get(call)} is not {those.get(call)}"
    return "in nothing that can be named"


def all_is_well_in_the_end(run: Run, _: Chronicle) -> Iterator[str]:
    """After the calm every client that kept asking has an answer, and every node has read all, and owes nothing."""
    yield from (f"never answered: {text}" for text in run.unanswered)
    yield from run.laggards


CHECKS: tuple[Callable[[Run, Chronicle], Iterator[str]], ...] = (
    starts_are_covered,
    once_is_at_most_once,
    rounds_were_asked_for,
    lanes_hold,
    outcomes_are_true,
    hooks_are_believed,
    hooks_are_asked_first,
    calls_come_to_an_end,
    doubts_are_real,
    elections_come_to_rest,
    answers_are_the_outcome,
    final_answers_agree,
    doubt_is_the_last_word,
    refusals_are_true,
    tickets_are_bad,
    ledgers_are_equal,
    all_is_well_in_the_end,
)


def _effect_at(chronicle: Chronicle, intent: int) -> Effect | None:
    life = chronicle.by_intent.get(intent)
    return life.effect if life is not None else None


def _text(start: Start) -> str:
    return (
        f"{start.at_s:.4f} {start.node} started {start.call.tool} for {name_of(start.call.id)} (intent {start.intent})"
    )


def _told(asked: Asked) -> str:
    what = asked.answer.status if asked.answer else asked.refusal.code if asked.refusal else "nothing"
    return f"ticket {asked.ticket} ({name_of(asked.call.id)}) was told {what} by {asked.node} at {asked.told_s}"
