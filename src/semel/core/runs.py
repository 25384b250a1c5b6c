"""The runs of one node: tools at work, hooks that are asked, and the facts about them that are not in the log yet.

A fact stays here and is proposed again and again until it is read back; no term can void it. A once call whose run
was lost becomes one only by way of its tool's reconcile hook: an outcome if the hook knows it, else a doubt.
"""

from collections.abc import Iterator
from typing import assert_never

import msgspec

from semel.core.call import Call, CallId, Effect, NodeId, Record, Status
from semel.core.entry import Doubted, Entry, Forgot, Intent, Outcome, Read
from semel.core.limits import Limits
from semel.core.message import Ended, Lost, Now, Output, Reconcile, Reconciled, Run
from semel.core.refusals import given_up, said


class _Running(msgspec.Struct, frozen=True):
    call: Call
    effect: Effect
    timeout_s: float
    term: int
    attempt: int
    intent: int | None
    lane: str | None


class Runs:
    """Tools that this node runs, and what came of them. Effects go to `out`, in order."""

    def __init__(self, me: NodeId, limits: Limits, out: list[Output]) -> None:
        self._me = me
        self._limits = limits
        self._out = out
        self._running: dict[int, _Running] = {}
        self._count = 0
        self._asking: dict[int, str] = {}
        """Intents about which a hook is asked, and how their runs were lost."""
        self._facts: dict[tuple[str, int | CallId], Entry] = {}
        self._facts_bytes = 0
        self._reads: dict[CallId, float] = {}
        """When each read ended, in this node's seconds, whose fact is to be written and was not overdue yet."""

    @property
    def room(self) -> int:
        """How many more tools may run at once."""
        return self._limits.concurrency_max - len(self._running)

    @property
    def none(self) -> bool:
        """True if no tool is at work, and no hook is asked."""
        return not self._running and not self._asking

    @property
    def lanes(self) -> set[str]:
        """The lanes in which a tool is at work here, though its call may have its outcome from elsewhere."""
        return {running.lane for running in self._running.values() if running.lane is not None}

    def attends(self, record: Record) -> bool:
        """Return whether a tool or its hook is at work here for a call, or what came of it is still to be written."""
        at_work = {*self._asking, *(running.intent for running in self._running.values())}
        return any(
            intent in at_work or ("outcome", intent) in self._facts or ("doubt", intent) in self._facts
            for intent in record.intents
        )

    @property
    def facts(self) -> int:
        """How many facts are still to be written."""
        return len(self._facts)

    @property
    def full(self) -> bool:
        """True if the facts that are still to be written are as many, or as large, as this node may hold."""
        limits = self._limits
        return len(self._facts) >= limits.in_flight_max or self._facts_bytes >= limits.unwritten_bytes_max

    # Beginning and end of a run.

    def begin(self, record: Record) -> None:
        """Start the tool of a call whose intent is this node's and stands in the log."""
        intent = record.intents[-1]
        self._start(
            _Running(record.call, record.effect, record.timeout_s, record.term, record.attempt, intent, record.lane)
        )

    def read(self, call: Call, timeout_s: float, term: int) -> None:
        """Start a tool that changes nothing, without an intent."""
        self._start(_Running(call, Effect.READ, timeout_s, term, 1, None, None))

    def cancel(self, record: Record, now: Now) -> None:
        """State that an intent of this node was never begun, and never will be."""
        text = f"{self._me.name} lost its lead between intent and start; the tool was not started. Use a new key"
        self._state_outcome(record.intents[-1], Ended(0, Status.CANCELLED, said(text), 0.0), now)

    def end(self, given: Ended | Lost, now: Now) -> CallId | None:
        """Turn the end of a run into a fact, or into a question; return the call instead if it is to be run again."""
        running = self._running.pop(given.run)
        match given:
            case Ended():
                self._state(running, given, now)
            case Lost() if running.effect is Effect.ONCE:
                assert running.intent is not None
                self._ask(Reconcile(running.intent, running.call, running.timeout_s, running.term), given.reason)
            case Lost() if running.effect is Effect.REPEATABLE and running.attempt < self._limits.attempts_max:
                return running.call.id
            case Lost():
                ended = Ended(given.run, Status.ERROR, given_up(running.attempt, given.reason), 0.0)
                self._state(running, ended, now)
            case _:
                assert_never(given)
        return None

    def forget(self, now: Now) -> None:
        """State how late it is, so that what is old enough is forgotten."""
        forgot = Forgot(
            at_ms=now.ms,
            step_ms=int(2000 * self._limits.forget_every_s),
            result_retention_ms=self._limits.result_retention_ms,
            key_retention_ms=self._limits.key_retention_ms,
        )
        self._owe("forgot", 0, forgot)

    # What nobody here can know: whether a lost tool acted.

    def ask_after(self, record: Record) -> None:
        """Have the hook of a once call asked whose executor is gone."""
        reason = f"{record.executor.name} was lost between intent and outcome"
        self._ask(Reconcile(record.intents[-1], record.call, record.timeout_s, record.term), reason)

    def reconcile(self, given: Reconciled, now: Now) -> None:
        """Turn what a hook said into a fact: the outcome if it knows that the tool acted, else doubt, and no more."""
        lost = self._asking.pop(given.intent)
        if given.result is not None:
            ended = Ended(0, Status.OK, given.result, 0.0)
            self._state_outcome(given.intent, ended, now, reconciled=True)
        else:
            reason = f"{lost}; {given.reason}" if given.reason else lost
            self._owe("doubt", given.intent, Doubted(intent=given.intent, reason=reason, at_ms=now.ms))

    def _ask(self, question: Reconcile, lost: str) -> None:
        assert question.intent not in self._asking
        self._asking[question.intent] = lost
        self._out.append(question)

    # Facts on their way into the log.

    def give_up(self, record: Record, now: Now) -> Entry:
        """Return the outcome of a call that has lost executor after executor."""
        return Outcome(
            intent=record.intents[-1],
            status=Status.ERROR,
            result=given_up(record.attempt, f"{record.executor.name} was lost while it ran"),
            executor=self._me,
            duration_ms=0.0,
            at_ms=now.ms,
        )

    def to_write(self) -> Iterator[Entry]:
        """Yield the oldest facts, as many as fit into one append."""
        size_bytes = 0
        for count, entry in enumerate(self._facts.values()):
            size_bytes += payload_bytes(entry)
            if count == self._limits.batch_entries_max or (count and size_bytes > self._limits.batch_bytes_max):
                return
            yield entry

    def overdue_reads(self, now: Now) -> Iterator[Read]:
        """Yield the reads that the log has not taken for long, each of them once."""
        while self._reads:
            call, ended_s = next(iter(self._reads.items()))
            if now.s - ended_s < self._limits.unlogged_after_s:
                return  # they ended in this order
            del self._reads[call]
            entry = self._facts["read", call]
            assert isinstance(entry, Read)
            yield entry

    def written(self, entry: Entry) -> None:
        """Let go of the fact that an entry of the log states."""
        match entry:
            case Outcome() if entry.executor == self._me:
                self._owe_no_more("outcome", entry.intent)
            case Read() if entry.executor == self._me:
                self._owe_no_more("read", entry.call.id)
                self._reads.pop(entry.call.id, None)
            case Doubted():
                self._owe_no_more("doubt", entry.intent)
            case Forgot():
                self._owe_no_more("forgot", 0)
            case _:
                pass

    def _owe(self, kind: str, of: int | CallId, entry: Entry) -> None:
        self._owe_no_more(kind, of)
        self._facts[kind, of] = entry
        self._facts_bytes += payload_bytes(entry)

    def _owe_no_more(self, kind: str, of: int | CallId) -> None:
        entry = self._facts.pop((kind, of), None)
        if entry is not None:
            self._facts_bytes -= payload_bytes(entry)

    def _start(self, running: _Running) -> None:
        self._count += 1
        self._running[self._count] = running
        self._out.append(
            Run(self._count, running.call, running.timeout_s, running.term, running.attempt, running.intent)
        )

    def _state(self, running: _Running, ended: Ended, now: Now) -> None:
        if running.intent is not None:
            self._state_outcome(running.intent, ended, now)
            return
        self._reads[running.call.id] = now.s
        read = Read(
            call=running.call,
            timeout_s=running.timeout_s,
            status=ended.status,
            result=ended.result,
            term=running.term,
            executor=self._me,
            duration_ms=ended.duration_ms,
            at_ms=now.ms,
        )
        self._owe("read", running.call.id, read)

    def _state_outcome(self, intent: int, ended: Ended, now: Now, *, reconciled: bool = False) -> None:
        outcome = Outcome(
            intent=intent,
            status=ended.status,
            result=ended.result,
            executor=self._me,
            duration_ms=ended.duration_ms,
            at_ms=now.ms,
            reconciled=reconciled,
        )
        self._owe("outcome", intent, outcome)


def payload_bytes(entry: Entry) -> int:
    """Return how much of an entry's size is payload."""
    match entry:
        case Outcome():
            return len(entry.result)
        case Read():
            return len(entry.result) + entry.call.payload_bytes
        case Intent():
            return entry.call.payload_bytes
        case _:
            return 0
