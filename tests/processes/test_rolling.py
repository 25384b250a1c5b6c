"""A rolling restart of all nodes under load fails no call, and runs none twice."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.log.members import EtcdCluster, etcd_binary
from tests.processes.cluster import ClusterProcesses, get_audit, until
from tests.processes.rolling import Load, leave_by_drain, leave_by_signal

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

NODES = ("n1", "n2", "n3")

Leave = Callable[[ClusterProcesses, str], Awaitable[int]]


@asynccontextmanager
async def on_sqlite(folder: Path) -> AsyncIterator[ClusterProcesses]:
    """Yield a cluster whose nodes share a file."""
    cluster = ClusterProcesses(folder)
    try:
        yield cluster
    finally:
        await cluster.stop()


@asynccontextmanager
async def on_etcd(folder: Path) -> AsyncIterator[ClusterProcesses]:
    """Yield a cluster whose log is in three members of etcd."""
    binary = etcd_binary()
    if binary is None:
        pytest.skip("no etcd is on this machine")
    with EtcdCluster(binary, folder / "etcd", members=3) as etcd:
        log = f"etcd://{','.join(etcd.endpoints)}/pay"
        cluster = ClusterProcesses(folder, log=log, extra=("--data", str(folder / "nodes")))
        try:
            yield cluster
        finally:
            await cluster.stop()


LOGS = {"sqlite": on_sqlite, "etcd": on_etcd}
"""Clusters by the engine of their log, of processes that have not been started."""


@pytest.mark.parametrize("leave", [leave_by_signal, leave_by_drain], ids=["SIGTERM", "semel drain"])
@pytest.mark.parametrize("log", LOGS)
async def test_a_rolling_restart_of_all_nodes_under_load_fails_no_call_and_runs_none_twice(
    tmp_path: Path, log: str, leave: Leave
) -> None:
    async with LOGS[log](tmp_path) as cluster:
        await cluster.start(*NODES)
        load = Load(cluster)
        load.begin()
        for name in NODES:
            await load.served()
            assert await leave(cluster, name) == 0
            await load.served()
            await cluster.start(name)
        await load.served()
        await load.end()

        assert load.failed == {}
        assert set(load.told.values()) == {"ok"}
        assert load.runs().keys() == load.told.keys()
        assert load.runs_again() == {}
        await until(
            lambda: len({cluster.status(name)["position"] for name in NODES}) == 1, what="all to hold the whole log"
        )
        audits = [get_audit(url) for url in cluster.urls]
        assert audits[0] == audits[1] == audits[2]
        assert {row["key"] for row in audits[0]} == set(load.told)
        assert {row["attempt"] for row in audits[0]} == {1}
