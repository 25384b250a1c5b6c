"""Cores that break a rule of what a client is told."""

# ruff: noqa: D102 - the docstring of a class says which rule its override breaks

from collections.abc import Iterable

from msgspec.structs import replace

from semel.core.call import Call, CallId, Record
from semel.core.decider import Decider, Identity
from semel.core.entry import Read
from semel.core.ledger import Ledger
from semel.core.limits import Limits
from semel.core.message import (
    Answer,
    Ended,
    Input,
    Lost,
    Now,
    Output,
    Submitted,
)
from semel.core.requests import Requests


class AnswersBeforeDurable(Decider):
    """Tells the outcome when the tool ends, before it is in the log."""

    def _end(self, given: Ended | Lost, now: Now) -> None:
        running = self._runs._running[given.run]
        record = self.ledger.open.get(running.call.id)
        super()._end(given, now)
        if record is not None and isinstance(given, Ended):
            position = self.ledger.position + 1
            self._requests.settle(replace(record, position=position, status=given.status, result=given.result))


class _Careless(Requests):
    def tell_unlogged(self, reads: Iterable[Read]) -> None:
        overdue = list(reads)
        for entry in overdue:
            if entry.call.id in self._waiting:
                self._waiting[entry.call.id].keyed = False
        super().tell_unlogged(overdue)


class AnswersKeyedReads(Decider):
    """Answers a read that the log does not take although others may ask under its key, and get another answer."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._requests = _Careless(self._standing, self._out)


class DropsCallersAtElection(Decider):
    """Forgets who waits when the leader changes."""

    def _new_reign(self, now: Now) -> None:
        self._requests._waiting.clear()
        self._requests._tickets.clear()
        self._requests._confirming.clear()
        super()._new_reign(now)


class _Blind(Requests):
    def _digest_of(self, call: Call, known: Record | None) -> str:
        return call.digest


class IgnoresArguments(Decider):
    """Answers a key with other arguments as if they were the same."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._requests = _Blind(self._standing, self._out)


class RunsStale(Decider):
    """Takes a call whose result is forgotten for a new one."""

    def step(self, given: Input, now: Now) -> list[Output]:
        if isinstance(given, Submitted):
            known = self.ledger.find(given.call.id)
            if known is not None and known.forgotten and known.digest == given.call.digest:
                given = Submitted(given.ticket, replace(given.call, id=CallId(*_other_key(given.call.id))), given.spec)
        return super().step(given, now)


def _other_key(call: CallId) -> tuple[str, str]:
    return call.caller, f"{call.key}-again"


class SaysReplayed(Decider):
    """Says of every answer that it is a replay."""

    def step(self, given: Input, now: Now) -> list[Output]:
        out = super().step(given, now)
        return [Answer(it.ticket, it.record, replayed=True) if isinstance(it, Answer) else it for it in out]
