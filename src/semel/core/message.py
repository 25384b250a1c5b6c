"""What goes into a node's decisions and what comes out: inputs, effects, and the messages between peers.

Closed unions of frozen values. Times come in with every input as a `Now`; nothing here reads a clock.
"""

from dataclasses import dataclass

import msgspec

from semel.core.call import Call, CallId, NodeId, Record, Spec, Status
from semel.core.entry import Entry
from semel.core.ledger import Totals


@dataclass(frozen=True, slots=True)
class Now:
    """The node's own time: `s` only ever grows (for waiting), `ms` is the wall clock (for stamps)."""

    s: float
    ms: int


class Refusal(msgspec.Struct, frozen=True):
    """An error that travels: its code in `errors.py`, and its text."""

    code: str
    message: str


# Messages between peers.


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message on a connection, from both sides: who speaks, and of which cluster."""

    cluster: str
    node: NodeId


class Forward(msgspec.Struct, frozen=True, tag="forward"):
    """A call for the leader; `number` counts the forwards of its sender, so that a late or doubled one is known."""

    call: Call
    number: int


class Refuse(msgspec.Struct, frozen=True, tag="refuse"):
    """The leader did not take the forward of that number; nothing was run."""

    id: CallId
    number: int
    refusal: Refusal


Message = Hello | Forward | Refuse


# Inputs.


@dataclass(frozen=True, slots=True)
class Submitted:
    """A client asks this node; `ticket` is for the answer, `spec` says how this node would run it, or why not."""

    ticket: int
    call: Call
    spec: Spec | Refusal
    keyed: bool = True
    """False if the client gave no key, so that nobody else can ever ask under the one that was made for it."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The client behind a ticket has gone; nothing changes but that nobody is answered."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Received:
    """A peer's message; `spec` as in Submitted, for a Forward."""

    sender: NodeId
    message: Forward | Refuse
    spec: Spec | Refusal | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """Entries that the log gave back, from the position `first` on; ones already read are skipped."""

    first: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Appended:
    """The append after that position is decided: committed, or its position was taken by another."""

    after: int
    committed: bool


@dataclass(frozen=True, slots=True)
class Installed:
    """The archive now holds a peer's snapshot, which these totals belong to, and no longer what this node folded.

    It stands for all entries up to its position, which the log no longer gives.
    """

    totals: Totals


@dataclass(frozen=True, slots=True)
class Ended:
    """The tool of a run came to an end; `result` is JSON."""

    run: int
    status: Status
    result: msgspec.Raw
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The tool of a run was lost on the way: nobody can know whether it acted."""

    run: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of a Reconcile: the tool's `result` as JSON if it is known that it acted, else None and why not.

    `reason` goes on from the words on how the executor was lost; it is empty where there is no hook to be asked.
    """

    intent: int
    result: msgspec.Raw | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """The node has begun to follow; from `tail` on, what it reads is news and no longer replay."""

    tail: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The log's tail, asked for after the Confirm of that ticket."""

    ticket: int
    tail: int


@dataclass(frozen=True, slots=True)
class Pulsed:
    """The newest beats of all nodes by name: which incarnation, and anything that changes as long as it lives."""

    beats: dict[str, tuple[NodeId, str]]


@dataclass(frozen=True, slots=True)
class PeerLost:
    """That incarnation's process is gone: its connection closed and none can be opened."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class PeerFound:
    """That incarnation answers."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The node is to go down: take nothing new, resign, and let its tools end; their outcomes are still written."""


Input = (
    Submitted
    | Abandoned
    | Received
    | Committed
    | Installed
    | Appended
    | Ended
    | Lost
    | Reconciled
    | Started
    | Confirmed
    | Pulsed
    | PeerLost
    | PeerFound
    | Ticked
    | Drained
)


# Effects.


@dataclass(frozen=True, slots=True)
class Append:
    """Append these entries after that position, and propose them again until the log decides."""

    after: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Run the tool; report Ended or Lost under the number `run`. `intent` is None for a read."""

    run: int
    call: Call
    timeout_s: float
    term: int
    attempt: int
    intent: int | None


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Ask the tool's reconcile hook, if it has one, whether the tool acted for that intent; report Reconciled."""

    intent: int
    call: Call
    timeout_s: float
    term: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a peer; it may get lost."""

    to: NodeId
    message: Forward | Refuse


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask the log for its tail, until it answers, and report Confirmed: what may be old news is not said before."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the client how its call stands; `replayed` if its request is not the one that was executed."""

    ticket: int
    record: Record
    replayed: bool


@dataclass(frozen=True, slots=True)
class Deny:
    """Tell the client that its request was refused."""

    ticket: int
    refusal: Refusal


Output = Append | Run | Reconcile | Send | Confirm | Answer | Deny
