"""What `SqliteLog.open` finds at a path, and what it says to it."""

import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from semel.errors import LogDamaged, LogForeign, LogNewer, LogReadOnly, UsageError
from semel.log.engines import open_log
from semel.log.memory import MemoryLog
from semel.log.sqlite import SqliteLog

pytestmark = pytest.mark.anyio

OpenLog = Callable[[], Awaitable[SqliteLog]]
StartProcess = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    log = await open_log(f"sqlite://{tmp_path}/a/b/log.db")
    assert await log.append(0, [b"a"]) == 1
    await log.close()
    assert (tmp_path / "a" / "b" / "log.db").is_file()


async def test_an_empty_file_becomes_a_log(log_file: Path, open_sqlite: OpenLog) -> None:
    log_file.touch()
    log = await open_sqlite()
    assert await log.append(0, [b"a"]) == 1


async def test_a_log_is_the_same_after_it_was_closed(log_file: Path, open_sqlite: OpenLog) -> None:
    log = await open_sqlite()
    await log.append(0, [b"a", b"b"])
    await log.trim(2)
    await log.close()
    assert not Path(f"{log_file}-wal").exists()
    again = await open_sqlite()
    assert await again.tail() == 2
    assert await again.append(2, [b"c"]) == 3


async def test_a_path_with_odd_characters_is_a_path(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "a ?b#c%20d&é.db")
    await log.append(0, [b"a"])
    await log.close()
    assert (tmp_path / "a ?b#c%20d&é.db").is_file()


async def test_links_to_one_file_are_one_log_with_one_lock(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "log.db")
    linked = await SqliteLog.open(tmp_path / "link.db")
    await log.append(0, [b"a"])
    assert await linked.tail() == 1
    assert linked.home == log.home == tmp_path / "log.db.nodes"
    await log.close()
    await linked.close()
    assert not (tmp_path / "link.db-lock").exists()


async def test_processes_that_make_one_log_at_once_all_succeed(log_file: Path, start_process: StartProcess) -> None:
    processes = [start_process("open_and_append", log_file, number) for number in range(6)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    positions = [process.communicate("go\n", timeout=30)[0] for process in processes]
    assert sorted(map(int, positions)) == [1, 2, 3, 4, 5, 6]


async def test_a_folder_is_not_a_log(tmp_path: Path) -> None:
    with pytest.raises(LogForeign, match="is not a file"):
        await SqliteLog.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_database_of_another_program_is_refused_and_not_touched(log_file: Path) -> None:
    stranger = sqlite3.connect(log_file)
    stranger.execute("PRAGMA journal_mode = WAL")
    stranger.execute("CREATE TABLE entries (position INTEGER PRIMARY KEY, entry BLOB)")
    stranger.commit()
    stranger.close()
    await _assert_refused_and_untouched(log_file, "another program")


async def test_a_database_that_another_program_has_open_is_refused_and_not_touched(log_file: Path) -> None:
    stranger = sqlite3.connect(log_file)
    stranger.execute("PRAGMA application_id = 77")
    stranger.execute("PRAGMA journal_mode = WAL")
    stranger.execute("CREATE TABLE theirs (x)")
    await _assert_refused_and_untouched(log_file, "another program")
    stranger.execute("INSERT INTO theirs VALUES (1)")
    stranger.close()


@pytest.mark.parametrize("content", [b"xy", b"a text of some length\n" * 1000, b"\0" * 8192])
async def test_a_file_that_is_no_database_is_refused_and_not_touched(log_file: Path, content: bytes) -> None:
    log_file.write_bytes(content)
    await _assert_refused_and_untouched(log_file, "not an SQLite file")


async def _assert_refused_and_untouched(log_file: Path, reason: str) -> None:
    before = {file.name: file.read_bytes() for file in log_file.parent.iterdir() if not file.name.endswith("-shm")}
    with pytest.raises(LogForeign, match=reason):
        await SqliteLog.open(log_file)
    after = {file.name: file.read_bytes() for file in log_file.parent.iterdir() if not file.name.endswith("-shm")}
    assert after == before


async def test_a_log_of_a_newer_semel_is_refused(log_file: Path, open_sqlite: OpenLog) -> None:
    await (await open_sqlite()).close()
    _edit(log_file, "PRAGMA user_version = 2")
    with pytest.raises(LogNewer, match="format 2"):
        await open_sqlite()


async def test_a_log_that_was_cut_short_is_damaged(log_file: Path, open_sqlite: OpenLog) -> None:
    log = await open_sqlite()
    await log.append(0, [b"x" * 5000] * 20)
    await log.close()
    os.truncate(log_file, 8192)
    with pytest.raises(LogDamaged):
        await open_sqlite()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM entries WHERE position <= 2",
        "DELETE FROM entries",
        "DELETE FROM meta",
        "DROP TABLE meta",
        "DROP TABLE entries",
    ],
)
async def test_a_log_that_has_lost_its_beginning_is_damaged(log_file: Path, open_sqlite: OpenLog, damage: str) -> None:
    log = await open_sqlite()
    await log.append(0, [b"a", b"b", b"c"])
    await log.trim(2)
    await log.close()
    _edit(log_file, damage)
    with pytest.raises(LogDamaged, match=str(log_file)):
        await open_sqlite()


