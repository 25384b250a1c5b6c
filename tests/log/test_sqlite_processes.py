"""One log, several real processes, and real kills."""

import asyncio
import itertools
import random
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from semel.log.sqlite import SqliteLog

pytestmark = pytest.mark.anyio

OpenLog = Callable[[], Awaitable[SqliteLog]]
Entries = Callable[..., Awaitable[list[bytes]]]
StartProcess = Callable[..., "subprocess.Popen[str]"]


def _acknowledged(output: str) -> dict[int, str]:
    """Read lines of "position text"."""
    lines = [line.split(" ", 1) for line in _lines(output)]
    return {int(position): text.strip() for position, text in lines}


def _lines(output: str) -> list[str]:
    """Return the whole lines; the last may have been cut off by a kill, and then was not said."""
    return [line for line in output.splitlines(keepends=True) if line.endswith("\n")]


async def test_processes_that_append_at_once_lose_and_double_nothing(
    log_file: Path, open_sqlite: OpenLog, start_process: StartProcess, entries: Entries
) -> None:
    appenders = [start_process("contend", log_file, name, 200) for name in "abcd"]
    for appender in appenders:
        assert appender.stdout
        assert appender.stdout.readline() == "open\n"
    ends = [asyncio.to_thread(appender.communicate, "go\n", timeout=60) for appender in appenders]
    outputs = [output for output, _ in await asyncio.gather(*ends)]
    assert [appender.returncode for appender in appenders] == [0] * 4

    acknowledged: dict[int, str] = {}
    for output in outputs:
        one = _acknowledged(output)
        assert not acknowledged.keys() & one.keys()
        acknowledged |= one
    written = {f"{name}:{number}:{part}" for name in "abcd" for number in range(200) for part in range(1 + number % 3)}
    assert sorted(acknowledged.values()) == sorted(written)
    log = await open_sqlite()
    assert await log.tail() == len(written)
    in_the_log = [entry.decode() for entry in await entries(log, len(written))]
    assert in_the_log == [acknowledged[position] for position in range(1, len(written) + 1)]


@pytest.mark.parametrize("survivors", [0, 1])
async def test_what_was_acknowledged_before_a_kill_is_in_the_log(
    log_file: Path, open_sqlite: OpenLog, start_process: StartProcess, entries: Entries, survivors: int
) -> None:
    chance = random.Random(15)  # the moments of the kills
    for _ in range(survivors):  # a process that has the log open all the time; else each kill of the last one
        await open_sqlite()  # leaves the write-ahead file for the next to recover
    acknowledged: dict[int, str] = {}
    for life in range(15):
        # Large entries, so that many kills meet a checkpoint; two appenders, so that one outlives the other.
        pair = [start_process("append_until_killed", log_file, f"{life}{side}", 100_000) for side in "ab"]
        for appender in pair:
            lines = await asyncio.to_thread(_kill_after, appender, chance.randrange(1, 60))
            acknowledged |= _acknowledged(lines)

    log = await open_sqlite()
    in_the_log = [entry.decode().strip() for entry in await entries(log, await log.tail())]
    assert len(acknowledged) > 100
    assert {position: in_the_log[position - 1] for position in acknowledged} == acknowledged
    assert len(set(in_the_log)) == len(in_the_log)


async def test_a_process_killed_while_it_makes_the_log_leaves_a_log_or_an_empty_place(
    tmp_path: Path, start_process: StartProcess
) -> None:
    for moment in range(12):
        log_file = tmp_path / f"{moment}.db"
        maker = start_process("open_and_append", log_file, "a")
        assert maker.stdin
        assert maker.stdout
        maker.stdout.readline()
        maker.stdin.write("go\n")
        maker.stdin.flush()
        await asyncio.sleep(moment / 1000)  # no wait for anything: the making takes about as long, and is cut anywhere
        maker.kill()
        acknowledged = _lines(maker.stdout.read())
        log = await SqliteLog.open(log_file)
        tail = await log.tail()
        assert tail == 1 or not acknowledged
        assert await log.append(tail, [b"b"]) == tail + 1
        await log.close()


def _kill_after(appender: "subprocess.Popen[str]", lines: int) -> str:
    assert appender.stdout
    read = [appender.stdout.readline() for _ in range(lines)]
    appender.kill()
    return "".join(read) + appender.stdout.read()


async def test_a_follower_is_given_what_its_own_process_appends_though_that_never_stops_writing(
    open_sqlite: OpenLog, entries: Entries
) -> None:
    log = await open_sqlite()
    followed = asyncio.ensure_future(entries(log, 50))
    writing = log.append(0, [b"0"])
    for number in itertools.count(1):
        following = log.append(number, [b"%d" % number])  # asked for before the one before it is there
        await writing
        writing = following
        if followed.done():
            break
    await writing
    assert (await followed)[:50] == [b"%d" % number for number in range(50)]


async def test_a_follower_sees_what_another_process_appends(
    log_file: Path, open_sqlite: OpenLog, start_process: StartProcess, entries: Entries
) -> None:
    log = await open_sqlite()
    followed = asyncio.ensure_future(entries(log, 20))
    appender = start_process("append_until_killed", log_file, "a", 0)
    assert [entry.decode() for entry in (await followed)[:20]] == [f"a:{number}" for number in range(20)]
    appender.kill()


async def test_a_log_outlives_the_processes_that_leave_in_turn(
    log_file: Path, start_process: StartProcess, open_sqlite: OpenLog
) -> None:
    for number in range(1, 4):
        output, _ = start_process("open_and_append", log_file, number).communicate("go\n", timeout=30)
        assert output.splitlines() == ["ready", str(number)]
        assert not Path(f"{log_file}-wal").exists()
    assert await (await open_sqlite()).tail() == 3
