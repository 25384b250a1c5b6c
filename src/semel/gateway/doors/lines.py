"""The lines that come and go over two file descriptors, without ever stopping the event loop for them.

Pipes and sockets are read and written by the loop, which is cheap; all else, which it cannot watch, by a thread. No
descriptor is made non-blocking: that would hold for every process that shares it. Knows no MCP.
"""

import asyncio
import contextlib
import logging
import os
import queue
import select
import socket
import stat
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger(__name__)

CHUNK_BYTES = 2**16
"""So much is read at once; what a pipe holds."""

LINES_MAX = 64
"""With so many lines waiting nothing more is read; then whoever writes them waits."""

EASE_BYTES = 2**16
"""With more than this waiting to be written, whoever can wait should."""


class Inlet:
    """The lines of a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._wanted: threading.Event | None = None
        self._watched = False
        if _kind(descriptor) is None:
            self._wanted = threading.Event()
            threading.Thread(target=self._read_for_ever, args=(self._wanted,), name="semel-stdin", daemon=True).start()

    async def line(self) -> bytes | None:
        """Return the next line without its end, None after the last; the last may have no end."""
        while not self._lines:
            if self._ended:
                return None
            self._resume()
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._lines.popleft()

    def end(self) -> None:
        """Let there be no further lines than those that are here."""
        self._ended = True
        self._pause()
        self._wake()

    def _resume(self) -> None:
        if self._wanted is not None:
            self._wanted.set()
        elif not self._watched:
            self._watched = True
            self._loop.add_reader(self._descriptor, self._readable)

    def _pause(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._descriptor)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, CHUNK_BYTES)  # does not block: it is there
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # a connection that broke
            data = b""
        self._take(data)

    def _read_for_ever(self, wanted: threading.Event) -> None:
        """Read whenever that is wanted, in a daemon thread: such a read cannot be cancelled, only left behind."""
        data = b"?"
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for lines any more
            while data:
                wanted.wait()
                wanted.clear()
                try:
                    data = os.read(self._descriptor, CHUNK_BYTES)
                except OSError:
                    data = b""
                self._loop.call_soon_threadsafe(self._take, data)

    def _take(self, data: bytes) -> None:
        if self._ended:
            return
        first, *others = data.split(b"\n")
        self._begun.append(first)
        if others:
            self._lines.append(b"".join(self._begun))
            self._lines.extend(others[:-1])
            self._begun = [others[-1]]
        if not data:
            if last := b"".join(self._begun):
                self._lines.append(last)
            self.end()
            return
        if len(self._lines) >= LINES_MAX:
            self._pause()
        if self._lines:
            self._wake()
        else:
            self._resume()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Outlet:
    """Writes lines to a descriptor, in order; `gone` is called when nobody takes them any more."""

    def __init__(self, descriptor: int, gone: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._left = bytearray()
        self._busy = False
        self._broken = False
        self._eased = asyncio.Event()
        self._empty = asyncio.Event()
        self._eased.set()
        self._empty.set()
        self._watched = False
        self._start = self._flush
        self._handed: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._room = select.poll()
        self._connection: socket.socket | None = None
        match _kind(descriptor):
            case stat.S_IFSOCK:
                self._connection = socket.socket(fileno=os.dup(descriptor))
            case stat.S_IFIFO:
                self._room.register(descriptor, select.POLLOUT)
            case _:
                self._start = self._hand_over
                threading.Thread(target=self._write_for_ever, name="semel-stdout", daemon=True).start()

    def write(self, line: bytes) -> None:
        """Write a line soon; what is said to nobody is lost."""
        if self._broken:
            return
        self._left += line + b"\n"
        self._empty.clear()
        if len(self._left) > EASE_BYTES:
            self._eased.clear()
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._start)

    async def eased(self) -> None:
        """Wait while much has not been taken yet."""
        await self._eased.wait()

    async def empty(self) -> None:
        """Wait until all is written."""
        await self._empty.wait()

    def close(self) -> None:
        """Write no more."""
        self._broken = True
        self._unwatch()
        self._handed.put(b"")
        if self._connection is not None:
            self._connection.close()

    # By the loop.

    def _flush(self) -> None:
        try:
            while self._left and not self._broken:
                del self._left[: self._put()]
        except (BlockingIOError, InterruptedError):
            if not self._watched:
                self._watched = True
                self._loop.add_writer(self._descriptor, self._flush)
        except OSError as error:
            self._break(error)
        else:
            self._unwatch()
            self._busy = False
        self._tell()

    def _put(self) -> int:
        """Write as much as there is room for; return how much.

        Raises:
            BlockingIOError: there is no room.
        """
        if self._connection is not None:
            return self._connection.send(self._left, socket.MSG_DONTWAIT)
        if not self._room.poll(0):
            raise BlockingIOError
        return os.write(self._descriptor, self._left[: select.PIPE_BUF])  # for so much a pipe has room, if it has any

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_writer(self._descriptor)

    # By a thread.

    def _hand_over(self) -> None:
        self._handed.put(bytes(self._left))

    def _write_for_ever(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            while data := self._handed.get():
                error = None
                try:
                    done = 0
                    while done < len(data):
                        done += os.write(self._descriptor, data[done:])
                except OSError as found:
                    error = found
                self._loop.call_soon_threadsafe(self._written, len(data), error)

    def _written(self, size: int, error: OSError | None) -> None:
        del self._left[:size]
        if error is not None:
            self._break(error)
        elif self._left:
            self._hand_over()
        else:
            self._busy = False
        self._tell()

    def _break(self, error: OSError) -> None:
        _log.debug("the client takes no answers any more: %s", error)
        self.close()
        self._left.clear()
        self._gone()

    def _tell(self) -> None:
        if len(self._left) <= EASE_BYTES:
            self._eased.set()
        if not self._left:
            self._empty.set()


def _kind(descriptor: int) -> int | None:
    """Return S_IFIFO or S_IFSOCK, None if it is nothing that the loop can watch for sure."""
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    return kind if kind in (stat.S_IFIFO, stat.S_IFSOCK) else None
