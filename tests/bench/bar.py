"""The bar: which ratios semel is to reach, and whether it does; every ratio is the median of those of the rounds."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.bench import teams
from tests.bench.contest import Contestant, cpu_us

Found = Mapping[str, Contestant]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: with whom, of what, and the ratio that is wanted."""

    against: str
    what: str
    ratio: Callable[[Found], float]
    bound: float
    at_least: bool = True
    by_cpu: Callable[[Found], float] | None = None
    """The same of the CPU that a call takes, which other programs on the machine disturb less."""

    def text(self, found: Found) -> str:
        """Return the row of the table; a peer that is missing is said to be."""
        sign = "≥" if self.at_least else "≤"
        wanted = f"{sign} {self.bound:g}"
        try:
            ratio = self.ratio(found)
        except KeyError as missing:
            return f"| {self.against} | {self.what} | {wanted} | | not measured: without {missing.args[0]} | |"
        met = ratio >= self.bound if self.at_least else ratio <= self.bound
        said = "met" if met else "**not met**"
        by_cpu = f"{self.by_cpu(found):.2f}" if self.by_cpu else ""
        return f"| {self.against} | {self.what} | {wanted} | **{ratio:.2f} times** | {said} | {by_cpu} |"


def rates(one: str, other: str, callers: int = 64) -> Callable[[Found], float]:
    """Return the ratio of two contestants' calls a second."""

    def ratio(found: Found) -> float:
        pairs = zip(found[one].windows[callers], found[other].windows[callers], strict=True)
        return statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)

    return ratio


def cpus(one: str, other: str, callers: int = 64) -> Callable[[Found], float]:
    """Return how many of one's calls the CPU of one of the other's would pay for."""
    return lambda found: cpu_us(found[other], callers) / cpu_us(found[one], callers)


def faster(against: str, what: str, one: str, other: str, bound: float) -> Row:
    """Return a row of calls a second."""
    return Row(against, what, rates(one, other), bound, by_cpu=cpus(one, other))


def above_the_fsyncs(found: Found) -> float:
    """Return semel's latency above the SDK's bare echo, in pairs of fsyncs."""
    rounds = zip(_p50s_ms(found, teams.SEMEL), _p50s_ms(found, teams.TUNED), _p50s_ms(found, teams.FSYNCS), strict=True)
    return statistics.median((semel - echo) / (2 * fsync) for semel, echo, fsync in rounds)


def above_the_appends(found: Found) -> float:
    """Return semel's latency through a follower, in times of two appends and the SDK's bare echo."""
    several = (_p50s_ms(found, name) for name in (teams.SEMEL_3, teams.TUNED, teams.APPENDS))
    return statistics.median(semel / (2 * append + echo) for semel, echo, append in zip(*several, strict=True))


def _p50s_ms(found: Found, name: str) -> list[float]:
    return [statistics.median(window.latencies_ms) for window in found[name].windows[1]]


RATE, LATENCY = "calls/s, 64 callers", "p50, one caller"
THROUGH = f"{RATE}, through a follower"
ROWS_ONE = (
    faster("the SDK's low-level server, tuned, no promises", RATE, teams.SEMEL, teams.TUNED, 1.5),
    faster("FastMCP's server, no promises", RATE, teams.SEMEL, teams.FAST, 6),
    faster("Restate, one node, a journaled step", RATE, teams.SEMEL, teams.RESTATE, 6),
    faster("DBOS on PostgreSQL, with a step", RATE, teams.SEMEL, teams.DBOS_STEP, 20),
    Row("two bare fsyncs", f"{LATENCY}, above the tuned SDK's", above_the_fsyncs, 2.5, at_least=False),
)
ROWS_THREE = (
    faster("Restate, three nodes", THROUGH, teams.SEMEL_3, teams.RESTATE_3, 4),
    faster("`ra`, three VMs, bare commands", THROUGH, teams.SEMEL_API, teams.RA_3, 0.5),
    Row(
        "two bare appends to etcd and the tuned SDK's echo",
        f"{LATENCY}, through a follower",
        above_the_appends,
        1.6,
        at_least=False,
    ),
)


def table(one: Found, three: Found) -> str:
    """Return the table of all rows."""
    lines = ["| semel against | of what | wanted | measured | | by CPU a call |", "|---|---|---|---|---|---|"]
    lines += [row.text(one) for row in ROWS_ONE]
    lines += [row.text(three) for row in ROWS_THREE]
    return "\n".join(lines)
