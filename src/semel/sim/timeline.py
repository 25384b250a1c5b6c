"""Virtual time: what happens when, in one order, and the clocks that the machines read of it, each a little wrong."""

import heapq
from collections.abc import Callable

from semel.core.message import Now

WALL_START_MS = 1_700_000_000_000
"""Where the wall clocks begin; any time will do."""


class Timeline:
    """The one true time, in seconds, and all that is still to happen."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def after(self, delay_s: float, action: Callable[[], object]) -> None:
        """Let `action` happen `delay_s` from now; of two at one time, the first told is the first done."""
        self._count += 1
        heapq.heappush(self._events, (self.now_s + delay_s, self._count, action))

    def run_until(self, end_s: float) -> None:
        """Let everything happen that is due up to `end_s`."""
        events = self._events
        while events and events[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(events)
            action()
        self.now_s = end_s


class Clock:
    """One machine's clocks: a monotonic one that drifts and may stop, and a wall clock that jumps."""

    def __init__(self, timeline: Timeline, start_s: float, rate: float) -> None:
        self._timeline = timeline
        self._start_s = start_s
        self._rate = rate
        self.jumped_ms = 0

    def now(self) -> Now:
        """Return the time as this machine has it."""
        true_s = self._timeline.now_s
        return Now(self._start_s + self._rate * true_s, WALL_START_MS + int(true_s * 1000) + self.jumped_ms)

    def skip(self, slept_s: float) -> None:
        """Go on as if the last `slept_s` had not been."""
        self._start_s -= self._rate * slept_s
