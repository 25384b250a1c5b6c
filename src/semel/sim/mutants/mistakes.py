"""Cores with the mistakes that the real one had, until the simulator found them."""

# ruff: noqa: D102 - the docstring of a class says which rule its override breaks

from collections.abc import Collection

from semel.core.call import CallId, NodeId, Record
from semel.core.decider import Decider, Identity
from semel.core.ledger import Ledger
from semel.core.limits import Limits
from semel.core.message import (
    Appended,
    Confirm,
    Confirmed,
    Forward,
    Input,
    Now,
    Output,
    Received,
    Refuse,
)
from semel.core.runs import Runs


class ForgetsCommittedUnread(Decider):
    """Loses sight of an append that is committed and not read back yet."""

    def _appended(self, given: Appended, now: Now) -> None:
        super()._appended(given, now)
        if given.committed and self._proposal is not None:
            self._fence = max(self._fence, self._proposal.last)
            self._proposal = None


class TakesEchoes(Decider):
    """Takes a forward again that it had refused before."""

    def step(self, given: Input, now: Now) -> list[Output]:
        if isinstance(given, Received) and isinstance(given.message, Forward):
            self._requests._heard.clear()
        return super().step(given, now)


class RefusesWhatItProposed(Decider):
    """Refuses a forwarded call although its intent is on its way into the log."""

    @property
    def _proposed(self) -> Collection[CallId]:
        return ()


class SpeaksForOthers(Decider):
    """Passes one leader's refusal on for a call that another leader has too."""

    def step(self, given: Input, now: Now) -> list[Output]:
        if isinstance(given, Received) and isinstance(given.message, Refuse):
            waiting = self._requests._waiting.get(given.message.id)
            if waiting is not None:
                waiting.forwarded_to = {given.sender}
        return super().step(given, now)


class DoubtsFromMemory(Decider):
    """Says that a call is in doubt without asking for the log's last word."""

    def step(self, given: Input, now: Now) -> list[Output]:
        out = super().step(given, now)
        for confirm in [output for output in out if isinstance(output, Confirm)]:
            if self._requests._tickets[confirm.ticket] not in self.ledger.open:
                continue  # a round that waits for the one before: see `RefusesRoundsFromMemory`
            out.remove(confirm)
            out += self.step(Confirmed(confirm.ticket, tail=0), now)
        return out


class DeposesTheElected(Decider):
    """Holds a lost connection against a leader that has been elected since."""

    def _new_reign(self, now: Now) -> None:
        leader = self.ledger.leader
        if leader is not None and leader.node in self._once_lost:
            self._presence.lost(leader.node)
        super()._new_reign(now)

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._once_lost: set[NodeId] = set()

    def step(self, given: Input, now: Now) -> list[Output]:
        self._once_lost |= self._presence._lost
        return super().step(given, now)


class _Attended(Runs):
    def attends(self, record: Record) -> bool:
        return record.executor == self._me or super().attends(record)


class TakesItselfForAtWork(Decider):
    """Does not begin again what it has itself lost, or never begun, in an earlier reign."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._runs = _Attended(identity.node, self.limits, self._out)


class _Tidy(Runs):
    @property
    def lanes(self) -> set[str]:
        return set()


class FreesLanesEarly(Decider):
    """Lets the next call into a lane as soon as the last has its outcome, though its tool still runs here."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._runs = _Tidy(identity.node, self.limits, self._out)
