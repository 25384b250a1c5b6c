"""A scene: the hosts, callers on the client's host, harm between begin and calm, and the judge at the end.

Scenes follow one another on the same hosts; each is judged with all that went before it.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from semel.core.call import Status
from tests.chaos.book import Asked
from tests.chaos.judge import Evidence, judge, read_effects, read_log
from tests.chaos.load import Load
from tests.chaos.recorder import Recorder
from tests.hosts.hosts import NAMES, Hosts
from tests.processes.cluster import get_audit, until

CALLERS = 4
"""Few, beside one of the SDK's client: three hosts share this machine's processors with them."""
SEED = 4
FULL = os.environ.get("SEMEL_HOSTS") == "full"
"""Whether scenes may take their time, as `make hosts` lets them."""


class Scene:
    """All that a scenario works with; in the client's room.

    Raises:
        Refused: the hosts cannot be made here.
    """

    def __init__(self, folder: Path) -> None:
        self.hosts = Hosts(folder)
        self.load = Load(self.hosts.urls, SEED, callers=CALLERS, sdk_callers=1)
        self.recorder = Recorder(self.hosts.members.url())
        self._number = 0

    async def open(self) -> None:
        """Start members, nodes, and the recorder."""
        await self.hosts.start()
        await self.recorder.start()

    async def close(self) -> None:
        """End everything."""
        await self.load.cancel()
        await self.recorder.close()
        await self.hosts.close()

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """Let callers call while the context is open; then comes the calm, and after it the judge."""
        self._number += 1
        self.load.start()
        yield
        await self.hosts.be_ready()
        await self.load.finish()
        await self.load.sweep()
        await self.hosts.be_level()
        breaches = await self.judged()
        assert not breaches, "\n".join(breaches[:20])

    async def judged(self) -> list[str]:
        """Return every breach of a promise, up to now; nobody may be calling."""
        await self.recorder.be_level()
        audits = {name: await asyncio.to_thread(get_audit, self.hosts.nodes.url(name)) for name in NAMES}
        lines = (self.hosts.nodes.effects / "lines").read_text().splitlines()
        log = read_log(self.recorder.entries)
        evidence = Evidence(read_effects(lines), log, audits, self.load.book, self.hosts.deaths)
        return await asyncio.to_thread(judge, evidence)

    # One call that a scenario follows.

    def key(self, what: str) -> str:
        """Return a key that no other scene uses."""
        return f"scene-{self._number}-{what}"

    async def ask(self, name: str, tool: str, key: str, *, patience_s: float = 20.0, **arguments: Any) -> Asked:
        """Ask one node for a call, and wait for what comes of it."""
        url = self.hosts.nodes.url(name)
        return await self.load.ask([url], tool, {"line": key, **arguments}, key, patience_s)

    def asking(self, name: str, tool: str, key: str, **arguments: Any) -> asyncio.Task[Asked]:
        """Ask one node for a call meanwhile."""
        return asyncio.create_task(self.ask(name, tool, key, **arguments), name=key)

    def answers(self) -> list[Asked]:
        """Return all that was asked for and answered, up to now."""
        return [asked for asked in self.load.book.asked if asked.told is not None]

    def acted(self, key: str) -> int:
        """Return how often the tool of a call has acted."""
        lines = self.hosts.nodes.effects / "lines"
        found = read_effects(lines.read_text().splitlines()) if lines.exists() else []
        return sum(line.key == key for line in found)

    async def has_acted(self, key: str) -> None:
        """Wait until the tool of a call has acted."""
        await until(lambda: self.acted(key), what=f"{key} to act")

    def outcome_at(self, name: str, key: str) -> str | None:
        """Return what a node's audit says of a call."""
        rows = get_audit(self.hosts.nodes.url(name), key=key)
        return rows[0]["outcome"] if rows else None

    async def is_said(self, name: str, key: str, outcome: str, *, limit_s: float = 15.0) -> None:
        """Wait until a node's audit says so of a call."""
        what = f"{name} to say {outcome} of {key}"
        await until(lambda: self.outcome_at(name, key) == outcome, limit_s=limit_s, what=what)

    async def serves(self, *names: str) -> None:
        """Wait until each of these nodes answers a new call; each is asked for one after the other."""
        for name in names:
            asked = await self.ask(name, "store", self.key(f"serves-{name}-{len(self.load.book.asked)}"))
            assert asked.told is not None, (
                f"{name} does not serve: {asked.trouble}; {await asyncio.to_thread(self.views)}"
            )
            assert asked.told.outcome == Status.OK

    def views(self) -> str:
        """Return how each node sees the cluster, for whoever has to find out what went wrong."""
        views = []
        for name in NAMES:
            try:
                views.append(f"{name} sees {self.hosts.nodes.status(name)}")
            except OSError as error:
                views.append(f"{name} does not say: {error}")
        return "; ".join(views)

    async def new_leader(self, old: str) -> str:
        """Wait until the others have another leader than this host's node; return its host."""
        rest = [name for name in NAMES if name != old]
        return await self.hosts.leader(among=rest)
