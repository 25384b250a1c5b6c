"""Cores that break a rule of snapshots and of forgetting."""

# ruff: noqa: D102 - the docstring of a class says which rule its override breaks

from collections.abc import Iterator
from itertools import count
from typing import ClassVar

from semel.core.decider import Decider
from semel.core.ledger import Archive, DictArchive, Ledger, Totals
from semel.core.message import Input, Installed, Now, Output


class ForgetsAtSnapshot(Ledger):
    """Starts from a snapshot without the calls that have ended, so that it does not know them again."""

    def __init__(self, archive: Archive, totals: Totals | None = None) -> None:
        if isinstance(archive, DictArchive):
            archive.records = {call: record for call, record in archive.records.items() if not record.status.final}
        super().__init__(archive, totals)


class LosesOpenCallsAtSnapshot(Ledger):
    """Starts from a snapshot without the calls that are open."""

    def __init__(self, archive: Archive, totals: Totals | None = None) -> None:
        super().__init__(archive, totals)
        self.open.clear()
        self._by_intent.clear()


class ForgetsByItself(DictArchive):
    """Forgets by a clock of its own, and not by the time in the log."""

    _skews_ms: ClassVar[Iterator[int]] = count(0, 700)

    def __init__(self) -> None:
        super().__init__()
        self._skew_ms = next(self._skews_ms) % 4900

    def forget(self, results_before_ms: int, keys_before_ms: int) -> None:
        super().forget(results_before_ms + self._skew_ms, keys_before_ms)


class ForgetsOpenCalls(DictArchive):
    """Forgets calls that have no outcome yet, too."""

    def forget(self, results_before_ms: int, keys_before_ms: int) -> None:
        super().forget(results_before_ms, keys_before_ms)
        for record in list(self.records.values()):
            if record.timestamp_ms < results_before_ms and not record.status.final:
                del self.records[record.id]


class DisownsRunsAtSnapshot(Decider):
    """Takes what a peer's snapshot says that it runs for never begun."""

    def step(self, given: Input, now: Now) -> list[Output]:
        if isinstance(given, Installed):
            self._runs.attends = lambda record: False  # type: ignore[method-assign]  # a broken core, for one step
        try:
            return super().step(given, now)
        finally:
            self._runs.__dict__.pop("attends", None)


class DropsCallersAtSnapshot(Decider):
    """Does not look whether those who wait are answered by a peer's snapshot."""

    def step(self, given: Input, now: Now) -> list[Output]:
        if isinstance(given, Installed):
            self._requests.settle_known = lambda: None  # type: ignore[method-assign]  # a broken core, for one step
        try:
            return super().step(given, now)
        finally:
            self._requests.__dict__.pop("settle_known", None)
