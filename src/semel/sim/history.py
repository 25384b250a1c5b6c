"""The history of one run: what the tools did, what every client was told and when, and the trace that a reader follows.

It is what the judge judges. It draws no conclusions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from semel.core.call import Call, CallId, Effect, NodeId, Record, Status
from semel.core.ledger import Totals
from semel.core.message import Refusal


@dataclass(slots=True)
class Start:
    """One start of a tool, by the tools' own book."""

    at_s: float
    node: NodeId
    folded: int
    """The last position that the node had folded when the tool started."""
    call: Call
    effect: Effect
    """As the tool is, whatever the node took it for."""
    lane: str | None
    term: int
    intent: int | None
    ended_s: float | None = None
    status: Status | None = None
    """How it ended; None if it was lost, or still runs."""
    result: bytes = b""
    acted: bytes = b""
    """What came of it, once it acted; it may act and be lost, or be ended, before it can say so."""


@dataclass(slots=True)
class Question:
    """One time that a node asked a tool's reconcile hook, and what the hook said."""

    at_s: float
    node: NodeId
    call: Call
    intent: int
    told_s: float | None = None
    result: bytes | None = None
    """None if the hook did not know, or has not said anything yet."""
    reason: str = ""


@dataclass(slots=True)
class Asked:
    """One request of a client at a node, and what it was told."""

    at_s: float
    ticket: int
    node: NodeId
    call: Call
    effect: Effect
    keyed: bool = True
    """False if the node made the key, for this request alone."""
    told_s: float | None = None
    answer: Record | None = None
    replayed: bool = False
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A node's ledger as it was at some time, with all that it held."""

    node: NodeId
    totals: Totals
    records: dict[CallId, Record]
    open: dict[CallId, Record]


@dataclass(slots=True)
class History:
    """Everything that happened, in order of time."""

    tracing: bool
    starts: list[Start] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    """What was seen to be wrong while it happened."""
    trace: list[str] = field(default_factory=list)

    def note(self, at_s: float, who: str, what: Callable[[], str]) -> None:
        """Write a line of the trace, if anybody reads it."""
        if self.tracing:
            self.trace.append(f"{at_s:9.4f}  {who:<6} {what()}")
