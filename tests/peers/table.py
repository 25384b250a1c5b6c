"""The table of `docs/GUARANTEES.md`: verdicts in, Markdown out. Pure but for `write`."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.peers.judge import Verdict

BEGIN, END = "<!-- peers -->", "<!-- /peers -->"
NUMBERS = {0: "none", 1: "one", 2: "two", 3: "three", 4: "four"}
WORDS_MAX = 120
HEADINGS = (
    "system",
    "killed",
    "in flight at a kill",
    "effects per call: calls",
    "in doubt, and how that was said",
    "other errors",
    "never answered",
    "lost",
    "new call begun after",
    "last call answered after",
    "same key, other arguments",
)


@dataclass(frozen=True)
class Row:
    """One system in one setting, and what came of it: a verdict, or the reason why there is none."""

    title: str
    killed: str
    pattern: str
    version: str
    verdict: Verdict | None
    reason: str = ""


def cells(row: Row) -> list[str]:
    """Return a row's cells, in the order of HEADINGS."""
    verdict = row.verdict
    if verdict is None:
        return [row.title, row.killed, f"not run: {row.reason}", *[""] * (len(HEADINGS) - 3)]
    where = "" if verdict.cut_off is None else f", {verdict.cut_off} of them in what was killed"
    doubt = f"{verdict.in_doubt}: “{_short(verdict.words)}”" if verdict.in_doubt else "0"
    effects = " · ".join(_effects(times, calls) for times, calls in verdict.effects.items())
    second = ", ".join(
        f"{kind.value} ({times} of {sum(verdict.seconds.values())})" for kind, times in verdict.seconds.items()
    )
    numbers = [verdict.failed, verdict.unanswered, verdict.lost]
    times = [_span(verdict.served_s), _span(verdict.settled_s)]
    return [
        row.title,
        row.killed,
        f"{verdict.in_flight} of {verdict.calls}{where}",
        effects,
        doubt,
        *map(str, numbers),
        *times,
        second,
    ]


def _short(words: str) -> str:
    """Return what fits into a cell."""
    line = " ".join(words.replace("|", "/").split())
    return line if len(line) <= WORDS_MAX else f"{line[:WORDS_MAX]} …"


def _effects(times: int, calls: int) -> str:
    said = f"{NUMBERS.get(times, times)}: {calls}"
    return f"**{said}**" if times > 1 else said


def _span(seconds: Sequence[float | None]) -> str:
    """Return the median and the most of what was measured, and how often it never came."""
    measured = [value for value in seconds if value is not None]
    never = f"never in {len(seconds) - len(measured)} of {len(seconds)}" if len(measured) < len(seconds) else ""
    if not measured:
        return never
    return f"{statistics.median(measured):.1f} s (at most {max(measured):.1f})" + (f", {never}" if never else "")


def markdown(rows: Sequence[Row], conditions: str) -> str:
    """Return what the measurement gives; the paragraph on fairness is written by hand, and comes after it."""
    lines = [conditions, "", "| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    versions = dict.fromkeys(row.version for row in rows if row.version)
    patterns = dict.fromkeys(row.pattern for row in rows)
    lines += ["", f"Versions: {'; '.join(versions)}.", "", "What was used for *once*, as each documents it:", ""]
    return "\n".join([*lines, *(f"- {pattern}" for pattern in patterns)])


def write(path: Path, text: str) -> None:
    """Put a text between the markers of a file, or at its end if it has none."""
    old = path.read_text() if path.exists() else "# Guarantees\n"
    if BEGIN not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, rest = old.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}")
