"""The simulated tools, and their own book of every start: what really happened, whatever the log says."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import msgspec

from semel.core.call import Call, Effect, NodeId, Spec, Status
from semel.core.message import Ended, Lost, Reconcile, Reconciled, Refusal, Run
from semel.errors import UnknownTool
from semel.sim.climate import Climate, Fault
from semel.sim.history import History, Question, Start
from semel.sim.timeline import Timeline

TIMEOUT_S = 0.7
"""After this long a node ends a tool; short, so that it happens."""


@dataclass(frozen=True, slots=True)
class Tool:
    """What a tool does when run again, whether its calls for one account wait for each other, and has it a hook."""

    effect: Effect
    serialized: bool = False
    hook: bool = False


TOOLS = {
    "look": Tool(Effect.READ),
    "set": Tool(Effect.REPEATABLE),
    "pay": Tool(Effect.ONCE, hook=True),
    "move": Tool(Effect.ONCE, serialized=True, hook=True),
    "mail": Tool(Effect.ONCE),
    "stamp": Tool(Effect.REPEATABLE, serialized=True),
}


ROUNDS_MAX = 3
"""After so many rounds a tool has heard enough."""

NO_SIGN = "its hook found no sign of it"


class _Arguments(msgspec.Struct):
    account: str
    amount: int


_decoder = msgspec.json.Decoder(_Arguments)


def lane_of(call: Call) -> str | None:
    """Return the lane that a call runs in, if its tool has lanes."""
    return _decoder.decode(call.arguments).account if TOOLS[call.tool].serialized else None


def _result(number: int) -> bytes:
    """Return what comes of the start of that number, one of a kind."""
    return b'{"start":%d}' % number


def _question(number: int) -> bytes:
    """Return what the start of that number asks for; one in four keeps nothing in a `requestState`."""
    return _result(number) if number % 4 == 0 else b'{"start":%d,"requestState":"s%d"}' % (number, number)


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
        elif order.call.id.round < ROUNDS_MAX and self._climate.strikes(Fault.TOOL_ASKS):
            status = Status.INPUT_REQUIRED
        number = len(self._history.starts)
        self._timeline.after(self._chance.uniform(0.0, duration_s), lambda: self._act(start, number, status))
        self._timeline.after(duration_s, lambda: self._end(start, number, None if lost else status, order, report))
        return start

    def reconcile(self, node: NodeId, order: Reconcile, report: Callable[[Reconciled], None]) -> None:
        """Ask a tool's hook; `report` is called when it has said what it knows, or at the node's timeout."""
        if not TOOLS[order.call.tool].hook:
            report(Reconciled(order.intent, None))
            return
        question = Question(self._timeline.now_s, node, order.call, order.intent)
        self._history.questions.append(question)
        duration_s, said = self._chance.uniform(0.001, 0.02), ""
        if self._climate.strikes(Fault.HOOK_SLOW):
            duration_s = self._chance.uniform(0.05, TIMEOUT_S * 0.9)
        if self._climate.strikes(Fault.HOOK_STUCK):
            duration_s, said = order.timeout_s, "its hook did not answer"
        elif self._climate.strikes(Fault.HOOK_FAILED):
            said = "its hook failed"
        elif self._climate.strikes(Fault.HOOK_BLIND):
            said = NO_SIGN
        self._timeline.after(duration_s, lambda: self._tell(question, said, report))

    def _tell(self, question: Question, said: str, report: Callable[[Reconciled], None]) -> None:
        """Let a hook say what the book says, unless it has something else to say."""
        acted = [start.acted for start in self._history.starts if start.intent == question.intent and start.acted]
        question.told_s = self._timeline.now_s
        if acted and not said:
            question.result = acted[0]
            report(Reconciled(question.intent, msgspec.Raw(acted[0])))
        else:
            question.reason = said or NO_SIGN
            report(Reconciled(question.intent, None, question.reason))

    def _act(self, start: Start, number: int, status: Status) -> None:
        """Do what the tool is for, unless its process has died, or it is one that fails or asks for more first."""
        if start.ended_s is None and status not in (Status.ERROR, Status.INPUT_REQUIRED):
            start.acted = _result(number)

    def _end(
        self, start: Start, number: int, status: Status | None, order: Run, report: Callable[[Ended | Lost], None]
    ) -> None:
        """End a run."""
        if start.ended_s is not None:
            return  # its node crashed, and the tool with it
        start.ended_s, start.status = self._timeline.now_s, status
        if status is None:
            report(Lost(order.run, "the tool's process died"))
            return
        start.result = _question(number) if status is Status.INPUT_REQUIRED else _result(number)
        duration_ms = (start.ended_s - start.at_s) * 1000
        report(Ended(order.run, status, msgspec.Raw(start.result), duration_ms))
