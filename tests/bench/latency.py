"""How long one caller waits for an answer, next to a bare append to the same etcd by the same engine.

All kinds take turns in short rounds, so that what else the machine does hits them alike.
"""

import time
from collections.abc import Awaitable, Callable

import semel
from semel.log.engines import open_log
from semel.log.protocol import Log
from semel.node.insisting import insist
from tests.bench.quorum import NODES, Quorum

ROUNDS = 20
EACH = 50
"""So many of each kind in a round: a thousand of each in all."""
WARM = 50
ENTRY = bytes(600)
"""About what the intent of a small call takes."""

Samples = dict[str, list[float]]
"""Milliseconds, by what was timed."""


async def latency(quorum: Quorum, rounds: int = ROUNDS) -> Samples:
    """Time bare appends and calls, one at a time, on a cluster that does nothing else."""
    leader = await quorum.leader()
    follower = next(node for node in NODES if node != leader)
    log = await open_log(quorum.members.url("bare", nearest=NODES[leader]))
    leads, follows = quorum.nodes.url(leader), quorum.nodes.url(follower)
    try:
        async with (
            semel.connect(leads, caller="bench") as at_leader,
            semel.connect(follows, caller="bench") as at_follower,
        ):
            kinds: dict[str, Callable[[str], Awaitable[object]]] = {
                "a bare conditional append to etcd": Appending(log).append,
                "a `once` call, asked of the leader": lambda name: at_leader.call("charge", {"name": name}, key=name),
                "a `repeatable` call, asked of the leader": lambda name: at_leader.call(
                    "store", {"name": name}, key=name
                ),
                "a `once` call, asked of a follower": lambda name: at_follower.call("charge", {"name": name}, key=name),
            }
            for number, work in enumerate(kinds.values()):
                await _timed(work, f"warm-{number}", WARM)
            samples: Samples = {kind: [] for kind in kinds}
            for turn in range(rounds):
                for number, (kind, work) in enumerate(kinds.items()):
                    samples[kind] += await _timed(work, f"{turn}-{number}", EACH)
    finally:
        await log.close()
    return samples


class Appending:
    """Appends one entry after the other to a log of its own."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tail = 0

    async def append(self, _: str) -> None:
        """Append; an append that gets no answer in time, as on a busy machine, is proposed again, as a node does."""
        self._tail = await insist(lambda: self._log.append(self._tail, [ENTRY]))


async def _timed(work: Callable[[str], Awaitable[object]], name: str, times: int) -> list[float]:
    samples = []
    for number in range(times):
        begun_s = time.perf_counter()
        await work(f"{name}-{number}")
        samples.append((time.perf_counter() - begun_s) * 1000)
    return samples
