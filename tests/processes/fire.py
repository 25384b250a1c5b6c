"""`make fire`: kill -9 of the leader under a load of real callers, again and again; then compare it all.

Prints what a reader needs to believe it: how many calls, kills and doubts, and how long nobody was served.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import semel
from semel.errors import SemelError
from tests.processes.cluster import ClusterProcesses, get_audit, until

CALLERS = 32
NAMES = ("n1", "n2", "n3")


@dataclass
class Told:
    """What a caller was told of one call, and when (monotonic seconds)."""

    tool: str
    outcome: str
    term: int
    at_s: float


@dataclass
class Book:
    """All that the callers were told."""

    told: dict[str, Told] = field(default_factory=dict)
    unanswered: dict[str, str] = field(default_factory=dict)


async def caller(number: int, urls: list[str], book: Book, stop: asyncio.Event, seed: int) -> None:
    """Make one call after another until told to stop, each with a key of its own and retries under it."""
    dice = random.Random(f"{seed}-{number}")
    order = urls[number % len(urls) :] + urls[: number % len(urls)]
    async with semel.connect(*order, caller="fire", timeout_s=30) as client:
        count = 0
        while not stop.is_set():
            count += 1
            tool, name = dice.choice(("charge", "charge", "store")), f"{number}-{count}"
            try:
                answer = await client.call(tool, {"name": name, "wait_s": dice.choice((0, 0.01, 0.05))}, key=name)
            except SemelError as error:
                book.unanswered[name] = str(error)
            else:
                book.told[name] = Told(tool, answer.outcome, answer.term, time.monotonic())


async def killings(cluster: ClusterProcesses, book: Book, kills: int, dice: random.Random) -> list[float]:
    """Kill the leader `kills` times; return for each how long it took to the first answer of the next reign, in s."""
    gaps = []
    for number in range(kills):
        await asyncio.sleep(dice.uniform(0.3, 1.0))  # the load's own time between two kills, not a wait for anything
        leader = await cluster.leader()
        term = cluster.status(leader)["term"]
        killed_s = time.monotonic()
        await cluster.kill(leader)

        def first(term: int = term) -> float | None:
            return min((told.at_s for told in book.told.values() if told.term > term), default=None)

        gaps.append(await until(first, what=f"an answer after kill {number + 1}") - killed_s)
        print(f"  kill {number + 1:2}: {leader}, served again after {gaps[-1] * 1000:4.0f} ms", flush=True)
        await cluster.start(leader)
    return gaps


def violations(cluster: ClusterProcesses, book: Book, audits: list[list[dict[str, object]]]) -> list[str]:
    """Compare the effects outside semel, the log and the answers; return every promise that was broken."""
    effects = Counter(tuple(line.split()) for line in cluster.effect_lines())
    found = [f"{name} was never answered: {why}" for name, why in book.unanswered.items()]
    logged = {str(row["key"]): row for row in audits[0]}
    for name, told in book.told.items():
        ran, row = effects[told.tool, name], logged.get(name)
        if told.tool == "charge" and ran > 1:
            found.append(f"{name}: a once tool acted {ran} times")
        if told.outcome == "ok" and (ran < 1 or (told.tool == "charge" and ran != 1)):
            found.append(f"{name}: told ok, and the tool acted {ran} times")
        if told.outcome not in ("ok", "in_doubt", "cancelled"):
            found.append(f"{name}: told {told.outcome}")
        if row is None or (row["outcome"] != told.outcome and told.outcome != "in_doubt"):
            found.append(f"{name}: told {told.outcome}, and the log says {row and row['outcome']}")
    if any(audit != audits[0] for audit in audits):
        found.append("the nodes do not hold the same log")
    if [row["execution_id"] for row in audits[0]] != list(range(1, len(audits[0]) + 1)):
        found.append("the audit has a gap")
    return found


async def fire(folder: Path, kills: int, seed: int) -> int:
    """Run the whole of it; return the process's exit code."""
    cluster, book, stop = ClusterProcesses(folder), Book(), asyncio.Event()
    print(f"{CALLERS} callers, {len(NAMES)} nodes, {kills} kills of the leader, seed {seed}", flush=True)
    begun_s = time.monotonic()
    try:
        await cluster.start(*NAMES)
        callers = [asyncio.create_task(caller(n, cluster.urls, book, stop, seed)) for n in range(CALLERS)]
        gaps = await killings(cluster, book, kills, random.Random(seed))
        stop.set()
        await asyncio.gather(*callers)

        def level() -> bool:
            return len({cluster.status(name)["position"] for name in NAMES}) == 1

        await until(level, what="all nodes to hold the whole log")
        found = violations(cluster, book, [get_audit(url) for url in cluster.urls])
    finally:
        await cluster.stop()
    outcomes = Counter(told.outcome for told in book.told.values())
    print(f"{len(book.told)} calls answered in {time.monotonic() - begun_s:.0f} s: {dict(outcomes)}")
    print(
        f"from kill to the next answer: median {statistics.median(gaps) * 1000:.0f} ms, "
        f"least {min(gaps) * 1000:.0f}, most {max(gaps) * 1000:.0f}"
    )
    print(f"violations: {len(found)}", *found[:20], sep="\n  ")
    return 1 if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="semel-fire-") as folder:
        sys.exit(asyncio.run(fire(Path(folder), given.kills, given.seed)))


if __name__ == "__main__":
    main()
