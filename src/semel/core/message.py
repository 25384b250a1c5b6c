"""What goes into a node's decisions and what comes out: inputs, effects, and the messages between peers.

Closed unions of frozen values. Times come in with every input as a `Now`; nothing here reads a clock.
"""

import msgspec

from semel.core.call import Call, CallId, NodeId, Record, Spec, Status
from semel.core.entry import Entry
from semel.core.ledger import Totals


class Now(msgspec.Struct, frozen=True):
    """The node's own time: `s` only ever grows (for waiting), `ms` is the wall clock (for stamps)."""

    s: float
    ms: int


class Refusal(msgspec.Struct, frozen=True):
    """An error that travels: its code in `errors.py`, and its text."""

    code: str
    message: str


# Messages between peers.


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message on a connection, from both sides: who speaks, and of which cluster.

    `together` says that it takes several messages in one frame, which the first versions of semel do not.
    """

    cluster: str
    node: NodeId
    together: bool = False


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


class Submitted(msgspec.Struct, frozen=True):
    """A client asks this node; `ticket` is for the answer, `spec` says how this node would run it, or why not."""

    ticket: int
    call: Call
    spec: Spec | Refusal
    keyed: bool = True
    """False if the client gave no key, so that nobody else can ever ask under the one that was made for it."""


class Abandoned(msgspec.Struct, frozen=True):
    """The client behind a ticket has gone; nothing changes but that nobody is answered."""

    ticket: int


class Received(msgspec.Struct, frozen=True):
    """A peer's message; `spec` as in Submitted, for a Forward."""

    sender: NodeId
    message: Forward | Refuse
    spec: Spec | Refusal | None = None


class Committed(msgspec.Struct, frozen=True):
    """Entries that the log gave back, from the position `first` on; ones already read are skipped."""

    first: int
    entries: tuple[Entry, ...]


class Appended(msgspec.Struct, frozen=True):
    """The append after that position is decided: committed, or its position was taken by another."""

    after: int
    committed: bool


class Installed(msgspec.Struct, frozen=True):
    """The archive now holds a peer's snapshot, which these totals belong to, and no longer what this node folded.

    It stands for all entries up to its position, which the log no longer gives.
    """

    totals: Totals


class Ended(msgspec.Struct, frozen=True):
    """The tool of a run came to an end; `result` is JSON."""

    run: int
    status: Status
    result: msgspec.Raw
    duration_ms: float


class Lost(msgspec.Struct, frozen=True):
    """The tool of a run was lost on the way: nobody can know whether it acted."""

    run: int
    reason: str


class Reconciled(msgspec.Struct, frozen=True):
    """What came of a Reconcile: the tool's `result` as JSON if it is known that it acted, else None and why not.

    `reason` goes on from the words on how the executor was lost; it is empty where there is no hook to be asked.
    """

    intent: int
    result: msgspec.Raw | None
    reason: str = ""


class Started(msgspec.Struct, frozen=True):
    """The node has begun to follow; from `tail` on, what it reads is news and no longer replay."""

    tail: int


class Confirmed(msgspec.Struct, frozen=True):
    """The log's tail, asked for after the Confirm of that ticket."""

    ticket: int
    tail: int


class Pulsed(msgspec.Struct, frozen=True):
    """The newest beats of all nodes by name: which incarnation, and anything that changes as long as it lives."""

    beats: dict[str, tuple[NodeId, str]]


class PeerLost(msgspec.Struct, frozen=True):
    """That incarnation's process is gone: its connection closed and none can be opened."""

    node: NodeId


class PeerFound(msgspec.Struct, frozen=True):
    """That incarnation answers."""

    node: NodeId


class Ticked(msgspec.Struct, frozen=True):
    """Time has passed."""


class Drained(msgspec.Struct, frozen=True):
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


class Append(msgspec.Struct, frozen=True):
    """Append these entries after that position, and propose them again until the log decides."""

    after: int
    entries: tuple[Entry, ...]


class Run(msgspec.Struct, frozen=True):
    """Run the tool; report Ended or Lost under the number `run`. `intent` is None for a read."""

    run: int
    call: Call
    timeout_s: float
    term: int
    attempt: int
    intent: int | None


class Reconcile(msgspec.Struct, frozen=True):
    """Ask the tool's reconcile hook, if it has one, whether the tool acted for that intent; report Reconciled."""

    intent: int
    call: Call
    timeout_s: float
    term: int


class Send(msgspec.Struct, frozen=True):
    """Send a message to a peer; it may get lost."""

    to: NodeId
    message: Forward | Refuse


class Confirm(msgspec.Struct, frozen=True):
    """Ask the log for its tail, until it answers, and report Confirmed: what may be old news is not said before."""

    ticket: int


class Answer(msgspec.Struct, frozen=True):
    """Tell the client how its call stands; `replayed` if its request is not the one that was executed."""

    ticket: int
    record: Record
    replayed: bool


class Deny(msgspec.Struct, frozen=True):
    """Tell the client that its request was refused."""

    ticket: int
    refusal: Refusal


Output = Append | Run | Reconcile | Send | Confirm | Answer | Deny
