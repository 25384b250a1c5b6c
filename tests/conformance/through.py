"""What stands between the suite and the server that it calls: nothing, one node of semel, or a follower of three."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tests.ports import free_port
from tests.processes.cluster import ClusterProcesses, until

EVERYTHING = Path(__file__).with_name("everything.py")
NODES = ("n1", "n2", "n3")

Way = Callable[[Path], AbstractAsyncContextManager[str]]
"""Opens the way to the server, with a folder to write in, and gives the URL for the suite."""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def direct(folder: Path) -> AsyncIterator[str]:
    """Nothing: the SDK serves it."""
    port = free_port()
    with (folder / "everything.out").open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EVERYTHING), str(port)), stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        await until(lambda: listens(port), what="the server to listen")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def node(folder: Path) -> AsyncIterator[str]:
    """Serve it by one node, which leads."""
    async with _cluster(folder, "n1") as cluster:
        await cluster.leader()
        yield f"{cluster.url('n1')}/mcp"


@asynccontextmanager
async def follower(folder: Path) -> AsyncIterator[str]:
    """Serve it by three nodes, and ask one that does not lead."""
    async with _cluster(folder, *NODES) as cluster:
        leader = await cluster.leader()
        yield f"{cluster.url(next(name for name in NODES if name != leader))}/mcp"


@asynccontextmanager
async def failover(folder: Path) -> AsyncIterator[str]:
    """Serve it by three nodes, kill the leader, and ask the one that still does not lead."""
    async with _cluster(folder, *NODES) as cluster:
        await cluster.kill(await cluster.leader())
        live = [name for name in NODES if cluster.processes[name].returncode is None]
        leader = await cluster.leader(among=live)
        yield f"{cluster.url(next(name for name in live if name != leader))}/mcp"


WAYS: dict[str, Way] = {"direct": direct, "node": node, "follower": follower, "failover": failover}


@asynccontextmanager
async def _cluster(folder: Path, *names: str) -> AsyncIterator[ClusterProcesses]:
    cluster = ClusterProcesses(folder, EVERYTHING)
    try:
        await cluster.start(*names)
        yield cluster
    finally:
        await cluster.stop()
