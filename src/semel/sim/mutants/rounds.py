"""Cores that break a rule of calls in rounds."""

# ruff: noqa: D102 - the docstring of a class says which rule its override breaks

from msgspec.structs import replace

from semel.core.call import Call, Record, Status, arguments_digest
from semel.core.decider import Decider, Identity
from semel.core.ledger import DictArchive, Ledger, without_payloads
from semel.core.limits import Limits
from semel.core.message import Confirm, Confirmed, Input, Now, Output
from semel.core.requests import Requests, _Waiting
from semel.core.rounds import Obstacle, obstacle


class BeginsRoundsUnasked(Ledger):
    """Lets every round begin, whatever is known of the one before it."""

    def _may_begin(self, call: Call) -> bool:
        return True


class _Hurried(Requests):
    def _obstacle(self, waiting: _Waiting) -> Obstacle | None:
        return None


class AsksNoRoundBefore(Decider):
    """Sets every round on its way, whatever is known of the one before it."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._requests = _Hurried(self._standing, self._out)


def _as_if_asked(call: Call, last: Record | None) -> Call:
    """Return a round with the `requestState` of the one before, whichever it brings."""
    return call if last is None or last.result is None else replace(call, answers=last.result)


class BeginsWithAnyState(Ledger):
    """Lets a round begin that brings another `requestState` than it was given."""

    def _may_begin(self, call: Call) -> bool:
        return super()._may_begin(_as_if_asked(call, self.find(call.id.before)))


class _Trusting(Requests):
    def _obstacle(self, waiting: _Waiting) -> Obstacle | None:
        find = self._standing.ledger.find
        return obstacle(_as_if_asked(waiting.call, find(waiting.call.id.before)), find)


class TakesAnyState(Decider):
    """Sets a round on its way that brings another `requestState` than it was given."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._requests = _Trusting(self._standing, self._out)


class _Deaf(Requests):
    def _digest_of(self, call: Call, known: Record | None) -> str:
        digest = super()._digest_of(call, known)
        return call.digest if arguments_digest(digest) == arguments_digest(call.digest) else digest


class IgnoresAnswers(Decider):
    """Tells a client what came of a round to which somebody else gave other answers."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._requests = _Deaf(self._standing, self._out)


class RefusesRoundsFromMemory(Decider):
    """Refuses a round whose round before it has not read yet, without asking for the log's last word."""

    def step(self, given: Input, now: Now) -> list[Output]:
        out = super().step(given, now)
        for confirm in [output for output in out if isinstance(output, Confirm)]:
            if self._requests._tickets[confirm.ticket] not in self.ledger.open:
                out.remove(confirm)
                out += self.step(Confirmed(confirm.ticket, tail=0), now)
        return out


class KeepsLastRoundOnly(DictArchive):
    """Forgets how a round ended as soon as the next one has begun."""

    def keep(self, record: Record) -> None:
        super().keep(record)
        self.records.pop(record.id.before, None)


class ForgetsRoundByRound(DictArchive):
    """Forgets each round of a call when it is old enough itself, though the call goes on."""

    def forget(self, results_before_ms: int, keys_before_ms: int) -> None:
        for record in [record for record in self.records.values() if record.status is Status.INPUT_REQUIRED]:
            if record.clock_ms < keys_before_ms:
                del self.records[record.id]
            elif record.clock_ms < results_before_ms and not record.forgotten:
                self.records[record.id] = without_payloads(record)
        super().forget(results_before_ms, keys_before_ms)
