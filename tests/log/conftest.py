"""Logs to test: every engine for the contract, a file for what is SQLite's own, an etcd for what is etcd's.

No test waits without a bound. etcd's members live as long as the test session, or as the test that may harm them.
"""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from semel.log.engines import open_log
from semel.log.etcd.engine import EtcdLog
from semel.log.memory import MemoryLog
from semel.log.protocol import Log
from semel.log.sqlite import SqliteLog
from tests.log.members import EtcdCluster, etcd_binary

PATIENCE_S = 20

OpenLog = Callable[[], Awaitable[SqliteLog]]
Entries = Callable[..., Awaitable[list[bytes]]]
OpenEtcd = Callable[..., Awaitable[EtcdLog]]
StartProcess = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def open_sqlite(log_file: Path) -> AsyncIterator[OpenLog]:
    """Open the log in `log_file`, as often as called; each is closed at the end."""
    async with AsyncExitStack() as opened:

        async def open_one() -> SqliteLog:
            log = await SqliteLog.open(log_file)
            opened.push_async_callback(log.close)
            return log

        yield open_one


@pytest.fixture(scope="session")
def etcd_binary_path() -> Path:
    binary = etcd_binary()
    if binary is None:
        pytest.skip("no etcd is installed: sudo apt-get install etcd-server")
    return binary


@pytest.fixture(scope="session")
def etcd(etcd_binary_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One member, for tests that do it no harm."""
    with EtcdCluster(etcd_binary_path, tmp_path_factory.mktemp("etcd"), members=1) as cluster:
        yield cluster


@pytest.fixture
def three_members(etcd_binary_path: Path, tmp_path: Path) -> Iterator[EtcdCluster]:
    """Three members of this test's own."""
    with EtcdCluster(etcd_binary_path, tmp_path / "etcd", members=3) as cluster:
        yield cluster


_prefixes = (f"test-{number}" for number in itertools.count(1))


@pytest.fixture
async def open_etcd(tmp_path: Path) -> AsyncIterator[OpenEtcd]:
    """Open a log at these endpoints, the same empty one as often as called; each is closed at the end."""
    prefix = next(_prefixes)
    async with AsyncExitStack() as opened:

        async def open_one(*endpoints: str, login: str = "", query: str = "") -> EtcdLog:
            log = await open_log(f"etcd://{login}{','.join(endpoints)}/{prefix}{query}", tmp_path)
            assert isinstance(log, EtcdLog)
            opened.push_async_callback(log.close)
            return log

        yield open_one


@pytest.fixture(params=["memory", "sqlite", "sqlite opened twice", "etcd", "etcd opened twice"])
async def handles(request: pytest.FixtureRequest, open_sqlite: OpenLog, open_etcd: OpenEtcd) -> tuple[Log, Log]:
    """Two handles of one empty log."""
    match request.param:
        case "memory":
            log: Log = MemoryLog()
            return log, log
        case "sqlite":
            log = await open_sqlite()
            return log, log
        case "sqlite opened twice":
            return await open_sqlite(), await open_sqlite()
        case "etcd":
            log = await open_etcd(*request.getfixturevalue("etcd").endpoints)
            return log, log
        case _:
            endpoints = request.getfixturevalue("etcd").endpoints
            return await open_etcd(*endpoints), await open_etcd(*endpoints)


@pytest.fixture
def log(handles: tuple[Log, Log]) -> Log:
    return handles[0]


@pytest.fixture
def other(handles: tuple[Log, Log]) -> Log:
    """Another handle of the same log as `log`; for some engines it is the same one."""
    return handles[1]


@pytest.fixture
def entries() -> Entries:
    """Follow a log until it has given `count` entries, and check that their positions have no gap."""

    async def collect(log: Log, count: int, *, after: int = 0) -> list[bytes]:
        found: list[bytes] = []
        async with asyncio.timeout(PATIENCE_S), aclosing(log.follow(after)) as batches:  # type: ignore[type-var]
            while len(found) < count:
                batch = await anext(batches)
                assert batch.first == after + len(found) + 1
                assert batch.entries
                found.extend(batch.entries)
        return found

    return collect


@pytest.fixture
def start_process() -> Iterator[StartProcess]:
    """Start one of the programs of `programs.py`; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, str(Path(__file__).with_name("programs.py")), program, *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()