async def test_a_user_who_cannot_write_the_folder_is_told_so(open_folder: Path, start_process: StartProcess) -> None:
    assert "read and written" in _refusal_for_nobody(open_folder / "log.db", start_process)
    assert "cannot be written" in _refusal_for_nobody(open_folder / "new" / "log.db", start_process)
    assert list(open_folder.iterdir()) == []


async def test_a_user_who_cannot_write_the_file_is_told_so(open_folder: Path, start_process: StartProcess) -> None:
    await (await SqliteLog.open(open_folder / "log.db")).close()
    (open_folder / "log.db").chmod(0o444)
    open_folder.chmod(0o777)
    assert "log.db cannot be read and written" in _refusal_for_nobody(open_folder / "log.db", start_process)


async def test_a_user_who_cannot_enter_the_folder_is_told_so(open_folder: Path, start_process: StartProcess) -> None:
    open_folder.chmod(0o700)
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder that the process of this test cannot enter, and remove it")
    assert "Permission denied" in _refusal_for_nobody(open_folder / "log.db", start_process)


def _refusal_for_nobody(log_file: Path, start_process: StartProcess) -> str:
    """Return what `open` says to a user who owns nothing: root may write everything, so a process plays it."""
    refusal, _ = start_process("open_as_nobody", log_file).communicate(timeout=30)
    return refusal


async def test_a_folder_that_is_a_file_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogReadOnly, match="file"):
        await SqliteLog.open(tmp_path / "file" / "log.db")


def _edit(log_file: Path, statement: str) -> None:
    connection = sqlite3.connect(log_file, isolation_level=None)
    connection.execute(statement)
    connection.close()


async def test_memory_names_a_new_log_each_time() -> None:
    first, second = await open_log("memory:"), await open_log("memory:")
    assert isinstance(first, MemoryLog)
    assert first.home is None
    await first.append(0, [b"a"])
    assert await second.tail() == 0


@pytest.mark.parametrize("url", ["sqlite:log.db", "sqlite:./log.db", "sqlite:{here}/log.db", "SQLITE:///{here}/log.db"])
async def test_a_sqlite_url_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    log = await open_log(url.format(here=tmp_path))
    assert log.home == tmp_path / "log.db.nodes"
    await log.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("log.db", "names no log.*memory:.*sqlite:///"),
        ("/var/lib/log.db", "names no log"),
        ("", "names no log"),
        ("postgres://host/db", "names no log.*memory:.*sqlite:///"),
        ("etcd:h1:2379", "two slashes"),
        ("memory:x", "nothing after"),
        ("sqlite:", "name the file"),
        ("sqlite:///", "name the file"),
        ("sqlite:folder/", "name the file"),
        ("sqlite://log.db", "sqlite:relative/path"),
        ("sqlite:///log.db?mode=ro", "no options"),
    ],
)
async def test_a_url_that_names_no_log_is_refused_with_the_schemes(url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        await open_log(url)
