"""A rolling restart under load: callers that never stop, and nodes that leave in turn and come back."""

import asyncio
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field

import semel
from semel.errors import SemelError
from tests.processes.cluster import ClusterProcesses, until

TOOLS = ("charge", "store", "look")
PATIENCE_S = 60
"""A machine with much else to do takes its time to start a node, and who knows no other waits for it."""


@dataclass
class Load:
    """Callers of a cluster, and what they were told."""

    cluster: ClusterProcesses
    told: dict[str, str] = field(default_factory=dict)
    """What each call, by its name, came to."""
    failed: dict[str, str] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _callers: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        """Start callers that know every node, in several orders, and for each node one that knows no other."""
        urls = self.cluster.urls
        orders = [urls[number:] + urls[:number] for number in range(len(urls))] + [[url] for url in urls]
        self._callers = [asyncio.create_task(self._call(f"c{n}", order)) for n, order in enumerate(orders * 2)]

    async def _call(self, caller: str, urls: list[str]) -> None:
        number = 0
        async with semel.connect(*urls, timeout_s=PATIENCE_S, connect_timeout_s=PATIENCE_S) as client:
            while not self.stop.is_set():
                number += 1
                name = f"{caller}-{number}"
                tool = TOOLS[number % len(TOOLS)]
                wait = {} if tool == "look" else {"wait_s": 0.02 * (number % 4)}
                try:
                    answer = await client.call(tool, {"name": name, **wait}, key=name)
                except SemelError as error:
                    self.failed[name] = f"{type(error).__name__}: {error}"
                else:
                    self.told[name] = answer.outcome

    async def served(self, calls: int = 20) -> None:
        """Wait until so many more calls have been answered."""
        enough = len(self.told) + calls
        await until(lambda: len(self.told) >= enough or self.failed, what=f"{calls} more answers")

    async def end(self) -> None:
        """Let every caller have its last answer."""
        self.stop.set()
        await asyncio.gather(*self._callers)

    def runs(self) -> Counter[str]:
        """Return how often each call has acted, by its name."""
        return Counter(line.split()[1] for line in self.cluster.effect_lines())

    def runs_again(self) -> dict[str, int]:
        """Return the calls that acted more than once, of all but the tool that only looks."""
        twice = Counter(line for line in self.cluster.effect_lines() if not line.startswith("look "))
        return {line: count for line, count in twice.items() if count > 1}


async def leave_by_signal(cluster: ClusterProcesses, name: str) -> int:
    """Send a node SIGTERM; return its exit code."""
    cluster.signal(name, signal.SIGTERM)
    return await asyncio.wait_for(cluster.processes[name].wait(), PATIENCE_S)


async def leave_by_drain(cluster: ClusterProcesses, name: str) -> int:
    """Ask a node to leave, as an operator does; return its exit code."""
    command = (sys.executable, "-m", "semel", "drain", cluster.url(name))
    asking = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(asking.communicate(), PATIENCE_S)
    assert asking.returncode == 0, said.decode()
    assert said.decode().endswith(f"{name} has left\n"), said.decode()
    return await asyncio.wait_for(cluster.processes[name].wait(), PATIENCE_S)
