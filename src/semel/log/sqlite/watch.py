"""Notices that some process has written to the log's file; it reads no entries.

`PRAGMA data_version` costs a few microseconds and no lock that anybody waits for, so the event loop itself asks it:
often just after something happened, and less often as it grows quiet.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semel.errors import LogError
from semel.log.sqlite.opening import connect_to_read

_PAUSE_MIN_S = 0.001
_PAUSE_MAX_S = 0.005
_PAUSE_GROWTH = 1.05  # from the shortest pause to the longest in some 80 ms of quiet

Version = int | None
"""What the file is like now, comparable with `==` only; None when it could not be told."""


class Watch:
    """The watching connection of one process; made anywhere, used in the event loop, but for `version_now`."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_to_read(path, busy_s=0)
        self._in_use = threading.Lock()
        self._waiting: dict[asyncio.Future[None], Version] = {}
        self._timer: asyncio.Handle | None = None
        self._pause_s = _PAUSE_MIN_S
        self._writing = 0

    def version(self) -> Version:
        """Return the version of the file, which every commit by any process changes."""
        if not self._in_use.acquire(blocking=False):
            return None  # a commit is being looked at: whoever sees no version looks again
        try:
            return self._read()
        finally:
            self._in_use.release()

    def version_now(self) -> Version:
        """Return the same; for the thread that has just committed, before anybody else can."""
        with self._in_use:
            return self._read()

    def _read(self) -> Version:
        try:
            row: tuple[int] = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None  # whoever reads next meets the fault and can tell it
        return row[0]

    async def changed(self, seen: Version) -> None:
        """Return soon after the version is no longer `seen`, or as soon as this process has written."""
        loop = asyncio.get_running_loop()
        change = loop.create_future()
        self._waiting[change] = seen
        if self._timer is None:
            self._timer = loop.call_later(self._pause_s, self._look)
        try:
            await change
        finally:
            self._waiting.pop(change, None)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Look for nothing while this process writes, and then at once: what it wrote is no sign of others' activity.

        A commit would be seen before its own process has heard of it, and be read for nothing.
        """
        self._writing += 1
        try:
            yield
        finally:
            self._writing -= 1
            self._release(list(self._waiting))

    def _look(self) -> None:
        self._timer = None
        if not self._writing:
            version = self.version()
            if changes := [change for change, seen in self._waiting.items() if seen != version]:
                self._release(changes)
                self._pause_s = _PAUSE_MIN_S
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._look)
            self._pause_s = min(self._pause_s * _PAUSE_GROWTH, _PAUSE_MAX_S)

    def _release(self, changes: list[asyncio.Future[None]]) -> None:
        for change in changes:
            del self._waiting[change]
            if not change.done():
                change.set_result(None)

    def close(self, reason: LogError) -> None:
        """Close the connection; whoever waits gets `reason` raised."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for change in self._waiting:
            if not change.done():
                change.set_exception(reason)
        self._waiting.clear()
        with self._in_use:
            self._connection.close()
