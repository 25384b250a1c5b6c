"""Three hosts with an etcd member and a semel node each, a client's host, and the harm that can be done to them.

Knows processes and wires; who calls, and whether it went well, is known elsewhere. What was started here ends here.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.chaos.judge import Death
from tests.hosts import clock
from tests.hosts.network import Network
from tests.processes.cluster import ClusterProcesses, get_json, until
from tests.processes.etcd import Members, Place

TOOLS = Path(__file__).parents[1] / "chaos" / "tools.py"
NAMES = ("h1", "h2", "h3")
CLIENT = 4
NODE_PORT, MEMBER_PORT, MEMBERS_PORT = 8420, 2379, 2380
READY_S = 45.0


def number(name: str) -> int:
    """Return the number of a host in its network."""
    return int(name[1:])


def others(name: str) -> list[str]:
    """Return the other two."""
    return [other for other in NAMES if other != name]


class HostNodes(ClusterProcesses):
    """A node on each host; each asks the member on its own host first."""

    def __init__(self, folder: Path, network: Network, members: Members) -> None:
        super().__init__(folder, target=TOOLS, ports=dict.fromkeys(NAMES, NODE_PORT))
        self.network = network
        self.logs = {name: members.url(nearest=name) for name in NAMES}
        self.clocks: dict[str, clock.Clock] = {}
        """The clocks of nodes that do not have the machine's."""

    def listen(self, name: str) -> str:
        return f"{Network.address(number(name))}:{NODE_PORT}"

    def command(self, name: str) -> list[str]:
        home = ("--data", str(self.folder / name), "--advertise", self.url(name))
        command = super().command(name)
        if name in self.clocks:
            assert command[1:3] == ["-m", "semel"]
            command[1:3] = [clock.__file__, str(self.clocks[name].file)]
        return [*self.network.rooms[number(name)].prefix, *command, *home]

    def output(self, name: str) -> Path:
        return self.folder / name / "node.out"


class Hosts:
    """The hosts and all that runs on them; to be used from inside the client's room.

    Raises:
        Refused: the network cannot be made here.
    """

    def __init__(self, folder: Path) -> None:
        self.network = Network(CLIENT)
        places = {
            name: Place(
                Network.address(number(name)), MEMBER_PORT, MEMBERS_PORT, self.network.rooms[number(name)].prefix
            )
            for name in NAMES
        }
        self.members = Members(folder, places)
        self.nodes = HostNodes(folder, self.network, self.members)
        self.nodes.effects.mkdir(parents=True)
        self.deaths: dict[str, list[Death]] = {}

    @property
    def urls(self) -> list[str]:
        """Where clients are to ask."""
        return [self.nodes.url(name) for name in NAMES]

    async def start(self) -> None:
        """Start all members and nodes, and wait until each is ready."""
        await self.members.start()
        await self.nodes.start(*NAMES)

    async def close(self) -> None:
        """End everything."""
        try:
            await self.nodes.stop()
        finally:
            await self.members.stop()
            self.network.close()

    async def be_ready(self) -> None:
        """Wait until all members and nodes are ready again, and all nodes hold the same."""
        for name in NAMES:
            await self.members.be_ready(name)
        for name in NAMES:
            await until(lambda name=name: self._is_ready(name), limit_s=READY_S, what=f"{name} to be ready")

    def _is_ready(self, name: str) -> bool:
        code, output = self.nodes.processes[name].returncode, self.nodes.output(name)
        assert code is None, f"the node {name} ended by itself with {code}: {output.read_text()[-600:]}"
        return bool(get_json(f"{self.nodes.url(name)}/readyz"))

    async def be_level(self) -> None:
        """Wait until every node holds the same; nobody may be calling."""

        def level() -> bool:
            return len({self.nodes.status(name)["position"] for name in NAMES}) == 1

        await until(level, limit_s=READY_S, what="all nodes to hold the whole log")

    async def leader(self, *, among: list[str] | None = None) -> str:
        """Return the host of semel's leader, by the word of one of these."""
        return await self.nodes.leader(among=among)

    # Harm to wires.

    def cut(self, name: str, *ports: int) -> AbstractContextManager[None]:
        """Cut a host from the other two, for all frames or those of some ports; the client reaches it still."""
        return self.network.cut([number(name)], map(number, others(name)), *ports)

    def deafen(self, name: str) -> AbstractContextManager[None]:
        """Let a host hear nothing of the other two, which hear it."""
        return self.network.cut_one_way(map(number, others(name)), [number(name)])

    def mute(self, name: str) -> AbstractContextManager[None]:
        """Let the other two hear nothing of a host, which hears them."""
        return self.network.cut_one_way([number(name)], map(number, others(name)))

    # Harm to processes.

    async def kill(self, *names: str, nodes: bool = True, members: bool = True) -> None:
        """Kill what runs on hosts, all of it at once, as a power cut would."""
        for name in names:
            if nodes:
                self.nodes.processes[name].kill()
                self.deaths.setdefault(name, []).append(Death(self._now_ms(name), "was killed"))
            if members:
                self.members.processes[name].kill()
        for name in names:
            if nodes:
                await self.nodes.processes[name].wait()
            if members:
                await self.members.processes[name].wait()

    def _now_ms(self, name: str) -> float:
        """Return a time later than all that a node's entries have so far, though its clock may have jumped."""
        off_s = self.nodes.clocks[name].off_s if name in self.nodes.clocks else 0
        return (time.time() + max(0, off_s)) * 1000

    async def restart(self, *names: str) -> None:
        """Start again what has been killed on hosts."""
        for name in names:
            for kind in (self.members, self.nodes):
                if kind.processes[name].returncode is not None:
                    await kind.launch(name)

    @contextmanager
    def frozen(self, name: str, *, members: bool = False) -> Iterator[None]:
        """Stop a host's node, or its node and its member; they go on as if no time had passed."""
        processes = [self.nodes.processes[name], *([self.members.processes[name]] if members else [])]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
