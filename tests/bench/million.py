"""`make million LOG=etcd`: a million calls through three nodes on three etcd members; then a node is wiped.

Watches what must stay small meanwhile, etcd's database and the nodes' memory, and times the wiped node's way back. The
calls come in by a fourth node, in this process: a million HTTP requests and their clients would measure those.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semel.serving import Node
from tests.bench.page import conditions, write
from tests.bench.quorum import NODES, Quorum
from tests.processes.cluster import SERVER
from tests.processes.million import memory_mb

CALLERS = 256
SAMPLE_S = 2.0
TOLD_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """How large everything was when so many calls had been answered."""

    calls: int
    at_s: float
    database_mb: float
    memory_mb: dict[str, float]

    def __str__(self) -> str:
        memory = ", ".join(f"{node} {mb:.0f}" for node, mb in self.memory_mb.items())
        return (
            f"{self.calls:>9,} calls in {self.at_s:5.0f} s: database {self.database_mb:.1f} MB; memory in MB: {memory}"
        )


class Million:
    """One run: callers that share a number of calls, and what was seen meanwhile."""

    def __init__(self, quorum: Quorum, door: Node, calls: int) -> None:
        self._quorum = quorum
        self._door = door
        self._numbers: Iterator[int] = iter(range(calls))
        self._answered = 0
        self._begun_s = time.monotonic()
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Make all calls; every one must come to `ok`."""
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CALLERS):
                    group.create_task(self._call())
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        await self._sample()

    async def _call(self) -> None:
        for call in self._numbers:
            answer = await self._door.call("charge", {"name": str(call)}, key=f"order-{call}", caller="million")
            assert answer.outcome == "ok", answer
            self._answered += 1

    async def _watch(self) -> None:
        for turn in itertools.count():
            await asyncio.sleep(SAMPLE_S)
            sample = await self._sample()
            if turn % (TOLD_EVERY_S // SAMPLE_S) == 0:
                print(f"  {sample}", flush=True)

    async def _sample(self) -> Sample:
        memory = {node: memory_mb(self._quorum.nodes.processes[node].pid, "VmRSS") for node in NODES}
        database_mb = await self._quorum.database_bytes() / 1e6
        sample = Sample(self._answered, time.monotonic() - self._begun_s, database_mb, memory)
        self.samples.append(sample)
        return sample


async def wiped(quorum: Quorum) -> str:
    """Take a follower's replica away while it is down, and return how it comes back."""
    leader = await quorum.leader()
    node = next(node for node in NODES if node != leader)
    position = quorum.nodes.status(leader)["position"]
    await quorum.nodes.kill(node)
    replica = quorum.nodes.folder / "data" / node
    assert replica.is_dir(), replica
    shutil.rmtree(replica)
    begun_s = time.monotonic()
    await quorum.nodes.start(node)
    took_s = time.monotonic() - begun_s
    assert quorum.nodes.status(node)["position"] >= position
    held = memory_mb(quorum.nodes.processes[node].pid, "VmHWM")
    return f"a wiped node was ready {took_s:.1f} s after its start, with all {position:,} entries, in {held:.0f} MB"


async def million(folder: Path, calls: int) -> str:
    """Return what was seen, in a few lines."""
    quorum = Quorum(folder)
    try:
        await quorum.start()
        os.environ["EFFECTS"] = str(quorum.nodes.effects)  # the fourth node's tools leave lines too, should it lead
        async with Node(
            SERVER, log=quorum.members.url(), name="n0", listen="127.0.0.1:0", data=folder / "data"
        ) as door:
            run = Million(quorum, door, calls)
            await run.run()
        last, most_mb = run.samples[-1], max(sample.database_mb for sample in run.samples)
        tenth = next(sample for sample in run.samples if sample.calls >= calls / 10)
        lines = [
            f"- {calls:,} calls of {CALLERS} callers in {last.at_s:.0f} s, {calls / last.at_s:.0f} a second, all `ok`",
            f"- etcd's database: at most {most_mb:.1f} MB on any member, looked at every {SAMPLE_S:g} s",
            "- the nodes after a tenth of the calls, and after all:",
            *(
                f"  - memory of {node}: {tenth.memory_mb[node]:.0f} MB, and {last.memory_mb[node]:.0f}"
                for node in NODES
            ),
            f"- {await wiped(quorum)}",
        ]
    finally:
        await quorum.stop()
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--only-print", action="store_true", help="leave docs/PERFORMANCE.md as it is")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="semel-million-") as folder:
        seen = asyncio.run(million(Path(folder), given.calls))
    print(seen)
    if not given.only_print:
        write("million", f"{conditions()}\n\n{seen}")


if __name__ == "__main__":
    main()
