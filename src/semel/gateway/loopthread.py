"""A thread with an event loop of its own, to which another loop hands coroutines; knows nothing of what they do.

Whatever runs there may block, hang, raise or call sys.exit(): the loop that hands over never stalls and never dies of
it. The thread is a daemon, and so are all the threads that are started from it, so that a function that hangs for
ever cannot keep the process from ending.
"""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from semel.crossing import Crossing, way_to

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class LoopThread:
    """A daemon thread that runs an event loop, which `new_loop` makes, from `start` to `close`."""

    _loop: asyncio.AbstractEventLoop
    _there: Crossing

    def __init__(self, name: str, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self._new_loop = new_loop
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopping = asyncio.Event()
        self._ended: Future[None] = Future()

    def start(self) -> None:
        """Start the thread."""
        self._loop = self._new_loop()
        self._there = way_to(self._loop)
        self._thread.start()

    def submit(
        self, work: Coroutine[Any, Any, _Result], ended: Callable[[], object] = lambda: None
    ) -> "asyncio.Future[_Result]":
        """Begin `work` on the thread's loop; cancelling the future cancels it there.

        `ended` is called in this loop once the future is done, a turn before who awaits it goes on.
        """
        here = asyncio.get_running_loop()
        back, context = way_to(here), contextvars.copy_context()
        result: asyncio.Future[_Result] = here.create_future()
        begun: list[asyncio.Task[_Result]] = []

        def begin() -> None:
            task = self._loop.create_task(work, context=context)
            task.add_done_callback(end)
            begun.append(task)

        def end(task: "asyncio.Task[_Result]") -> None:
            with suppress(RuntimeError):  # nobody is there any more
                back.call(lambda: _hand_over(task, result, ended))

        def look(_: "asyncio.Future[_Result]") -> None:
            if result.cancelled():
                with suppress(RuntimeError):
                    self._there.call(lambda: begun[0].cancel())

        result.add_done_callback(look)
        self._there.call(begin)
        return result

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have the thread's loop call `callback`."""
        self._there.call(callback)

    async def close(self, *, timeout_s: float) -> bool:
        """Cancel what runs and end the thread; return False if something there does not stop in time."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        ended, _ = await asyncio.wait([asyncio.wrap_future(self._ended)], timeout=timeout_s)
        if ended:
            self._thread.join()  # it has nothing left to do
        return bool(ended)

    def _run(self) -> None:
        # The root task: anyio keeps its worker threads for as long as it runs.
        self._until(self._loop.create_task(self._stopping.wait()))
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._until(asyncio.gather(*left, return_exceptions=True) if left else None)
        self._until(self._loop.create_task(self._loop.shutdown_asyncgens()))
        self._loop.close()
        self._there.close()
        self._ended.set_result(None)

    def _until(self, work: asyncio.Future[Any] | None) -> None:
        """Run the loop until `work` is done, whoever asks the process to exit meanwhile."""
        while work is not None and not work.done():
            try:
                self._loop.run_until_complete(work)
            except (SystemExit, KeyboardInterrupt) as error:
                _log.warning("a tool asked the process to exit in the background (%r); it does not", error)


def _hand_over(task: "asyncio.Task[_Result]", result: "asyncio.Future[_Result]", ended: Callable[[], object]) -> None:
    """Let a future have the end of a task; in the future's loop."""
    if result.done():
        return
    if task.cancelled():
        result.cancel()
    elif (error := task.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(task.result())
    ended()
