"""Three etcd members and three nodes on this machine, and who of them leads; knows nothing of what is measured."""

import asyncio
from pathlib import Path

from tests.processes.cluster import SERVER, ClusterProcesses, until
from tests.processes.etcd import Members, Place

NODES = {"n1": "m1", "n2": "m2", "n3": "m3"}
"""Each node's nearest member, by the node."""


class Quorum:
    """Members and nodes; each node asks its own member first, as on three machines."""

    def __init__(self, folder: Path) -> None:
        self.members = Members(folder / "etcd", {name: Place() for name in NODES.values()})
        self.nodes = ClusterProcesses(folder, target=SERVER, extra=("--data", str(folder / "data")))
        self.nodes.logs = {node: self.members.url(nearest=member) for node, member in NODES.items()}

    async def start(self) -> None:
        """Start all, and wait until each is ready."""
        await self.members.start()
        await self.nodes.start(*NODES)

    async def stop(self) -> None:
        """End all."""
        try:
            await self.nodes.stop()
        finally:
            await self.members.stop()

    async def restart(self) -> None:
        """Start again whoever has been killed, and wait until all are ready and hold the same."""
        for member, process in self.members.processes.items():
            if process.returncode is not None:
                await self.members.launch(member)
        dead = [node for node, process in self.nodes.processes.items() if process.returncode is not None]
        for member in self.members.places:
            await self.members.be_ready(member)
        await self.nodes.start(*dead)

    async def be_level(self) -> None:
        """Wait until every node holds the same; nobody may be calling."""

        def level() -> bool:
            return len({self.nodes.status(node)["position"] for node in NODES}) == 1

        await until(level, what="all nodes to hold the whole log")

    async def leader(self) -> str:
        """Return the node that leads."""
        return await self.nodes.leader()

    async def database_bytes(self) -> int:
        """Return the size of the largest member's database."""

        def largest() -> int:
            return max(int(self.members.status(member)["dbSize"]) for member in self.members.places)

        return await asyncio.to_thread(largest)
