"""Ways between threads: callbacks to an event loop, and work to a thread that blocks. Knows not what either does.

Who waits is woken by a byte in a pipe, which is written with Python's lock let go. Were it woken by a lock, or by
`call_soon_threadsafe`, it would find Python's lock held by who woke it, and sleep and wake twice more.
"""

import asyncio
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar, TypeVarTuple

from semel.forks import closes, keep_from_children

_log = logging.getLogger("semel")

_WAKE = b"\0"
_WAKES_MAX = 64  # read at a time; threads that call at the same moment may each send one

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


class Crossing:
    """Takes callbacks to a loop from other threads; however many there are at a time, they wake it once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # which holds this one for as long as it is open
        self._waiting: deque[Callable[[], object]] = deque()
        self._called = False
        self._open = threading.Lock()
        """Held while a byte is written: once the pipe is closed, its number may be that of any other file."""
        self._ear, self._bell = _pipe()
        os.set_blocking(self._ear, False)
        loop.add_reader(self._ear, self._empty)
        self._closing = weakref.finalize(self, _close, self._ear, self._bell)
        self._closing.atexit = False

    def call(self, callback: Callable[[], object]) -> None:
        """Have the loop call `callback` soon; raises RuntimeError if the loop is closed."""
        loop = self._loop()
        if loop is None or loop.is_closed():
            raise RuntimeError("the loop is closed")
        self._waiting.append(callback)
        if not self._called:  # else what empties the queue has not begun yet, and will see this one
            self._called = True
            with self._open:
                if self._closing.alive:
                    os.write(self._bell, _WAKE)

    def close(self) -> None:
        """Give back the pipe of a loop that is closed."""
        with self._open:
            self._closing()

    def _empty(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._ear, _WAKES_MAX)
        self._called = False
        while self._waiting:
            try:
                self._waiting.popleft()()
            except Exception:
                _log.exception("a callback from another thread failed")


_crossings: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Crossing]] = weakref.WeakKeyDictionary()
"""Held weakly: a callback that came too late for its loop leads to that, which would never be gone."""


def way_to(loop: asyncio.AbstractEventLoop) -> Crossing:
    """Return the one way to a loop; asked for in its own thread, or before it runs."""
    known = _crossings.get(loop)
    crossing = known() if known is not None else None
    if crossing is None:
        crossing = Crossing(loop)
        _crossings[loop] = weakref.ref(crossing)
    return crossing


class Worker:
    """A daemon thread that does what it is given, one after the other, from the first `run` until `end`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: deque[Callable[[], None] | None] = deque()
        self._bell = -1
        self._ending: weakref.finalize[..., Worker] | None = None
        """Ends the thread, which is done for a worker that is forgotten, too; None before it has begun."""

    def run(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> "asyncio.Future[_Result]":
        """Return what `work` gives, in the running loop; it is done even if nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        back = way_to(loop)
        result: asyncio.Future[_Result] = loop.create_future()

        def order() -> None:
            back.call(settling(result, lambda: work(*arguments)))

        if self._ending is None:
            self._begin()
        self._orders.append(order)
        os.write(self._bell, _WAKE)
        return result

    def end(self) -> None:
        """Let the thread end once it has done what it was given; it can be given nothing more."""
        if self._ending is not None:
            self._ending()

    def _begin(self) -> None:
        ear, self._bell = _pipe()
        thread = threading.Thread(target=_work, args=(self._orders, ear, self._bell), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            _close(ear, self._bell)
            raise
        self._ending = weakref.finalize(self, _end, self._orders, self._bell)
        self._ending.atexit = False


def _work(orders: deque[Callable[[], None] | None], ear: int, bell: int) -> None:
    """Do what is ordered; None is the last order."""
    while os.read(ear, 1):
        order = orders.popleft()
        if order is None:
            break
        with suppress(RuntimeError):  # the loop is closed
            order()
        del order  # it holds what it was given
    _close(ear, bell)


def _end(orders: deque[Callable[[], None] | None], bell: int) -> None:
    orders.append(None)
    os.write(bell, _WAKE)


def settling(result: "asyncio.Future[_Result]", work: Callable[[], _Result]) -> Callable[[], None]:
    """Do `work`, in this thread; return what lets `result` have what came of it, for its loop to call."""
    try:
        value = work()
    except StopIteration as error:  # which no future takes
        told = RuntimeError(f"the function raised StopIteration: {error}")
        return partial(_settle, result, partial(result.set_exception, told))
    except BaseException as error:  # work may raise anything; whoever awaits it is to know
        return partial(_settle, result, partial(result.set_exception, error))
    return partial(_settle, result, partial(result.set_result, value))


def _settle(result: "asyncio.Future[_Result]", settle: Callable[[], None]) -> None:
    if not result.done():
        settle()


def _pipe() -> tuple[int, int]:
    """Return both ends of a pipe that a forked child has no part in: it would take the bytes that wake its parent."""
    ends = os.pipe()
    for end in ends:
        keep_from_children(end)
    return ends


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        closes(descriptor)
        os.close(descriptor)
