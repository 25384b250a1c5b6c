"""The tasks of one node: begun by name, ended together, and the first that breaks is told. Knows not what they do."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from semel.errors import SemelError

_log = logging.getLogger("semel")

_Result = TypeVar("_Result")


class Tasks:
    """What goes on at a node; `fail` is told why it cannot go on, when one of them breaks."""

    def __init__(self, fail: Callable[[SemelError], None]) -> None:
        self._fail = fail
        self._tasks: set[asyncio.Task[None]] = set()
        self._futures: set[asyncio.Future[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Begin to do something."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def then(self, future: "asyncio.Future[_Result]", ended: Callable[["asyncio.Future[_Result]"], None]) -> None:
        """Have `ended` called when something has come to its end, unless that is cancelled; what it raises is told.

        For what every call does: a task that does nothing but wait costs more than what it waits for.
        """
        self._futures.add(future)
        future.add_done_callback(partial(self._follow_up, ended))

    async def end(self) -> None:
        """End all of them, and follow up none."""
        going = [*self._tasks, *self._futures]
        self._tasks, self._futures = set(), set()
        for each in going:
            each.cancel()
        if going:
            await asyncio.gather(*going, return_exceptions=True)  # which takes note of every error, too

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.tell(None if task.cancelled() else task.exception())

    def _follow_up(self, ended: Callable[["asyncio.Future[_Result]"], None], future: "asyncio.Future[_Result]") -> None:
        wanted = future in self._futures  # else it came to its end, and all was ended before this was called
        self._futures.discard(future)
        if future.cancelled() or not wanted:
            return
        try:
            ended(future)
        except Exception as error:
            self.tell(error)

    def tell(self, error: BaseException | None) -> None:
        """Tell why the node cannot go on, if there is an error."""
        if isinstance(error, SemelError):
            self._fail(error)
        elif error is not None:
            _log.error("a mistake in semel, please report it", exc_info=error)
            self._fail(SemelError(f"a mistake in semel ended this node: {error!r}. Nothing is lost; start it again"))
