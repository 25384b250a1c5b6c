"""What is said of a seed that failed, and of many that ran."""

from collections import Counter
from dataclasses import dataclass, field

from semel.sim.climate import Fault
from semel.sim.judge import judge
from semel.sim.world import Run, simulate

BREACHES_MAX = 10
"""More breaches than this say no more of what went wrong."""


def failure(run: Run, found: list[str]) -> str:
    """Return the breaches of a seed, and the one command that replays it."""
    lines = [f"seed {run.seed}: {text}" for text in found[:BREACHES_MAX]]
    if len(found) > BREACHES_MAX:
        lines.append(f"seed {run.seed}: and {len(found) - BREACHES_MAX} more")
    return "\n".join([*lines, f"replay: python -m semel.sim --seed {run.seed} --trace"])


def traced(seed: int) -> str:
    """Return who did what at which position under a seed, line by line, and what the judge says of it."""
    run = simulate(seed, tracing=True)
    found = judge(run)
    size = f"{len(run.entries)} entries, {len(run.history.asked)} requests, {len(run.history.starts)} starts of tools"
    return "\n".join([*run.history.trace, failure(run, found) if found else f"seed {seed}: no breach", size])


@dataclass(slots=True)
class Tally:
    """What many seeds add up to."""

    struck: Counter[Fault] = field(default_factory=Counter)
    seeds: int = 0
    failed: int = 0
    calls: int = 0
    requests: int = 0
    starts: int = 0
    rounds: int = 0
    """Of the starts, those of a round after the first."""
    in_doubt: int = 0

    def add(self, run: Run, *, failed: bool) -> None:
        """Count one run."""
        self.seeds += 1
        self.failed += failed
        self.struck.update(run.struck)
        self.calls += len({(asked.call.id.caller, asked.call.id.key) for asked in run.history.asked})
        self.rounds += sum(start.call.id.round > 1 for start in run.history.starts)
        self.requests += len(run.history.asked)
        self.starts += len(run.history.starts)
        self.in_doubt += len(
            {asked.call.id for asked in run.history.asked if asked.answer is not None and not asked.answer.status.final}
        )

    def text(self, took_s: float) -> str:
        """Return the faults by kind, the sizes and the rate."""
        faults = [f"  {times:11,}  {fault}" for fault, times in self.struck.most_common()]
        return "\n".join(
            [
                "faults injected:",
                *faults,
                f"{self.seeds:,} seeds in {took_s:.1f} s ({self.seeds / took_s:.0f} a second): {self.calls:,} calls in "
                f"{self.requests:,} requests, {self.starts:,} starts of tools ({self.rounds:,} in later rounds), "
                f"{self.in_doubt:,} calls said to be in doubt; {self.failed} seeds failed",
            ]
        )
