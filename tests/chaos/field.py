"""The field of the fight: nodes with their supervisor, relays before them, the log under them, and all that is done.

Everything done here is undone when its context closes; `close` leaves no process, mount or port behind.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.relay import Relay
from tests.chaos.store import Store
from tests.ports import free_port
from tests.processes.cluster import ClusterProcesses, get_json, until

TOOLS = Path(__file__).with_name("tools.py")
NAMES = ("n1", "n2", "n3")
RESTART_S = 0.5
"""A supervisor waits so long before it starts a node again that ended by itself."""
READY_S = 60.0
"""After the calm every node must be ready by then; a start alone takes a second or two on two busy cores."""


@dataclass(slots=True)
class Harm:
    """Something that was done, in monotonic seconds; `node` is empty for what hits all."""

    kind: str
    node: str
    begun_s: float
    ended_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class End:
    """A node that ended by itself, and its last words."""

    node: str
    at_s: float
    code: int
    words: str


class Field:
    """Three supervised nodes on a store, with a relay before each for its clients and one for its peers."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store = store
        self.harms: list[Harm] = []
        self.ends: list[End] = []
        self.cluster = ClusterProcesses(folder, target=TOOLS, extra=("--data", str(folder / "data")))
        self.cluster.logs = {name: store.url(name) for name in NAMES}
        self._down: dict[str, asyncio.Event] = {}
        self._supervisors: list[asyncio.Task[None]] = []
        self._killed: set[int] = set()
        self.doors: dict[str, Relay] = {}
        self.links: dict[str, Relay] = {}
        self.cluster.effects.mkdir()
        for name in NAMES:
            port = self.cluster.ports[name] = free_port()
            self.doors[name], self.links[name] = Relay(free_port(), port), Relay(free_port(), port)
            self.cluster.advertised[name] = self.links[name].url

    @property
    def urls(self) -> list[str]:
        """Where clients are to ask."""
        return [door.url for door in self.doors.values()]

    async def open(self) -> None:
        """Start all, and wait until every node is ready."""
        await self.store.open()
        for relay in (*self.doors.values(), *self.links.values()):
            await relay.start()
        self._supervisors = [asyncio.create_task(self._supervise(name), name=f"supervise {name}") for name in NAMES]
        await self.be_ready()

    async def be_ready(self) -> float:
        """Wait until every node is ready; return how long that took, in seconds."""
        begun_s = time.monotonic()
        for name in NAMES:
            url = f"{self.cluster.url(name)}/readyz"
            await until(lambda url=url: get_json(url), limit_s=READY_S, what=f"{name} to be ready after the storm")
        return time.monotonic() - begun_s

    async def be_level(self) -> None:
        """Wait until every node holds the same; nobody may be calling."""

        def level() -> bool:
            return len({self.cluster.status(name)["position"] for name in NAMES}) == 1

        await until(level, limit_s=READY_S, what="all nodes to hold the whole log")

    async def close(self) -> None:
        """Stop all."""
        for supervisor in self._supervisors:
            supervisor.cancel()
        if self._supervisors:
            await asyncio.wait(self._supervisors)
        await self.cluster.stop()
        for relay in (*self.doors.values(), *self.links.values()):
            await relay.close()

    async def _supervise(self, name: str) -> None:
        """Keep a node running, as an init system would."""
        while True:
            said_bytes = self._said_bytes(name)
            await self.cluster.launch(name)
            process = self.cluster.processes[name]
            code = await process.wait()
            if process.pid not in self._killed:
                words = self.cluster.output(name).read_bytes()[said_bytes:].decode(errors="replace").strip()
                self.ends.append(End(name, time.monotonic(), code, words.rpartition("\n")[2]))
                await asyncio.sleep(RESTART_S)
            if name in self._down:
                await self._down[name].wait()

    def _said_bytes(self, name: str) -> int:
        output = self.cluster.output(name)
        return output.stat().st_size if output.exists() else 0

    # Harm.

    @property
    def kinds(self) -> dict[str, tuple[float, float]]:
        """What can be done here, and how long it lasts, in seconds: at least and at most."""
        return KINDS | dict.fromkeys(self.store.faults, (0.5, 5.0))

    def do(self, kind: str, victim: str) -> AbstractAsyncContextManager[None]:
        """Return the context that does something to a node, or to the log; entering and leaving it takes no long."""
        match kind:
            case "kill":
                return self._kill(victim)
            case "kill all":
                return self._kill(*NAMES)
            case "stop":
                return self._stop(victim)
            case "links cut" | "door cut":
                return self._cut(kind, victim)
            case "links silent" | "door silent":
                return self._silence(kind, victim)
            case _:
                return self._trouble(kind, victim)

    @asynccontextmanager
    async def _kill(self, *names: str) -> AsyncIterator[None]:
        """Kill nodes as a power cut would; they stay down while the context is open."""
        up = asyncio.Event()
        victims = [name for name in names if name not in self._down]
        with contextlib.ExitStack() as noted:
            for name in victims:
                noted.enter_context(self._noted("kill", name))
                self._down[name] = up
                process = self.cluster.processes[name]
                self._killed.add(process.pid)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            try:
                yield
            finally:
                for name in victims:
                    del self._down[name]
                up.set()

    @asynccontextmanager
    async def _stop(self, name: str) -> AsyncIterator[None]:
        """Freeze a node; it goes on as if no time had passed."""
        process = self.cluster.processes[name]
        with self._noted("stop", name):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGSTOP)
            try:
                yield
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)

    @asynccontextmanager
    async def _cut(self, kind: str, name: str) -> AsyncIterator[None]:
        relay = self._relay(kind, name)
        with self._noted(kind, name):
            relay.cut()
            try:
                yield
            finally:
                await relay.start()

    @asynccontextmanager
    async def _silence(self, kind: str, name: str) -> AsyncIterator[None]:
        with self._noted(kind, name), self._relay(kind, name).silent():
            yield

    def _relay(self, kind: str, name: str) -> Relay:
        return (self.links if kind.startswith("links") else self.doors)[name]

    @asynccontextmanager
    async def _trouble(self, kind: str, victim: str) -> AsyncIterator[None]:
        async with self.store.faults[kind](victim) as done:
            with self._noted(kind, "") if done else contextlib.nullcontext():
                yield

    @contextmanager
    def _noted(self, kind: str, node: str) -> Iterator[None]:
        harm = Harm(kind, node, time.monotonic())
        self.harms.append(harm)
        try:
            yield
        finally:
            harm.ended_s = time.monotonic()

    def under_way(self, begun_s: float, ended_s: float) -> list[Harm]:
        """Return what was being done at some time between two moments."""
        return [harm for harm in self.harms if harm.begun_s < ended_s and harm.ended_s > begun_s]

    async def choose(self, dice: random.Random) -> str:
        """Return a node to hurt: the leader more often than not, for there it hurts most."""
        victim, leader_wanted = dice.choice(NAMES), dice.random() < 0.4
        if leader_wanted:
            with contextlib.suppress(OSError, ValueError):
                status = await asyncio.to_thread(get_json, f"{self.cluster.url(victim)}/v1/status")
                return status["leader"] or victim
        return victim


KINDS: dict[str, tuple[float, float]] = {
    "kill": (0.0, 2.0),
    "kill all": (0.0, 1.0),
    "stop": (1.8, 4.0),  # longer than the patience of 1.5 s
    "links cut": (0.2, 4.0),
    "links silent": (0.5, 4.0),
    "door cut": (0.2, 4.0),
    "door silent": (0.5, 4.0),
}
