"""The loop that runs already, for coroutines that another loop hands over; in the place of a `LoopThread`.

For tools that must live where their server lives. Nothing here keeps them from blocking it, or from ending the process.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class RunningLoop:
    """The event loop in which this is made; it is somebody else's, and goes on after `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def here(self) -> bool:
        """Return whether the caller runs in it."""
        return asyncio.get_running_loop() is self._loop

    def start(self) -> None:
        """Do nothing: it runs."""

    def submit(
        self, work: Coroutine[Any, Any, _Result], ended: Callable[[], object] = lambda: None
    ) -> "asyncio.Future[_Result]":
        """Begin `work` on the loop; cancelling the future cancels it there. Then `ended` is called in the caller's."""
        result = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._noted(work), self._loop))
        result.add_done_callback(lambda _: ended())
        return result

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have the loop call `callback`."""
        self._loop.call_soon_threadsafe(callback)

    async def close(self, *, timeout_s: float) -> bool:
        """Cancel what was handed over and still runs; return False if something does not stop in time."""
        ending = asyncio.run_coroutine_threadsafe(self._end(timeout_s), self._loop)
        return await asyncio.wrap_future(ending)

    async def _noted(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await work
        finally:
            self._tasks.discard(task)

    async def _end(self, timeout_s: float) -> bool:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        return not tasks or not (await asyncio.wait(tasks, timeout=timeout_s))[1]
