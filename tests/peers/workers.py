"""Peers whose tools run in worker processes beside a server that keeps the state: three workers, and one is killed."""

import random
from collections.abc import Sequence
from pathlib import Path

from tests.peers.asking import Asker
from tests.peers.peer import EFFECTS, Answer
from tests.peers.processes import Processes

NAMES = ("w1", "w2", "w3")


class OnWorkers:
    """A peer but for its server and its commands."""

    killed = "the worker with most calls in flight"
    ready = "READY"

    async def serve(self, folder: Path) -> None:
        """Start the server that keeps the state, with `self.processes`, and set what the commands need."""
        raise NotImplementedError

    def worker(self, name: str) -> list[str | Path]:
        """Return the command of a worker."""
        raise NotImplementedError

    def asker(self) -> list[str | Path]:
        """Return the command of the caller's program."""
        raise NotImplementedError

    def environment(self, name: str) -> dict[str, str]:
        """Return what the worker or the caller finds in its environment."""
        raise NotImplementedError

    async def start(self, folder: Path) -> None:
        self.processes = Processes(folder)
        await self.serve(folder)
        for name in NAMES:
            await self._start(name)
        self._asker = await Asker.start(*self.asker(), folder=folder, **self.environment("asker"))

    async def _start(self, name: str) -> None:
        effects = str(self.processes.folder / EFFECTS)
        env = {**self.environment(name), "EFFECTS": effects}
        await self.processes.start(name, *self.worker(name), ready=self.ready, **env)

    async def submit(self, key: str, amount: int) -> Answer:
        return await self._asker.ask(key, amount)

    async def kill(self, busiest: Sequence[int], dice: random.Random) -> int | None:
        del dice
        self._gone = self.processes.named(busiest[0])
        return await self.processes.kill(self._gone)

    async def restart(self) -> None:
        await self._start(self._gone)

    async def stop(self) -> None:
        if hasattr(self, "_asker"):
            await self._asker.stop()
        await self.processes.stop()
