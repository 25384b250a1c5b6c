"""A log in three etcd members on this machine, what can be done to them, and to each node's way to them.

semel trims such a log, so that what is read in the end is what a recorder has followed from the start.
"""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.recorder import Recorder
from tests.chaos.relay import Relay
from tests.chaos.store import Fault
from tests.ports import free_port
from tests.processes.etcd import Members, Place

MEMBERS = {"n1": "m1", "n2": "m2", "n3": "m3"}
"""Each node's nearest member, by the node."""


class EtcdStore:
    """Three members; each node reaches each of them through a relay of its own, its nearest first."""

    def __init__(self, folder: Path) -> None:
        self.members = Members(folder / "etcd", {name: Place() for name in MEMBERS.values()})
        self._recorder = Recorder(self.members.url())
        self._relays = {
            node: {name: Relay(free_port(), place.client_port) for name, place in self.members.places.items()}
            for node in MEMBERS
        }
        self._down: dict[str, int] = dict.fromkeys(MEMBERS.values(), 0)
        """How many faults want a member to be down."""
        self.faults: dict[str, Fault] = {
            "member killed": lambda victim: self._killed(MEMBERS[victim]),
            "etcd leader killed": self._leader_killed,
            "all members killed": lambda _: self._killed(*MEMBERS.values()),
            "member stopped": lambda victim: self._stopped(MEMBERS[victim]),
            "etcd leader stopped": self._leader_stopped,
            "all members stopped": lambda _: self._stopped(*MEMBERS.values()),
            "etcd cut": self._cut,
            "etcd silent": self._silent,
        }
        self.excuses: frozenset[str] = frozenset()
        self.missing: dict[str, str] = {}

    def url(self, node: str) -> str:
        relays = self._relays[node]
        names = sorted(relays, key=lambda name: name != MEMBERS[node])
        return f"etcd://{','.join(f'127.0.0.1:{relays[name].port}' for name in names)}"

    async def open(self) -> None:
        await self.members.start()
        for relays in self._relays.values():
            for relay in relays.values():
                await relay.start()
        await self._recorder.start()

    @asynccontextmanager
    async def _killed(self, *names: str) -> AsyncIterator[bool]:
        """Kill members; they stay down while the context is open."""
        for name in names:
            self._down[name] += 1
            await self.members.kill(name)
        try:
            yield True
        finally:
            for name in names:
                self._down[name] -= 1
                if not self._down[name]:
                    await self.members.launch(name)

    @asynccontextmanager
    async def _stopped(self, *names: str) -> AsyncIterator[bool]:
        """Freeze members; they go on as if no time had passed."""
        processes = [self.members.processes[name] for name in names]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGSTOP)
        try:
            yield True
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)

    @asynccontextmanager
    async def _leader_killed(self, _: str) -> AsyncIterator[bool]:
        leader = await asyncio.to_thread(self.members.find_leader)
        async with self._killed(*([leader] if leader else [])):
            yield leader is not None

    @asynccontextmanager
    async def _leader_stopped(self, _: str) -> AsyncIterator[bool]:
        leader = await asyncio.to_thread(self.members.find_leader)
        async with self._stopped(*([leader] if leader else [])):
            yield leader is not None

    @asynccontextmanager
    async def _cut(self, victim: str) -> AsyncIterator[bool]:
        """Break a node's connections to all members, and refuse new ones."""
        for relay in self._relays[victim].values():
            relay.cut()
        try:
            yield True
        finally:
            for relay in self._relays[victim].values():
                await relay.start()

    @asynccontextmanager
    async def _silent(self, victim: str) -> AsyncIterator[bool]:
        """Let nothing through between a node and all members; connections stay."""
        with contextlib.ExitStack() as silent:
            for relay in self._relays[victim].values():
                silent.enter_context(relay.silent())
            yield True

    async def entries(self) -> list[bytes]:
        for name in MEMBERS.values():
            await self.members.be_ready(name)
        await self._recorder.be_level()
        return self._recorder.entries

    def keep(self, folder: Path) -> None:
        (folder / "log").write_bytes(b"\n".join(self._recorder.entries))
        for name in MEMBERS.values():
            shutil.rmtree(self.members.data(name), ignore_errors=True)  # large, and of etcd's own concern

    async def close(self) -> None:
        await self._recorder.close()
        await self.members.stop()
        for relays in self._relays.values():
            for relay in relays.values():
                await relay.close()
