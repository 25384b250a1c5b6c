"""The judge: what the tools really did against what the callers were told. Pure; it knows no peer by name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tests.peers.peer import Answer


@dataclass(frozen=True)
class Effect:
    """A line that the tool left, outside the system that ran it."""

    key: str
    amount: int
    process: int  # the process group that ran it
    at_s: float

    @classmethod
    def parse(cls, line: str) -> "Effect":
        key, amount, process, at_s = line.split()
        return cls(key, int(amount), int(process), float(at_s))


@dataclass(frozen=True)
class Told:
    """What a caller was told, and when."""

    answer: Answer
    at_s: float


@dataclass(frozen=True)
class Round:
    """One kill: the calls that were made before it, and when a call made after it was begun."""

    keys: tuple[str, ...]
    killed_s: float
    killed: int | None  # the process group, if it ran tools itself
    served_s: float | None


class Second(Enum):
    """What a second request with the same key and other arguments got."""

    REFUSED = "refused"
    FIRST_ANSWER = "the first answer, unsaid"
    RAN = "ran again"
    NOTHING = "no answer"


@dataclass(frozen=True)
class Verdict:
    """One row of the table; the times are in seconds from a kill."""

    calls: int
    kills: int
    in_flight: int  # begun and unanswered at a kill
    cut_off: int | None  # of those, the ones whose tool ran in what was killed
    effects: Mapping[int, int]  # calls by how often the tool acted
    in_doubt: int
    words: str  # in which the first doubt was said
    unanswered: int
    lost: int  # the tool never acted, and the caller was told nothing, or ok
    failed: int  # told an error that does not say doubt
    served_s: tuple[float | None, ...]
    settled_s: tuple[float | None, ...]
    seconds: Mapping[Second, int]

    @property
    def repeated(self) -> int:
        return sum(calls for times, calls in self.effects.items() if times > 1)


def second_of(first: Answer, again: Answer | None, *, ran: bool) -> Second:
    """Name what a second request with other arguments got."""
    if ran:
        return Second.RAN
    if again is None:
        return Second.NOTHING
    return Second.FIRST_ANSWER if again == first else Second.REFUSED


def judge(
    rounds: Sequence[Round], effects: Sequence[Effect], told: Mapping[str, Told], seconds: Sequence[Second], amount: int
) -> Verdict:
    """Compare effects and answers; effects with another amount belong to the second requests."""
    keys = [key for one in rounds for key in one.keys]
    acted = Counter(effect.key for effect in effects if effect.amount == amount)
    in_flight = [key for one in rounds for key in _in_flight(one, effects, told)]
    cut_off = [key for one in rounds if one.killed for key in _in_flight(one, effects, told, within=one.killed)]
    outcomes = Counter(told[key].answer.outcome for key in keys if key in told)
    return Verdict(
        calls=len(keys),
        kills=len(rounds),
        in_flight=len(in_flight),
        cut_off=len(cut_off) if any(one.killed for one in rounds) else None,
        effects=dict(sorted(Counter(acted[key] for key in keys).items())),
        in_doubt=outcomes["in_doubt"],
        words=next((_words(key, told[key]) for key in keys if key in told and _doubts(told[key])), ""),
        unanswered=sum(key not in told for key in keys),
        lost=sum(not acted[key] and (key not in told or told[key].answer.outcome == "ok") for key in keys),
        failed=outcomes["failed"] + outcomes["refused"],
        served_s=tuple(one.served_s for one in rounds),
        settled_s=tuple(_settled(one, told) for one in rounds),
        seconds=Counter(seconds),
    )


def _in_flight(one: Round, effects: Sequence[Effect], told: Mapping[str, Told], within: int | None = None) -> set[str]:
    begun = {
        effect.key
        for effect in effects
        if effect.key in one.keys and effect.at_s < one.killed_s and within in (None, effect.process)
    }
    return {key for key in begun if key not in told or told[key].at_s > one.killed_s}


def _doubts(told: Told) -> bool:
    return told.answer.outcome == "in_doubt"


def _words(key: str, told: Told) -> str:
    """Return what was said, less the call's own key."""
    return told.answer.text.replace(key, "KEY")


def _settled(one: Round, told: Mapping[str, Told]) -> float | None:
    """Return when the last of the round's calls was answered, or None if one never was."""
    if any(key not in told for key in one.keys):
        return None
    return max(told[key].at_s for key in one.keys) - one.killed_s
