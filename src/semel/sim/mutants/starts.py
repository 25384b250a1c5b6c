"""Cores that break a rule of when a tool may start."""

# ruff: noqa: D102 - the docstring of a class says which rule its override breaks

from collections.abc import Iterator

from msgspec.structs import replace

from semel.core.call import CallId, Effect, Record, Status
from semel.core.decider import Decider, Identity
from semel.core.entry import Entry, Intent
from semel.core.ledger import Ledger
from semel.core.limits import Limits
from semel.core.message import (
    Append,
    Appended,
    Input,
    Now,
    Output,
    Reconciled,
    Ticked,
)
from semel.core.requests import Requests
from semel.core.runs import Runs


class ActsOnHope(Decider):
    """Folds what it proposes at once, without waiting for the log."""

    def step(self, given: Input, now: Now) -> list[Output]:
        if isinstance(given, Appended):
            return []
        out = super().step(given, now)
        for append in [output for output in out if isinstance(output, Append)]:
            out += self.step_hoping(append, now)
        return out

    def step_hoping(self, append: Append, now: Now) -> list[Output]:
        out = super().step(Appended(append.after, committed=True), now)
        for further in [output for output in out if isinstance(output, Append)]:
            out += self.step_hoping(further, now)
        return out


class StartsDeposed(Decider):
    """Starts a tool whose intent it reads, though it has read as well that its reign is over."""

    def _react(self, record: Record, now: Now) -> None:
        if record.status is Status.RUNNING and record.executor == self.identity.node and not self.leads:
            self._runs.begin(record)
        else:
            super()._react(record, now)


class AttemptsOnceAgain(Decider):
    """Runs a once call again after a takeover, as if it were repeatable."""

    def _ask_hooks(self, now: Now) -> None:
        pass

    def _attempts(self, now: Now) -> Iterator[Entry]:
        yield from super()._attempts(now)
        for record in self._owed(once=True):
            if self._presence.gone(record.executor, now.s):
                yield self._intent(record.call, record.spec, record.attempt + 1, now)


class TakesIgnoranceForNo(Decider):
    """Takes a hook that does not know for one that says that the tool did not act, and runs the call again."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._free: set[int] = set()

    def step(self, given: Input, now: Now) -> list[Output]:
        if isinstance(given, Reconciled) and given.result is None and given.reason and self.leads:
            self._runs._asking.pop(given.intent)
            self._free.add(given.intent)
            given = Ticked()
        return super().step(given, now)

    def _attempts(self, now: Now) -> Iterator[Entry]:
        yield from super()._attempts(now)
        for record in self.ledger.open.values():
            if record.intents[-1] in self._free:
                yield self._intent(record.call, record.spec, record.attempt + 1, now)


class BeginsOnceAgain(Ledger):
    """Lets a second intent of a once call count."""

    def _begin(self, position: int, entry: Intent) -> Record | None:
        known = self.open.get(entry.call.id)
        if known is None or known.effect is not Effect.ONCE:
            return super()._begin(position, entry)
        self.open[entry.call.id] = replace(known, effect=Effect.REPEATABLE)
        record = super()._begin(position, entry)
        return self._keep(replace(record or known, effect=Effect.ONCE))


class NeverAttemptsAgain(Decider):
    """Leaves the repeatable calls of a dead leader as they are."""

    def _attempts(self, now: Now) -> Iterator[Entry]:
        return iter(())


class _WithoutLanes(Requests):
    def _lane_of(self, call: CallId) -> str | None:
        return None


class OverlapsLanes(Decider):
    """Does not wait for a lane to be free."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._requests = _WithoutLanes(self._standing, self._out)


class _Boundless(Runs):
    @property
    def room(self) -> int:
        return 100


class RunsTooMany(Decider):
    """Knows no limit of tools at once."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        super().__init__(identity, ledger, limits)
        self._runs = _Boundless(identity.node, self.limits, self._out)
