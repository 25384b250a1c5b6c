"""Full disks, stolen locks, damage and neighbours that die: what `SqliteLog` says, and that nothing is lost."""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from semel.errors import LogDamaged, LogError, LogReadOnly, LogUnavailable
from semel.log.sqlite import SqliteLog
from semel.log.sqlite.faults import faults_told
from semel.log.sqlite.opening import connect_to_read, connect_to_write

pytestmark = pytest.mark.anyio

OpenLog = Callable[[], Awaitable[SqliteLog]]
Entries = Callable[..., Awaitable[list[bytes]]]
StartProcess = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if refusal := _mount("-t", "tmpfs", "-o", "size=4m", "none", disk):
        pytest.skip(f"a full disk needs a disk of its own: {refusal}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # a test that failed may have left files open


def _mount(*arguments: str | Path) -> str:
    """Return why it cannot be mounted; empty if it was."""
    return subprocess.run(["mount", *arguments], stderr=subprocess.PIPE, text=True, check=False).stderr.strip()


async def test_a_full_disk_loses_nothing_and_heals(small_disk: Path, entries: Entries) -> None:
    log = await SqliteLog.open(small_disk / "log.db")
    await log.append(0, [b"before"])
    ballast = small_disk / "ballast"
    _fill(ballast)
    proposal = [b"%d" % number * 1000 for number in range(100)]
    for _ in range(3):
        with pytest.raises(LogUnavailable, match=r"disk that holds .*log\.db is full"):
            await log.append(1, proposal)
    assert await log.tail() == 1
    assert await entries(log, 1) == [b"before"]
    ballast.unlink()
    assert await log.append(1, proposal) == 101
    assert await entries(log, 101) == [b"before", *proposal]
    await log.close()


async def test_a_log_on_a_full_disk_is_made_once_there_is_space(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    _fill(ballast)
    with pytest.raises(LogUnavailable):
        await SqliteLog.open(small_disk / "log.db")
    ballast.unlink()
    log = await SqliteLog.open(small_disk / "log.db")
    assert await log.append(0, [b"a"]) == 1
    await log.close()


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


async def test_a_disk_that_is_mounted_read_only_is_told_so(small_disk: Path) -> None:
    await (await SqliteLog.open(small_disk / "log.db")).close()
    _mount("-o", "remount,ro", small_disk)
    with pytest.raises(LogReadOnly, match="cannot be read and written"):
        await SqliteLog.open(small_disk / "log.db")
    with pytest.raises(LogReadOnly):
        await SqliteLog.open(small_disk / "folder" / "log.db")


@pytest.mark.parametrize("program", ["hold_lock", "hold_transaction"])
async def test_an_append_gives_up_while_another_process_holds_the_log_and_works_again_after(
    log_file: Path, open_sqlite: OpenLog, start_process: StartProcess, entries: Entries, program: str
) -> None:
    log = await open_sqlite()
    follower = await open_sqlite()
    await log.append(0, [b"a"])
    holder = start_process(program, log_file)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    followed = asyncio.ensure_future(entries(follower, 2))
    with pytest.raises(LogUnavailable, match=f"process {holder.pid} |another process"):
        await log.append(1, [b"b"])
    assert await log.tail() == 1
    holder.communicate(timeout=30)
    assert await log.append(1, [b"b"]) == 2
    assert await followed == [b"a", b"b"]


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds a lock")
async def test_a_stopped_process_that_holds_the_lock_is_named_with_what_to_do(
    log_file: Path, open_sqlite: OpenLog, start_process: StartProcess
) -> None:
    log = await open_sqlite()
    holder = start_process("hold_lock", log_file)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(LogUnavailable, match=rf"process {holder.pid} \(.*\), which is stopped .*kill -CONT"):
            await log.append(0, [b"a"])
    finally:
        holder.send_signal(signal.SIGCONT)
        holder.kill()
        holder.wait()


async def test_a_lock_is_free_once_its_holder_is_killed(
    log_file: Path, open_sqlite: OpenLog, start_process: StartProcess
) -> None:
    log = await open_sqlite()
    holder = start_process("hold_lock", log_file)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    assert await log.append(0, [b"a"]) == 1


async def test_a_lock_file_that_was_deleted_is_made_anew_and_still_excludes(
    log_file: Path, open_sqlite: OpenLog, start_process: StartProcess
) -> None:
    log = await open_sqlite()
    Path(f"{log_file}-lock").unlink()
    assert await log.append(0, [b"a"]) == 1
    holder = start_process("hold_lock", log_file)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LogUnavailable, match="has held the log's lock"):
        await log.append(1, [b"b"])


@pytest.mark.parametrize("delete", [False, True])
async def test_an_append_to_a_file_that_was_taken_away_is_never_acknowledged(
    log_file: Path, open_sqlite: OpenLog, delete: bool
) -> None:
    log = await open_sqlite()
    await log.append(0, [b"a"])
    if delete:
        log_file.unlink()
    else:
        log_file.rename(log_file.with_name("old.db"))
        log_file.touch()
    with pytest.raises(LogDamaged, match="removed or replaced"):
        await log.append(1, [b"b"])


async def test_a_missing_position_is_named(log_file: Path, open_sqlite: OpenLog, entries: Entries) -> None:
    log = await open_sqlite()
    await log.append(0, [b"x"] * 10)
    with closing(sqlite3.connect(log_file, isolation_level=None)) as vandal:
        vandal.execute("DELETE FROM entries WHERE position = 7")
    with pytest.raises(LogDamaged, match="position 7 is missing"):
        await entries(await open_sqlite(), 10)  # who wrote it may not have to read it


async def test_a_waiting_follower_is_told_that_the_end_is_gone(
    log_file: Path, open_sqlite: OpenLog, entries: Entries
) -> None:
    log = await open_sqlite()
    await log.append(0, [b"x"] * 10)
    waiting = asyncio.ensure_future(entries(log, 1, after=10))
    with closing(sqlite3.connect(log_file, isolation_level=None)) as vandal:
        vandal.execute("DELETE FROM entries WHERE position > 8")
    with pytest.raises(LogDamaged, match="ends at position 8"):
        await waiting


async def test_a_damaged_page_is_found_when_it_is_read(log_file: Path, open_sqlite: OpenLog, entries: Entries) -> None:
    log = await open_sqlite()
    await log.append(0, [b"x" * 1000] * 200)
    await log.close()
    content = bytearray(log_file.read_bytes())
    content[4096 * 20 : 4096 * 30] = bytes(4096 * 10)
    log_file.write_bytes(content)
    damaged = await open_sqlite()  # both ends are whole
    with pytest.raises(LogDamaged, match=str(log_file)):
        await entries(damaged, 200)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, LogUnavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, LogUnavailable),
        (sqlite3.SQLITE_LOCKED, LogUnavailable),
        (sqlite3.SQLITE_FULL, LogUnavailable),
        (sqlite3.SQLITE_IOERR_FSYNC, LogUnavailable),
        (sqlite3.SQLITE_IOERR_WRITE, LogUnavailable),
        (sqlite3.SQLITE_CANTOPEN, LogUnavailable),
        (sqlite3.SQLITE_READONLY, LogReadOnly),
        (sqlite3.SQLITE_CORRUPT_INDEX, LogDamaged),
        (sqlite3.SQLITE_NOTADB, LogDamaged),
    ],
)
def test_what_may_heal_is_unavailable_and_what_cannot_is_not(code: int, kind: type[LogError]) -> None:
    error = sqlite3.OperationalError("as SQLite puts it")
    error.sqlite_errorcode = code
    with pytest.raises(kind, match=r"log\.db"), faults_told(Path("log.db")):
        raise error


