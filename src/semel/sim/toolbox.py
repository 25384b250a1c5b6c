"""The simulated tools, and their own book of every start: what really happened, whatever the log says."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import msgspec

from semel.core.call import Call, Effect, NodeId, Spec, Status
from semel.core.message import Ended, Lost, Refusal, Run
from semel.errors import UnknownTool
from semel.sim.climate import Climate, Fault
from semel.sim.history import History, Start
from semel.sim.timeline import Timeline

TIMEOUT_S = 0.7
"""After this long a node ends a tool; short, so that it happens."""


@dataclass(frozen=True, slots=True)
class Tool:
    """What a tool does when run again, and whether its calls for one account run one after the other."""

    effect: Effect
    serialized: bool = False


TOOLS = {
    "look": Tool(Effect.READ),
    "set": Tool(Effect.REPEATABLE),
    "pay": Tool(Effect.ONCE),
    "move": Tool(Effect.ONCE, serialized=True),
    "stamp": Tool(Effect.REPEATABLE, serialized=True),
}


class _Arguments(msgspec.Struct):
    account: str
    amount: int


_decoder = msgspec.json.Decoder(_Arguments)


def lane_of(call: Call) -> str | None:
    """Return the lane that a call runs in, if its tool has lanes."""
    return _decoder.decode(call.arguments).account if TOOLS[call.tool].serialized else None


class Toolbox:
    """All tools of the world; which machine lacks which; the book."""

    def __init__(self, timeline: Timeline, chance: Random, climate: Climate, history: History) -> None:
        self._timeline = timeline
        self._chance = chance
        self._climate = climate
        self._history = history
        self.lacking: set[tuple[str, str]] = set()
        """Machine and tool that it does not have."""

    def spec(self, name: str, call: Call) -> Spec | Refusal:
        """Return how that machine would run a call, or why not."""
        if (name, call.tool) in self.lacking:
            return Refusal(UnknownTool.code, f"{name} has no tool {call.tool!r}. Nothing was run")
        return Spec(effect=TOOLS[call.tool].effect, timeout_s=TIMEOUT_S, lane=lane_of(call))

    def run(self, node: NodeId, folded: int, order: Run, report: Callable[[Ended | Lost], None]) -> Start:
        """Start a tool; `report` is called at its end, or at the node's timeout."""
        start = Start(
            at_s=self._timeline.now_s,
            node=node,
            folded=folded,
            call=order.call,
            effect=TOOLS[order.call.tool].effect,
            lane=lane_of(order.call),
            term=order.term,
            intent=order.intent,
        )
        self._history.starts.append(start)
        status, duration_s, lost = Status.OK, self._chance.uniform(0.002, 0.03), False
        if self._climate.strikes(Fault.TOOL_SLOW):
            duration_s = self._chance.uniform(0.05, TIMEOUT_S * 0.9)
        if self._climate.strikes(Fault.TOOL_STUCK):
            status, duration_s = Status.TIMED_OUT, order.timeout_s
        elif self._climate.strikes(Fault.TOOL_FAILED):
            status = Status.ERROR
        elif self._climate.strikes(Fault.TOOL_LOST):
            lost = True
        number = len(self._history.starts)
        self._timeline.after(duration_s, lambda: self._end(start, number, None if lost else status, order, report))
        return start

    def _end(
        self, start: Start, number: int, status: Status | None, order: Run, report: Callable[[Ended | Lost], None]
    ) -> None:
        """End a run; `number` makes every result one of a kind."""
        if start.ended_s is not None:
            return  # its node crashed, and the tool with it
        start.ended_s, start.status = self._timeline.now_s, status
        if status is None:
            report(Lost(order.run, "the tool's process died"))
            return
        start.result = b'{"start":%d}' % number
        duration_ms = (start.ended_s - start.at_s) * 1000
        report(Ended(order.run, status, msgspec.Raw(start.result), duration_ms))
