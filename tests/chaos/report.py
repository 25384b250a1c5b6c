"""What a run came to, on a page: conditions, calls, harm, service, doubts with their reasons, and breaches."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from semel.core.call import Effect, Status
from semel.core.entry import Doubted
from semel.sim.chronicle import Life
from tests.chaos.book import Book
from tests.chaos.field import Field
from tests.chaos.judge import Evidence, cause_of_doubt, histories

BREACHES_SHOWN = 20


def report(evidence: Evidence, field: Field, breaches: list[str], storms: list[tuple[float, float]]) -> str:
    """Return the page; `storms` are their begins and ends in monotonic seconds."""
    lines = [
        *_calls(evidence),
        *_harm(field, storms),
        *_service(evidence.book, field, storms),
        *_doubts(evidence),
        *_objects(evidence.book),
        f"violations: {len(breaches) or 'none'}",
        *(f"  {breach[:600]}" for breach in breaches[:BREACHES_SHOWN]),
    ]
    return "\n".join(lines)


def _calls(evidence: Evidence) -> Iterator[str]:
    log, asked = evidence.log, evidence.book.asked
    stand = Counter(str(log.status_of(life) or Status.IN_DOUBT) for life in log.lives)
    lost = sum(it.trouble is not None and not it.calm for it in asked)
    refused = sum(it.refusal is not None for it in asked)
    replayed = sum(it.told is not None and it.told.replayed for it in asked)
    yield f"calls: {len(log.lives):,}, asked for {len(asked):,} times; {_listed(stand)}"
    yield (
        f"askings: {replayed:,} answered with an earlier run's outcome; {lost:,} gave up in the storm, all answered "
        f"in the calm; {refused:,} refused for using a key for another call"
    )
    yield f"effects outside semel: {len(evidence.effects):,} lines"
    yield f"log: {len(log.entries):,} entries, {sum(a != b for a, b in pairwise(log.reigns)):,} changes of reign"


def _harm(field: Field, storms: list[tuple[float, float]]) -> Iterator[str]:
    harms = field.harms
    storm_s = sum(ended_s - begun_s for begun_s, ended_s in storms)
    moments = [begun_s + step / 20 for begun_s, ended_s in storms for step in range(int((ended_s - begun_s) * 20))]
    at_once = [len(field.under_way(moment, moment)) for moment in moments]
    yield f"faults: {len(harms)} in {storm_s:.0f} s of storm; {_listed(Counter(harm.kind for harm in harms))}"
    if at_once:
        several = sum(number > 1 for number in at_once) / len(at_once)
        yield f"at once: up to {max(at_once)}, and more than one for {several:.0%} of the storm"
    for kind, why in field.store.missing.items():
        yield f"not done here: {kind}: {why}"
    ends = Counter(_plain(end.words) for end in field.ends)
    yield f"nodes that gave up and were started again: {len(field.ends)}"
    yield from (f"  {times}: {words}" for words, times in ends.most_common())


def _service(book: Book, field: Field, storms: list[tuple[float, float]]) -> Iterator[str]:
    served = sorted(it.ended_s for it in book.asked if it.told is not None and it.told.final and not it.told.replayed)
    gaps = []
    for begun_s, ended_s in storms:
        moments = [begun_s, *(moment for moment in served if begun_s < moment < ended_s), ended_s]
        gaps += [(later - earlier, earlier, later) for earlier, later in pairwise(moments)]
    if gaps:
        longest_s, begun_s, ended_s = max(gaps)
        during = ", ".join(f"{harm.kind} {harm.node}".strip() for harm in field.under_way(begun_s, ended_s))
        yield f"longest without a call that ran: {longest_s:.1f} s (meanwhile: {during or 'nothing'})"


def _doubts(evidence: Evidence) -> Iterator[str]:
    log = evidence.log
    once = sum(life.effect is Effect.ONCE for life in log.lives)
    doubted = [life for life in log.lives if life.doubted is not None]
    settled = sum(life.outcome is not None for life in doubted)
    left = [life for life in doubted if life.outcome is None]
    share = len(left) / len(log.lives) if log.lives else 0.0
    yield f"in doubt: {len(left)} calls, {share:.2%} of all ({once:,} once calls); {settled} more were settled later"
    for why, number in Counter(_why(evidence, life) for life in left).most_common():
        yield f"  {number}: {why}"


def _why(evidence: Evidence, life: Life) -> str:
    """Return what the log gives as the reason, and what in truth became of the executor."""
    assert life.doubted is not None
    entry = evidence.log.entries[life.doubted - 1]
    assert isinstance(entry, Doubted)
    return f"{_plain(entry.reason)}: it {cause_of_doubt(evidence, life) or 'never died'}"


def _objects(book: Book) -> Iterator[str]:
    found = histories(book)
    total = sum(map(len, found.values()))
    untold = sum(it.ended_s == float("inf") for history in found.values() for it in history)
    yield f"registers and counters: {len(found)}, {total:,} operations, {untold} of them never told"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in counts.most_common())


def _plain(words: str) -> str:
    """Return words without what differs from node to node and from run to run."""
    return re.sub(r"\S*/\S*/", "…/", re.sub(r"\bn[123]\b", "the node", words))[:200]
