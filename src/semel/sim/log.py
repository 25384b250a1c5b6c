"""The simulated log: the laws of `semel.log.protocol` to the letter, and all that may go wrong around them.

An append whose answer is lost has happened or not, or happens later: it may land long after its caller gave up.
"""

import enum
from collections.abc import Callable
from random import Random

from semel.core.call import NodeId
from semel.core.codec import decode_entry
from semel.core.entry import Entry
from semel.sim.climate import Climate, Fault
from semel.sim.timeline import Timeline


class Decision(enum.Enum):
    """What a proposer is told."""

    COMMITTED = enum.auto()
    CONFLICT = enum.auto()
    UNAVAILABLE = enum.auto()


class SimulatedLog:
    """One ordered sequence of entries, each with the time when it was committed."""

    def __init__(self, timeline: Timeline, chance: Random, climate: Climate) -> None:
        self._timeline = timeline
        self._chance = chance
        self._climate = climate
        self._bytes: list[bytes] = []
        self.entries: list[Entry] = []
        self.committed_s: list[float] = []
        self.first = 1
        """The first position that can still be read."""
        self.down = False
        self.cut: set[str] = set()
        """Names of the machines that cannot reach it."""
        self.beats: dict[str, tuple[NodeId, str]] = {}
        self._followers: dict[str, Callable[[], None]] = {}

    @property
    def tail(self) -> int:
        """The last committed position."""
        return len(self.entries)

    def reachable(self, name: str) -> bool:
        """Return whether that machine can reach the log."""
        return not self.down and name not in self.cut

    def follow(self, name: str, wake: Callable[[], None]) -> None:
        """Call `wake` after every commit, instead of the machine's earlier follower."""
        self._followers[name] = wake

    def trim(self, first: int) -> None:
        """Forget every entry below `first` as far as reading goes; the last one stays."""
        self.first = max(self.first, min(first, self.tail))

    def propose(self, name: str, after: int, entries: tuple[bytes, ...], tell: Callable[[Decision], None]) -> None:
        """Take a conditional append; `tell` is called once, with what its caller gets to know."""
        travel_s, climate = self._latency_s(), self._climate
        if not self.reachable(name) or climate.strikes(Fault.APPEND_REFUSED):
            self._timeline.after(travel_s * 4, lambda: tell(Decision.UNAVAILABLE))
        elif climate.strikes(Fault.APPEND_LATE):
            self._timeline.after(self._chance.uniform(0.05, 2.5), lambda: self._decide(after, entries))
            self._timeline.after(self._chance.uniform(0.02, 0.2), lambda: tell(Decision.UNAVAILABLE))
        elif climate.strikes(Fault.APPEND_UNKNOWN):
            self._timeline.after(travel_s, lambda: self._decide(after, entries))
            self._timeline.after(travel_s * 3, lambda: tell(Decision.UNAVAILABLE))
        else:
            self._timeline.after(travel_s, lambda: self._land(name, after, entries, tell))

    def _land(self, name: str, after: int, entries: tuple[bytes, ...], tell: Callable[[Decision], None]) -> None:
        decision = self._decide(after, entries)
        back_s = self._latency_s()
        if self._climate.strikes(Fault.ACKNOWLEDGEMENT_LATE):
            back_s = self._chance.uniform(0.05, 1.5)
        told = decision if self.reachable(name) else Decision.UNAVAILABLE
        self._timeline.after(back_s, lambda: tell(told))

    def _decide(self, after: int, entries: tuple[bytes, ...]) -> Decision:
        if self.down:
            return Decision.UNAVAILABLE
        if after != self.tail:
            same = after < self.tail and tuple(self._bytes[after : after + len(entries)]) == entries
            return Decision.COMMITTED if same else Decision.CONFLICT
        for data in entries:
            self._bytes.append(data)
            self.entries.append(decode_entry(self.tail + 1, data))
            self.committed_s.append(self._timeline.now_s)
        for wake in self._followers.values():
            wake()
        return Decision.COMMITTED

    def _latency_s(self) -> float:
        return self._chance.uniform(0.001, 0.008)
