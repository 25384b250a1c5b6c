"""The log that chaos runs on: where it is, what can be done to it, and what it says in the end.

Another engine is another `Store`.
"""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Protocol

PROGRAMS = Path(__file__).parents[1] / "log" / "programs.py"
DISK_MB = 256
SPARE_KB = 64

LOCK_WAIT_S = 10.0

Fault = Callable[[str], AbstractAsyncContextManager[bool]]
"""Something that is done, to a node if it is one that concerns it, for as long as its context is open; whether it
could be done."""


class Store(Protocol):
    """A log to do harm to."""

    faults: dict[str, Fault]
    """What can be done to it, by kind."""
    excuses: frozenset[str]
    """The kinds of harm that excuse a node that gives up and says so."""
    missing: dict[str, str]
    """What cannot be done to it here, and why."""

    def url(self, node: str) -> str:
        """Return where a node finds it."""
        ...

    async def open(self) -> None:
        """Have it ready for the nodes."""
        ...

    async def entries(self) -> list[bytes]:
        """Return every entry that it ever had."""
        ...

    def keep(self, folder: Path) -> None:
        """Copy what is left of it to a folder, for a look."""
        ...

    async def close(self) -> None:
        """Leave nothing behind."""
        ...


class SqliteStore:
    """A SQLite log, on a small disk of its own where one can be mounted."""

    def __init__(self, folder: Path) -> None:
        self._disk = folder / "disk"
        self._disk.mkdir()
        self._file = self._disk / "log.db"
        self.faults: dict[str, Fault] = {"lock held": self._lock_held, "transaction held": self._transaction_held}
        self.missing: dict[str, str] = {}
        refusal = _mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(self._disk))
        self._mounted = not refusal
        if refusal:
            self.missing["disk full"] = refusal
        else:
            self.faults["disk full"] = self._disk_full
        self.excuses = frozenset({*self.faults, "stop"})  # a stopped node may hold the lock

    def url(self, node: str) -> str:
        return f"sqlite://{self._file}"

    async def open(self) -> None:
        pass

    @asynccontextmanager
    async def _disk_full(self, _: str) -> AsyncIterator[bool]:
        """Shrink the disk to what is in use on it."""
        full = False
        for _ in range(50):  # it grows meanwhile
            used_kb = shutil.disk_usage(self._disk).used // 1024
            if full := not await asyncio.to_thread(self._resize, f"{used_kb + SPARE_KB}k"):
                break
        try:
            yield full
        finally:
            refusal = await asyncio.to_thread(self._resize, f"{DISK_MB}m")
            assert not refusal, refusal

    def _resize(self, size: str) -> str:
        return _mount("-o", f"remount,size={size}", str(self._disk))

    @asynccontextmanager
    async def _lock_held(self, _: str) -> AsyncIterator[bool]:
        """Let another process hold the lock that semel's own appends take."""
        async with _program("hold_lock", self._file) as held:
            yield held

    @asynccontextmanager
    async def _transaction_held(self, _: str) -> AsyncIterator[bool]:
        """Let another process hold SQLite's lock, as a tool would that knows nothing of semel."""
        async with _program("hold_transaction", self._file) as held:
            yield held

    async def entries(self) -> list[bytes]:
        """Return every entry, read from the storage itself."""
        with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT position, entry FROM entries ORDER BY position").fetchall()
        assert [position for position, _ in rows] == list(range(1, len(rows) + 1)), "the log has a gap"
        return [entry for _, entry in rows]

    def keep(self, folder: Path) -> None:
        if self._mounted:
            shutil.copytree(self._disk, folder / "disk-kept")

    async def close(self) -> None:
        if self._mounted:
            await asyncio.to_thread(subprocess.run, ["umount", "--lazy", self._disk], check=True)


def _mount(*arguments: str) -> str:
    """Return why it cannot be mounted; empty if it was."""
    try:
        ended = subprocess.run(["mount", *arguments], stderr=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        return str(error)
    return ended.stderr.strip() if ended.returncode else ""


@asynccontextmanager
async def _program(name: str, file: Path) -> AsyncIterator[bool]:
    """Run one of the log tests' programs until the context closes; whether it says that it has what it wants."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAMS), name, str(file)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = b""
        with contextlib.suppress(TimeoutError):
            said = await asyncio.wait_for(process.stdout.readline(), LOCK_WAIT_S)
        yield bool(said)
    finally:
        process.kill()
        await process.wait()
