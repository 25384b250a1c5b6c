"""All mutants by name, each named by what it does wrong, and the hunt for the seed that catches one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from semel.core.decider import Decider
from semel.core.ledger import DictArchive, Ledger
from semel.sim.judge import judge
from semel.sim.mutants.answers import (
    AnswersBeforeDurable,
    AnswersKeyedReads,
    DropsCallersAtElection,
    IgnoresArguments,
    RunsStale,
    SaysReplayed,
)
from semel.sim.mutants.mistakes import (
    DeposesTheElected,
    DoubtsFromMemory,
    ForgetsCommittedUnread,
    FreesLanesEarly,
    RefusesWhatItProposed,
    SpeaksForOthers,
    TakesEchoes,
    TakesItselfForAtWork,
)
from semel.sim.mutants.outcomes import (
    AsksTwice,
    DoubtStands,
    DoubtsUnasked,
    DropsFactsOfDeposed,
    GuessesFailure,
    GuessesNothing,
    LastOutcomeStands,
    TakesIgnoranceForYes,
)
from semel.sim.mutants.replicas import (
    DisownsRunsAtSnapshot,
    DropsCallersAtSnapshot,
    ForgetsAtSnapshot,
    ForgetsByItself,
    ForgetsOpenCalls,
    LosesOpenCallsAtSnapshot,
)
from semel.sim.mutants.rounds import (
    AsksNoRoundBefore,
    BeginsRoundsUnasked,
    BeginsWithAnyState,
    ForgetsRoundByRound,
    IgnoresAnswers,
    KeepsLastRoundOnly,
    RefusesRoundsFromMemory,
    TakesAnyState,
)
from semel.sim.mutants.starts import (
    ActsOnHope,
    AttemptsOnceAgain,
    BeginsOnceAgain,
    NeverAttemptsAgain,
    OverlapsLanes,
    RunsTooMany,
    StartsDeposed,
    TakesIgnoranceForNo,
)
from semel.sim.surroundings import Core
from semel.sim.world import simulate

SEEDS_MAX = 10_000
"""A mutant that lives longer than this has survived."""


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
    Mutant("says in doubt without asking the hook", _of(DoubtsUnasked)),
    Mutant("takes a hook that does not know for a no, and runs again", _of(TakesIgnoranceForNo, BeginsOnceAgain)),
    Mutant("takes a hook that does not know for a yes", _of(TakesIgnoranceForYes)),
    Mutant("asks a hook twice", _of(AsksTwice)),
    Mutant("writes outcomes only while it leads", _of(DropsFactsOfDeposed)),
    Mutant("answers before the outcome is durable", _of(AnswersBeforeDurable)),
    Mutant("answers a read without the log although others may ask", _of(AnswersKeyedReads)),
    Mutant("drops waiting callers at a change of term", _of(DropsCallersAtElection)),
    Mutant("answers a reused key with the other call's outcome", _of(IgnoresArguments)),
    Mutant("runs a stale key again under another name", _of(RunsStale)),
    Mutant("says replayed of every answer", _of(SaysReplayed)),
    Mutant("forgets dedupe at a snapshot", _of(ledger=ForgetsAtSnapshot)),
    Mutant("loses open calls at a snapshot", _of(ledger=LosesOpenCallsAtSnapshot)),
    Mutant("takes its runs for never begun at a peer's snapshot", _of(DisownsRunsAtSnapshot)),
    Mutant("drops waiting callers at a peer's snapshot", _of(DropsCallersAtSnapshot)),
    Mutant("forgets by a node's own clock", _of(archive=ForgetsByItself)),
    Mutant("forgets calls that are open", _of(archive=ForgetsOpenCalls)),
    Mutant("loses sight of a committed append that is not read back", _of(ForgetsCommittedUnread)),
    Mutant("takes a refused forward when it comes once more", _of(TakesEchoes)),
    Mutant("refuses a call that it has proposed", _of(RefusesWhatItProposed)),
    Mutant("lets one leader's refusal speak for another leader", _of(SpeaksForOthers)),
    Mutant("says in doubt without asking for the last word", _of(DoubtsFromMemory)),
    Mutant("deposes a leader that was elected after its connection broke", _of(DeposesTheElected)),
    Mutant("takes for attended what it has itself lost", _of(TakesItselfForAtWork)),
    Mutant("frees a lane while its tool still runs", _of(FreesLanesEarly)),
    Mutant("begins a round that none before it asked for", _of(AsksNoRoundBefore, BeginsRoundsUnasked)),
    Mutant("takes any requestState", _of(TakesAnyState, BeginsWithAnyState)),
    Mutant("answers a round with the outcome of other answers", _of(IgnoresAnswers)),
    Mutant("refuses a round without asking for the last word", _of(RefusesRoundsFromMemory)),
    Mutant("begins a round again when the next one has begun", _of(archive=KeepsLastRoundOnly)),
    Mutant("forgets the rounds of a call one by one", _of(archive=ForgetsRoundByRound)),
)


def hunt(mutant: Mutant, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Return the first seed that catches a mutant, and what the judge says; None if it survives."""
    for seed in seeds:
        found = judge(simulate(seed, mutant.core))
        if found:
            return seed, found[0]
    return None
