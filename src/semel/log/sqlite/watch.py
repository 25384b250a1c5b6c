"""Notices that some process has written to the log's file; it reads no entries.

To ask where the log ends costs some microseconds and no lock that anybody waits for, so the event loop itself asks:
often just after others wrote, and less often as they grow quiet.
"""

import asyncio
import sqlite3
from pathlib import Path

from semel.errors import LogError
from semel.log.sqlite.opening import connect_to_read, last_position

_PAUSE_MIN_S = 0.001
_PAUSE_MAX_S = 0.005
_PAUSE_GROWTH = 1.05  # from the shortest pause to the longest in some 80 ms of quiet


class Watch:
    """The watching connection of one process; made anywhere, used in the event loop."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_to_read(path, busy_s=0)
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._timer: asyncio.Handle | None = None
        self._pause_s = _PAUSE_MIN_S
        self._writing = 0
        self._written = 0
        """Where the log ended when this process last wrote to it."""

    async def moved(self, after: int) -> None:
        """Return soon after the log does not end at `after` any more."""
        loop = asyncio.get_running_loop()
        move = loop.create_future()
        self._waiting[move] = after
        if self._timer is None:
            self._timer = loop.call_later(self._pause_s, self._look)
        try:
            await move
        finally:
            self._waiting.pop(move, None)

    def begin_writing(self) -> None:
        """Look only at what this process has written, while it writes.

        A commit would be seen before its own process has heard of it, and be read for nothing.
        """
        self._writing += 1

    def end_writing(self, last: int | None) -> None:
        """Look at the file again; the log ends at `last` now, or with None, where others have brought it perhaps.

        Who waits need not be told of what was written here before the next look: it knows already.
        """
        self._writing -= 1
        if last is not None:
            self._written = max(last, self._written)
        else:
            self._release(list(self._waiting))

    def _look(self) -> None:
        self._timer = None
        if self._writing:
            moves = [move for move, after in self._waiting.items() if after < self._written]
        else:
            tail = self._tail()
            moves = [move for move, after in self._waiting.items() if after != tail]
            if moves and tail != self._written:
                self._pause_s = _PAUSE_MIN_S
        self._release(moves)
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._look)
            self._pause_s = min(self._pause_s * _PAUSE_GROWTH, _PAUSE_MAX_S)

    def _tail(self) -> int | None:
        try:
            return last_position(self._connection)
        except sqlite3.Error:
            return None  # whoever reads next meets the fault and can tell it

    def _release(self, moves: list[asyncio.Future[None]]) -> None:
        for move in moves:
            del self._waiting[move]
            if not move.done():
                move.set_result(None)

    def close(self, reason: LogError) -> None:
        """Close the connection; whoever waits gets `reason` raised."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for move in self._waiting:
            if not move.done():
                move.set_exception(reason)
        self._waiting.clear()
        self._connection.close()
