"""The leader's queue: calls that may begin, in order of arrival, and lanes in which one waits for the other."""

from collections import deque
from collections.abc import Callable, Iterable

from semel.core.call import CallId


class Admission:
    """Calls without an intent; a call in a busy lane is set aside until the lane is free."""

    def __init__(self) -> None:
        self._queue: deque[CallId] = deque()
        self._aside: dict[str, deque[CallId]] = {}

    def __len__(self) -> int:
        return len(self._queue) + len(self._aside)

    def join(self, call: CallId) -> None:
        """Put a call at the end of the queue."""
        self._queue.append(call)

    def put_back(self, calls: Iterable[CallId]) -> None:
        """Put calls that were admitted in vain back to the front, in their order."""
        self._queue.extendleft(reversed(list(calls)))

    def wake(self, busy: set[str]) -> None:
        """Let the calls of lanes that are not in `busy` compete again; all but the first will be set aside again."""
        for lane in [lane for lane in self._aside if lane not in busy]:
            self.put_back(self._aside.pop(lane))

    def clear(self) -> None:
        """Forget every call; nothing was begun."""
        self._queue.clear()
        self._aside.clear()

    def admit(self, lane_of: Callable[[CallId], str | None], busy: set[str]) -> CallId | None:
        """Take the first call whose lane is not in `busy` out of the queue, and make its lane busy."""
        while self._queue:
            call = self._queue.popleft()
            lane = lane_of(call)
            if lane is None or lane not in busy:
                if lane is not None:
                    busy.add(lane)
                return call
            self._aside.setdefault(lane, deque()).append(call)
        return None
