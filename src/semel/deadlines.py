"""Deadlines that seldom come: one timer of the event loop for all of them, which costs less than one for each.

Knows asyncio; nothing of what they are for.
"""

import asyncio
from collections.abc import Callable, Hashable


class Deadlines:
    """What is to be done after some time if it is not called off before. Lives in one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: dict[Hashable, tuple[float, Callable[[], object]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        """When it goes off, if there is one."""

    def set(self, name: Hashable, after_s: float, due: Callable[[], object]) -> None:
        """Have `due` called once after so many seconds, in the place of what was set under this name before."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        at_s = loop.time() + after_s
        self._due[name] = at_s, due
        if self._timer is None or at_s < self._timer_s:
            self._look_at(loop, at_s)

    def call_off(self, name: Hashable) -> None:
        """Forget what was set under this name, if anything was."""
        self._due.pop(name, None)

    def _look_at(self, loop: asyncio.AbstractEventLoop, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_s = loop.call_at(at_s, self._look, loop), at_s

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have done what is due, and look again when the next is."""
        self._timer, now_s = None, loop.time()
        for name, (at_s, _) in self._due.items():
            if at_s <= now_s:
                loop.call_soon(self._come, name, now_s)  # each by itself, should one of them raise
        later_s = [at_s for at_s, _ in self._due.values() if at_s > now_s]
        if later_s:
            self._look_at(loop, min(later_s))

    def _come(self, name: Hashable, now_s: float) -> None:
        at_s, due = self._due.get(name, (now_s, None))
        if due is not None and at_s <= now_s:  # else it was called off meanwhile, or set anew
            del self._due[name]
            due()
