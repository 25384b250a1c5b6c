"""The tasks of one node: begun by name, ended together, and the first that breaks is told. Knows not what they do."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from semel.errors import SemelError

_log = logging.getLogger("semel")


class Tasks:
    """What goes on at a node; `fail` is told why it cannot go on, when one of them breaks."""

    def __init__(self, fail: Callable[[SemelError], None]) -> None:
        self._fail = fail
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Begin to do something."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    async def end(self) -> None:
        """End all of them."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, SemelError):
            self._fail(error)
        elif error is not None:
            _log.error("a mistake in semel, please report it", exc_info=error)
            self._fail(SemelError(f"a mistake in semel ended this node: {error!r}. Nothing is lost; start it again"))
