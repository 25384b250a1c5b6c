"""The demo's stages: a folder, and processes that are started, killed and ended, each by its own process id."""

import asyncio
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from semel.cli.asking import open_client
from semel.cli.demo.narrator import CheckFailed
from semel.errors import SemelError
from semel.local.child import Child
from semel.local.ensemble import Served
from semel.local.etcd import find_etcd
from semel.local.home import Home
from semel.local.members import healthy, leader_of
from semel.local.node import node_command
from semel.local.ports import free_ports
from semel.local.quorum import HOST, make_quorum
from semel.local.setting import Setting

if TYPE_CHECKING:
    from semel.gateway.clients.client import Client

STARTS_FILE = "SEMEL_DEMO_STARTS"
"""The environment variable by which the tools of `server.py` find the file of starts."""
POLL_S = 0.02
STEP_S = 15.0
"""No wait of the story is longer; the longest that is meant to happen takes a second or two."""
END_S = 15.0
"""A node that was told to end and has not after this long is killed."""

PORTS = range(10_000, 20_000)
"""Below those that Linux gives to outgoing connections, one of which could else have a node's port when it restarts."""

Found = TypeVar("Found")


@dataclass(slots=True)
class Actor:
    """One node of the story: its process, and a client that asks this node alone."""

    name: str
    url: str
    process: Child
    client: "Client"


class Stage:
    """Three nodes' home, with the embedded log, and all that must be gone at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = folder / "starts.txt"
        self._starts.touch()
        self._target = Path(shutil.copy(Path(__file__).with_name("server.py"), folder / "server.py"))
        self._environment = {STARTS_FILE: str(self._starts)}
        self._ports = free_ports(HOST, random.choice(PORTS))
        self._nodes: dict[str, Served] = {}
        self.actors: dict[str, Actor] = {}
        self.pids: list[int] = []
        """Every process that was started, also those that are gone."""

    async def start(self, name: str) -> Actor:
        """Start a node as a process of its own; its words go into a file of the folder."""
        node = self._nodes.get(name) or self._nodes.setdefault(name, self._new_node(name))
        await self._start(node.child)
        earlier = self.actors.get(name)
        self.actors[name] = Actor(name, node.url, node.child, open_client([node.url], timeout_s=STEP_S, caller="ada"))
        if earlier is not None:
            await earlier.client.close()
        return self.actors[name]

    async def end(self, child: Child) -> int:
        """Ask a process to go, and return its exit code."""
        return await child.end(END_S)

    async def end_all(self) -> dict[str, int]:
        """Ask all processes to go, in order, and return by name the exit codes of those that did not end well."""
        codes = {name: await self.end(actor.process) for name, actor in self.actors.items()}
        return {name: code for name, code in codes.items() if code != 0}

    async def close(self) -> None:
        """End whatever is left, however the story went."""
        try:
            await asyncio.gather(*(actor.client.close() for actor in self.actors.values()), return_exceptions=True)
            await asyncio.gather(*(self.end(child) for child in self._children()))
        finally:
            for child in self._children():  # only where the ending itself was interrupted
                child.signal(signal.SIGKILL)

    def starts(self) -> list[str]:
        """Return which slow tools have started, in order, as they say themselves."""
        return [line.split()[0] for line in self._starts.read_text().splitlines()]

    def last_words(self) -> str:
        """Return the ends of what the processes wrote, for a story that failed."""
        return "\n".join(f"--- {child.name}\n{child.last_words()}" for child in self._children())

    def _children(self) -> list[Child]:
        return [node.child for node in self._nodes.values()]

    async def _start(self, child: Child) -> None:
        await child.start()
        self.pids.append(child.pid)

    def _new_node(self, name: str) -> Served:
        port = next(self._ports)
        command = node_command(
            str(self._target), name=name, log=f"sqlite://{self._folder}/log.db", listen=f"{HOST}:{port}"
        )
        child = Child(name, command, log=self._folder / f"{name}.out", environment=self._environment)
        return Served(child, f"http://{HOST}:{port}")


class QuorumStage(Stage):
    """Three etcd members beside the three nodes, whose log they keep."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._etcd = find_etcd()
        self._members: dict[str, Served] = {}

    async def start_members(self) -> list[Served]:
        """Start three etcd members, and return them once they have a quorum."""
        home = Home(self._folder / "quorum")
        home.folder.mkdir()
        setting = Setting(target=str(self._target), home=home, etcd=self._etcd, environment=self._environment)
        ensemble = await make_quorum(
            setting, members=3, nodes=3, node_port=next(self._ports), etcd_port=next(self._ports), say=lambda _: None
        )
        self._members = {one.child.name: one for one in ensemble.members}
        self._nodes = {one.child.name: one for one in ensemble.nodes}
        for member in ensemble.members:
            await self._start(member.child)
        await asyncio.gather(*map(self.quorum_seen_by, ensemble.members))
        return list(ensemble.members)

    async def start_member(self, member: Served) -> None:
        """Start a member again, and wait until it sees a quorum."""
        await self._start(member.child)
        await self.quorum_seen_by(member)

    async def quorum_seen_by(self, member: Served) -> None:
        """Wait until this member answers and has a quorum."""

        async def look() -> bool | None:
            return await healthy(member.url) or None

        await until(f"{member.child.name} has a quorum", look)

    async def leading_member(self) -> Served:
        """Return the etcd member that leads, once there is one."""

        async def look() -> Served | None:
            urls = {one.url: one for one in self._members.values() if one.child.runs}
            found = await leader_of(list(urls))
            return urls[found] if found else None

        return await until("an etcd member leads", look)

    async def end_all(self) -> dict[str, int]:
        """Ask the nodes to go, then the members, one by one; etcd ends itself with the signal that asked it to go."""
        nodes = await super().end_all()
        codes = {name: await self.end(member.child) for name, member in self._members.items()}
        return nodes | {name: code for name, code in codes.items() if code not in (0, -signal.SIGTERM)}

    def _children(self) -> list[Child]:
        return [*super()._children(), *(member.child for member in self._members.values())]


async def until(what: str, look: Callable[[], Awaitable[Found | None]]) -> Found:
    """Look again and again until there is something, and return it; a node that does not answer yet shows nothing.

    Raises:
        CheckFailed: nothing came of it in time.
    """
    trouble = "nothing of it"
    try:
        async with asyncio.timeout(STEP_S):
            while True:
                try:
                    if (found := await look()) is not None:
                        return found
                except SemelError as error:
                    trouble = str(error)
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise CheckFailed(f"{what}, within {STEP_S:.0f} s; found instead: {trouble}") from None
