"""The simulated network between machines: messages that get lost, doubled, late and out of order, and partitions."""

from collections.abc import Callable
from random import Random

from semel.core.call import NodeId
from semel.sim.climate import Climate, Fault
from semel.sim.timeline import Timeline


class Network:
    """Carries encoded messages from one incarnation to another, if at all."""

    def __init__(self, timeline: Timeline, chance: Random, climate: Climate) -> None:
        self._timeline = timeline
        self._chance = chance
        self._climate = climate
        self._doors: dict[NodeId, Callable[[NodeId, bytes], None]] = {}
        self.cut: set[tuple[str, str]] = set()
        """Pairs of names, from and to, between which nothing passes."""

    def listen(self, node: NodeId, door: Callable[[NodeId, bytes], None]) -> None:
        """Hand what is sent to that incarnation to `door`."""
        self._doors[node] = door

    def leave(self, node: NodeId) -> None:
        """Let messages to that incarnation go nowhere."""
        self._doors.pop(node, None)

    def connected(self, one: str, other: str) -> bool:
        """Return whether messages pass both ways."""
        return (one, other) not in self.cut and (other, one) not in self.cut

    def send(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        """Carry a message; nobody is told whether it arrives."""
        if self._climate.strikes(Fault.MESSAGE_LOST):
            return
        for _ in range(2 if self._climate.strikes(Fault.MESSAGE_DOUBLED) else 1):
            travel_s = self._chance.uniform(0.0005, 0.01)
            if self._climate.strikes(Fault.MESSAGE_LATE):
                travel_s = self._chance.uniform(0.05, 2.5)
            self._timeline.after(travel_s, lambda: self._arrive(sender, to, data))

    def _arrive(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        door = self._doors.get(to)
        if door is not None and (sender.name, to.name) not in self.cut:
            door(sender, data)
