"""Cores that break a rule of outcomes and doubts."""

# ruff: noqa: D102 - the docstring of a class says which rule its override breaks

import msgspec
from msgspec.structs import replace

from semel.core.call import Record, Status
from semel.core.decider import Decider, Identity
from semel.core.entry import Entry, Outcome
from semel.core.ledger import DictArchive, Ledger
from semel.core.limits import Limits
from semel.core.message import Ended, Now, Reconcile, Reconciled
from semel.core.refusals import said
from semel.core.runs import Runs


class LastOutcomeStands(Ledger):
    """Takes the last outcome of a call instead of the first."""

    def apply(self, position: int, entry: Entry) -> Record | None:
        changed = super().apply(position, entry)
        if isinstance(entry, Outcome) and changed is None and isinstance(self._archive, DictArchive):
            for record in self._archive.records.values():
                if entry.intent in record.intents:
                    changed = replace(record, position=position, status=entry.status, result=entry.result)
            if changed is not None:
                self._archive.keep(changed)
        return changed


class DoubtStands(Ledger):
    """Takes doubt for an outcome: a late outcome does not settle it."""

    def _settle(self, position: int, entry: Outcome) -> Record | None:
        call = self._by_intent.get(entry.intent)
        if call is not None and self.open[call].status is Status.IN_DOUBT:
            return None
        return super()._settle(position, entry)


class _Guessing(Runs):
    def reconcile(self, given: Reconciled, now: Now) -> None:
        if given.result is None:
            del self._asking[given.intent]
            self._state_outcome(given.intent, Ended(0, Status.ERROR, said("the tool failed"), 0.0), now)
        else:
            super().reconcile(given, now)


class GuessesFailure(Decider):
    """Says that a call failed whose executor was lost, instead of that nobody knows."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._runs = _Guessing(identity.node, self.limits, self._out)


class _Silent(Runs):
    def reconcile(self, given: Reconciled, now: Now) -> None:
        super().reconcile(given, now)
        self._facts.pop(("doubt", given.intent), None)


class GuessesNothing(Decider):
    """Waits for ever for the outcome of a call whose executor is gone, and never says that it is in doubt."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._runs = _Silent(identity.node, self.limits, self._out)


class _Incurious(Runs):
    def _ask(self, question: Reconcile, lost: str) -> None:
        super()._ask(question, lost)
        self._out.remove(question)
        self.reconcile(Reconciled(question.intent, None), Now(0.0, 0))


class DoubtsUnasked(Decider):
    """Says that a call is in doubt without asking the tool's hook."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._runs = _Incurious(identity.node, self.limits, self._out)


class _Hopeful(Runs):
    def reconcile(self, given: Reconciled, now: Now) -> None:
        hoped = msgspec.Raw(b'{"start":0}') if given.result is None and given.reason else given.result
        super().reconcile(Reconciled(given.intent, hoped, given.reason), now)


class TakesIgnoranceForYes(Decider):
    """Takes a hook that does not know for one that says that the tool acted."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._runs = _Hopeful(identity.node, self.limits, self._out)


class _Forgetful(Runs):
    def attends(self, record: Record) -> bool:
        asking, self._asking = self._asking, {}
        attended = super().attends(record)
        self._asking = asking
        return attended

    def _ask(self, question: Reconcile, lost: str) -> None:
        self._asking.pop(question.intent, None)
        super()._ask(question, lost)

    def reconcile(self, given: Reconciled, now: Now) -> None:
        self._asking.setdefault(given.intent, "lost")
        super().reconcile(given, now)


class AsksTwice(Decider):
    """Asks a hook again, when it leads again, that has not answered yet."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._runs = _Forgetful(identity.node, self.limits, self._out)


class DropsFactsOfDeposed(Decider):
    """Writes outcomes only as the leader."""

    def _batch(self, now: Now) -> tuple[Entry, ...]:
        entries = super()._batch(now)
        return entries if self.leads else tuple(entry for entry in entries if not isinstance(entry, Outcome))
