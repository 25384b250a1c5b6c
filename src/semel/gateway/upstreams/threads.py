"""Threads for functions that block; one that hangs for ever keeps neither its loop nor its process from ending.

A `ThreadPoolExecutor` would wait for it at the end of the process, and anyio's threads take thrice as long for a call.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

import anyio

from semel.crossing import Crossing, settling, way_to

IDLE_S = 10.0
"""A thread that has had nothing to do for so long ends."""

_Result = TypeVar("_Result")


class Threads:
    """As many daemon threads as functions run at a time, for one event loop; who uses it bounds how many those are."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        """What is to be done; None ends the thread that takes it."""
        self._idle = 0
        """How many threads wait for an order that has not been given yet; counted in the loop alone."""
        self._back: Crossing | None = None

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Return what a function gives, in this context; it is waited for even if that is cancelled by a scope."""
        loop = asyncio.get_running_loop()
        back, context = way_to(loop), contextvars.copy_context()
        if self._back is not back:
            self._back, self._idle, self._orders = back, 0, SimpleQueue()
        result: asyncio.Future[_Result] = loop.create_future()

        def order() -> None:
            ending = settling(result, partial(context.run, function))
            back.call(lambda: self._take_back(ending))

        if self._idle:
            self._idle -= 1
        else:
            threading.Thread(target=_work, args=(self, self._orders, back), name=self._name, daemon=True).start()
        self._orders.put(order)  # now that there is surely a thread for it
        with anyio.CancelScope(shield=True):
            await result
        return result.result()

    def _take_back(self, ending: Callable[[], None]) -> None:
        self._idle += 1
        ending()

    def retire(self) -> None:
        """End a thread, if there is still one without an order; in the loop."""
        if self._idle:
            self._idle -= 1
            self._orders.put(None)


def _work(threads: Threads, orders: "SimpleQueue[Callable[[], None] | None]", back: Crossing) -> None:
    """Take orders, until there is none for a while or the loop is closed."""
    with suppress(RuntimeError):  # the loop is closed
        while True:
            try:
                order = orders.get(timeout=IDLE_S)
            except Empty:
                back.call(threads.retire)
                continue
            if order is None:
                return
            order()
            del order  # it holds what the function was given