async def test_the_write_ahead_file_stays_bounded_while_others_follow(
    log_file: Path, open_sqlite: OpenLog, entries: Entries
) -> None:
    log, follower = await open_sqlite(), await open_sqlite()
    followed = asyncio.ensure_future(entries(follower, 640))
    for number in range(0, 640, 8):
        await log.append(number, [b"x" * 100_000] * 8)
    assert len(await followed) == 640
    assert Path(f"{log_file}-wal").stat().st_size < 24_000_000  # of 64 MB appended


async def test_the_write_ahead_file_stays_bounded_by_small_appends_too(log_file: Path, open_sqlite: OpenLog) -> None:
    log = await open_sqlite()
    for number in range(1500):
        await log.append(number, [b"x" * 200])
    assert Path(f"{log_file}-wal").stat().st_size < 8_000_000  # of about 12 MB written


def test_an_append_is_synced_before_it_returns_and_nothing_else_checkpoints(log_file: Path) -> None:
    with closing(connect_to_write(log_file)) as writing, closing(connect_to_read(log_file, busy_s=0)) as reading:
        assert writing.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writing.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: a sync with each commit
        for connection in (writing, reading):
            assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


async def test_a_pulse_survives_whatever_is_done_to_its_files(log_file: Path, open_sqlite: OpenLog) -> None:
    log, other = await open_sqlite(), await open_sqlite()
    folder = Path(f"{log_file}-pulses")
    folder.touch()  # nothing can be kept in it
    await log.pulse("a", b"lost")
    assert await other.pulses() == {}
    folder.unlink()
    await log.pulse("a", b"1")
    (folder / "b.beat").mkdir()
    (folder / "c.beat").touch()
    (folder / "stray").touch()
    assert await other.pulses() == {"a": b"1"}
    for file in folder.iterdir():
        file.rmdir() if file.is_dir() else file.unlink()
    folder.rmdir()
    assert await other.pulses() == {}
    await log.retire("a")
    await log.pulse("a", b"2")
    assert await other.pulses() == {"a": b"2"}


async def test_a_log_whose_folder_was_taken_away_still_closes(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "folder" / "log.db")
    await log.append(0, [b"a"])
    shutil.rmtree(tmp_path / "folder")
    for _ in range(2):
        with pytest.raises(LogError, match="folder"):
            await log.append(1, [b"b"])
    await log.close()
    assert not [name for name in _open_files() if name.startswith(str(tmp_path))]


async def test_a_closed_log_says_so_to_everybody(open_sqlite: OpenLog, entries: Entries) -> None:
    log = await open_sqlite()
    waiting = asyncio.ensure_future(entries(log, 1))
    await log.pulse("a", b"1")  # by now the follower waits
    await log.close()
    for refused in (waiting, log.append(0, [b"a"]), log.tail(), log.trim(1), log.pulses(), entries(log, 1)):
        with pytest.raises(LogError, match="is closed"):
            await refused


async def test_closing_gives_back_threads_and_files(log_file: Path, open_sqlite: OpenLog) -> None:
    threads = set(threading.enumerate())
    log = await open_sqlite()
    await log.append(0, [b"a"])
    await log.tail()
    await log.pulse("a", b"1")
    await log.close()
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith("semel-log"):
            await asyncio.to_thread(thread.join, timeout=10)
            assert not thread.is_alive()
    assert not [name for name in _open_files() if name.startswith(str(log_file))]


def _open_files() -> list[str]:
    """Return the names of this process's open files, where the system tells them."""
    names: list[str] = []
    if sys.platform != "linux":
        return names
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing itself was open, and no longer is
            names.append(str(link.readlink()))
    return names
