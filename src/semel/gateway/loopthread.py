"""A thread with an event loop of its own, to which another loop hands coroutines; knows nothing of what they do.

Whatever runs there may block, hang, raise or call sys.exit(): the loop that hands over never stalls and never dies of
it. The thread is a daemon, and so are all the threads that are started from it, so that a function that hangs for
ever cannot keep the process from ending.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class LoopThread:
    """A daemon thread that runs an event loop from `start` to `close`."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopping = asyncio.Event()
        self._ended: Future[None] = Future()

    def start(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, _Result]) -> "asyncio.Future[_Result]":
        """Begin `work` on the thread's loop; cancelling the future cancels it there."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have the thread's loop call `callback`."""
        self._loop.call_soon_threadsafe(callback)

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
        self._ended.set_result(None)

    def _until(self, work: asyncio.Future[Any] | None) -> None:
        """Run the loop until `work` is done, whoever asks the process to exit meanwhile."""
        while work is not None and not work.done():
            try:
                self._loop.run_until_complete(work)
            except (SystemExit, KeyboardInterrupt) as error:
                _log.warning("a tool asked the process to exit in the background (%r); it does not", error)
