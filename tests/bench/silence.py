"""How long nobody is served when a leader is killed: the longest time without any answer to any of the callers.

The callers are those of `make fire`, and so is the judge over what they were told.
"""

import asyncio
import random
import time
from collections import Counter
from itertools import pairwise

from tests.bench.quorum import Quorum
from tests.processes.cluster import get_audit, until
from tests.processes.fire import Book, caller, violations

CALLERS = 8
LOOK_S = 2.5
"""So long after a kill answers are looked at, before anything is started again; longer if there are none."""
PAUSE_S = (0.5, 1.5)
"""Service as usual between two kills."""

VICTIMS = ("the leader's node", "etcd's leader", "both at once")


async def silences(quorum: Quorum, kills: int, seed: int) -> tuple[dict[str, list[float]], str]:
    """Kill each kind of victim so often; return for each the silences in ms, and what the judge says.

    Raises:
        AssertionError: a promise was broken.
    """
    book, stop, dice = Book(), asyncio.Event(), random.Random(seed)
    found: dict[str, list[float]] = {victim: [] for victim in VICTIMS}
    callers = [asyncio.create_task(caller(n, quorum.nodes.urls, book, stop, seed)) for n in range(CALLERS)]
    for number in range(kills):
        for victim in VICTIMS:  # in turns, so that what else the machine does hits them alike
            await asyncio.sleep(dice.uniform(*PAUSE_S))  # the load's own time between two kills
            found[victim].append(await _silence(quorum, book, victim) * 1000)
            print(f"  kill {number + 1:2} of {victim}: {found[victim][-1]:4.0f} ms without an answer", flush=True)
            await quorum.restart()
    stop.set()
    await asyncio.gather(*callers)
    await quorum.be_level()
    broken = violations(quorum.nodes, book, [await asyncio.to_thread(get_audit, url) for url in quorum.nodes.urls])
    assert not broken, "\n".join(broken[:20])
    outcomes = Counter(told.outcome for told in book.told.values())
    counted = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.most_common())
    return found, f"{len(book.told):,} calls answered ({counted}); promises broken: none"


async def _silence(quorum: Quorum, book: Book, victim: str) -> float:
    """Kill, and return the longest time without an answer after it, in seconds."""
    leader, member = await quorum.leader(), await quorum.members.leader()
    killed_s = time.monotonic()
    if victim != VICTIMS[1]:
        quorum.nodes.processes[leader].kill()
    if victim != VICTIMS[0]:
        quorum.members.processes[member].kill()
    await asyncio.sleep(LOOK_S)

    def answered() -> list[float]:
        ends_s = time.monotonic()
        return sorted(told.at_s for told in list(book.told.values()) if ends_s - 0.5 < told.at_s)

    await until(answered, limit_s=60, what=f"an answer after the kill of {victim}")
    moments = [killed_s, *sorted(told.at_s for told in book.told.values() if told.at_s > killed_s)]
    return max(later - earlier for earlier, later in pairwise(moments))
