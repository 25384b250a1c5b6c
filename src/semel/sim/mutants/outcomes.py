"""Cores that break a rule of outcomes and doubts."""

# ruff: noqa: D102 - the docstring of a class says which rule its override breaks

from collections.abc import Iterator

from msgspec.structs import replace

from semel.core.call import Record, Status
from semel.core.decider import Decider
from semel.core.entry import Doubted, Entry, Outcome
from semel.core.ledger import DictArchive, Ledger
from semel.core.message import (
    Now,
)
from semel.core.refusals import said


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


class GuessesFailure(Decider):
    """Says that a call failed whose executor was lost, instead of that nobody knows."""

    def _attempts(self, now: Now) -> Iterator[Entry]:
        for entry in super()._attempts(now):
            if isinstance(entry, Doubted):
                yield Outcome(
                    intent=entry.intent,
                    status=Status.ERROR,
                    result=said("the tool failed"),
                    executor=self.identity.node,
                    duration_ms=0.0,
                    at_ms=now.ms,
                )
            else:
                yield entry


class GuessesNothing(Decider):
    """Waits for ever for the outcome of a call whose executor is gone, and never says that it is in doubt."""

    def _attempts(self, now: Now) -> Iterator[Entry]:
        return (entry for entry in super()._attempts(now) if not isinstance(entry, Doubted))


class DropsFactsOfDeposed(Decider):
    """Writes outcomes only as the leader."""

    def _batch(self, now: Now) -> tuple[Entry, ...]:
        entries = super()._batch(now)
        return entries if self.leads else tuple(entry for entry in entries if not isinstance(entry, Outcome))
