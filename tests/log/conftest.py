"""Logs to test: every engine for the contract, a file for what is SQLite's own; no test waits without a bound."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from semel.log.memory import MemoryLog
from semel.log.protocol import Log
from semel.log.sqlite import SqliteLog

PATIENCE_S = 20

OpenLog = Callable[[], Awaitable[SqliteLog]]
Entries = Callable[..., Awaitable[list[bytes]]]
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


@pytest.fixture(params=["memory", "sqlite", "sqlite opened twice"])
async def handles(request: pytest.FixtureRequest, open_sqlite: OpenLog) -> tuple[Log, Log]:
    """Two handles of one empty log."""
    match request.param:
        case "memory":
            log: Log = MemoryLog()
            return log, log
        case "sqlite":
            log = await open_sqlite()
            return log, log
        case _:
            return await open_sqlite(), await open_sqlite()


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
