"""Broken cores, each with one rule taken away: the judge must find every one, or it is blind there.

`python -m semel.sim.mutants` prints the seed that caught each, and fails if one survives `SEEDS_MAX` seeds. A mutant is
named by what it does wrong. Those that come last were real mistakes of the core, which the simulator found.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from msgspec.structs import replace

from semel.core.call import Call, CallId, Effect, NodeId, Record, Spec, Status
from semel.core.decider import Decider, Identity
from semel.core.entry import Doubted, Elected, Entry, Intent, Outcome, Resigned
from semel.core.ledger import Archive, DictArchive, Ledger, Totals
from semel.core.limits import Limits
from semel.core.message import Answer, Append, Appended, Confirm, Confirmed, Ended, Forward, Input, Lost, Now, Output
from semel.core.message import Received, Refuse, Submitted
from semel.core.refusals import said
from semel.core.requests import Requests
from semel.core.runs import Runs
from semel.sim.judge import judge
from semel.sim.surroundings import Core
from semel.sim.world import simulate

SEEDS_MAX = 3000
"""A mutant that lives longer than this has survived."""


# Intents and starts.


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

    def _attempts(self, now: Now) -> Iterator[Entry]:
        for entry in super()._attempts(now):
            if isinstance(entry, Doubted):
                call = next(record for record in self.ledger.open.values() if record.intents[-1] == entry.intent)
                yield self._intent(call.call, call.spec, call.attempt + 1, now)
            else:
                yield entry


class BeginsOnceAgain(Ledger):
    """Lets a second intent of a once call count."""

    def _begin(self, position: int, entry: Intent) -> Record | None:
        known = self.open.get(entry.call.id)
        if known is None or known.effect is not Effect.ONCE:
            return super()._begin(position, entry)
        self.open[entry.call.id] = replace(known, effect=Effect.REPEATABLE)
        record = super()._begin(position, entry)
        return self._hold(replace(record or known, effect=Effect.ONCE))


class NeverAttemptsAgain(Decider):
    """Leaves the repeatable calls of a dead leader as they are."""

    def _attempts(self, now: Now) -> Iterator[Entry]:
        return (entry for entry in super()._attempts(now) if isinstance(entry, Doubted))


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


# Outcomes and doubts.


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


# Answers.


class AnswersBeforeDurable(Decider):
    """Tells the outcome when the tool ends, before it is in the log."""

    def _end(self, given: Ended | Lost, now: Now) -> None:
        running = self._runs._running[given.run]
        record = self.ledger.open.get(running.call.id)
        super()._end(given, now)
        if record is not None and isinstance(given, Ended):
            position = self.ledger.position + 1
            self._requests.settle(replace(record, position=position, status=given.status, result=given.result))


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


# The replica.


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


# Mistakes that were made.


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
        return record.executor == self._me


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


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken core, by the rule that it breaks."""

    name: str
    core: Core


def _of(
    decider: type[Decider] = Decider, ledger: type[Ledger] = Ledger, archive: Callable[[], DictArchive] = DictArchive
) -> Core:
    return Core(decider, ledger, archive)


MUTANTS = (
    Mutant("runs a tool before its intent is committed", _of(ActsOnHope)),
    Mutant("lets a deposed leader start tools", _of(StartsDeposed)),
    Mutant("runs once calls again at a takeover", _of(AttemptsOnceAgain, BeginsOnceAgain)),
    Mutant("does not attempt repeatable calls again at a takeover", _of(NeverAttemptsAgain)),
    Mutant("lets the calls of a lane overlap", _of(OverlapsLanes)),
    Mutant("runs more tools at once than it may", _of(RunsTooMany)),
    Mutant("takes the last outcome instead of the first", _of(ledger=LastOutcomeStands)),
    Mutant("takes doubt for an outcome", _of(ledger=DoubtStands)),
    Mutant("settles a doubt by guessing", _of(GuessesFailure)),
    Mutant("never says in doubt", _of(GuessesNothing)),
    Mutant("writes outcomes only while it leads", _of(DropsFactsOfDeposed)),
    Mutant("answers before the outcome is durable", _of(AnswersBeforeDurable)),
    Mutant("drops waiting callers at a change of term", _of(DropsCallersAtElection)),
    Mutant("answers a reused key with the other call's outcome", _of(IgnoresArguments)),
    Mutant("runs a stale key again under another name", _of(RunsStale)),
    Mutant("says replayed of every answer", _of(SaysReplayed)),
    Mutant("forgets dedupe at a snapshot", _of(ledger=ForgetsAtSnapshot)),
    Mutant("loses open calls at a snapshot", _of(ledger=LosesOpenCallsAtSnapshot)),
    Mutant("forgets by a node's own clock", _of(archive=ForgetsByItself)),
    Mutant("forgets calls that are open", _of(archive=ForgetsOpenCalls)),
    Mutant("loses sight of a committed append that is not read back", _of(ForgetsCommittedUnread)),
    Mutant("takes a refused forward when it comes once more", _of(TakesEchoes)),
    Mutant("lets one leader's refusal speak for another leader", _of(SpeaksForOthers)),
    Mutant("says in doubt without asking for the last word", _of(DoubtsFromMemory)),
    Mutant("deposes a leader that was elected after its connection broke", _of(DeposesTheElected)),
    Mutant("takes for attended what it has itself lost", _of(TakesItselfForAtWork)),
    Mutant("frees a lane while its tool still runs", _of(FreesLanesEarly)),
)


def hunt(mutant: Mutant, seeds: range) -> tuple[int, str] | None:
    """Return the first seed that catches a mutant, and what the judge says; None if it survives."""
    for seed in seeds:
        found = judge(simulate(seed, mutant.core))
        if found:
            return seed, found[0]
    return None


def main() -> int:
    """Hunt every mutant, and say which seed caught it."""
    parser = argparse.ArgumentParser(prog="python -m semel.sim.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="how many seeds a mutant must not survive")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    options = parser.parse_args()
    survivors = 0
    for mutant in MUTANTS:
        caught = hunt(mutant, range(options.first, options.first + options.seeds))
        survivors += caught is None
        text = "SURVIVED" if caught is None else f"seed {caught[0]}: {caught[1][:150]}"
        print(f"{mutant.name:<62} {text}", flush=True)
    print(f"{len(MUTANTS)} mutants, {survivors} survived {options.seeds:,} seeds")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
