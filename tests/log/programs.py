"""Programs that the log's tests run as processes of their own: `programs.py NAME PATH ...`.

Each writes a line to stdout when it has got somewhere, and ends when its stdin does.
"""

import asyncio
import fcntl
import itertools
import os
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from semel.errors import Conflict, LogReadOnly, LogUnavailable
from semel.log.protocol import Log
from semel.log.sqlite import SqliteLog

NOBODY = 65534


def say(*words: object) -> None:
    print(*words, flush=True)


async def append_at_the_tail(log: Log, entries: list[bytes]) -> int:
    """Append where the log ends, whatever others do; an unknown answer is asked for again."""
    after = await log.tail()
    while True:
        try:
            return await log.append(after, entries)
        except LogUnavailable:
            continue
        except Conflict:
            after = await log.tail()


async def contend(path: str, name: str, batches: str) -> None:
    """Append `batches` batches of one to three entries, and say the position and the text of every entry."""
    log = await SqliteLog.open(Path(path))
    say("open")
    sys.stdin.readline()
    for number in range(int(batches)):
        texts = [f"{name}:{number}:{part}" for part in range(1 + number % 3)]
        last = await append_at_the_tail(log, [text.encode() for text in texts])
        for position, text in enumerate(texts, last + 1 - len(texts)):
            say(position, text)
    await log.close()


async def append_until_killed(path: str, name: str, entry_bytes: str) -> None:
    """Append for ever, and say the position and the text of each entry."""
    log = await SqliteLog.open(Path(path))
    for number in itertools.count():
        text = f"{name}:{number}"
        last = await append_at_the_tail(log, [text.encode().ljust(int(entry_bytes))])
        say(last, text)


async def open_and_append(path: str, name: str) -> None:
    """Open the log, which may not be there yet, append one entry, and close it."""
    say("ready")
    sys.stdin.readline()
    log = await SqliteLog.open(Path(path))
    say(await append_at_the_tail(log, [name.encode()]))
    await log.close()


def hold_lock(path: str) -> None:
    """Hold the lock that appends take."""
    with Path(f"{path}-lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        say("held")
        sys.stdin.readline()


def hold_transaction(path: str) -> None:
    """Hold SQLite's own lock, as a tool that knows nothing of semel would."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    say("held")
    sys.stdin.readline()
    connection.execute("ROLLBACK")
    connection.close()


async def open_as_nobody(path: str) -> None:
    """Open the log as a user who may write nothing, and say the refusal."""
    await asyncio.to_thread(int)  # what Python itself imports for threads is out of that user's reach, too
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        await SqliteLog.open(Path(path))
    except LogReadOnly as refusal:
        say(refusal)


PROGRAMS: dict[str, Callable[..., Coroutine[None, None, None] | None]] = {
    program.__name__: program
    for program in (contend, append_until_killed, open_and_append, hold_lock, hold_transaction, open_as_nobody)
}

if __name__ == "__main__":
    program = PROGRAMS[sys.argv[1]](*sys.argv[2:])
    if program is not None:
        asyncio.run(program)
