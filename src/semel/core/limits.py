"""Every limit and every waiting time of the core, each with its reason, in one place."""

import msgspec

NESTING_MAX = 200
"""Arrays and objects in one another, in what a call was given or gave: as deep as the SDK of MCP reads a result. It is
no one node's choice, for each reads what another wrote, and Python reads no JSON that is nested without end."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a node takes on and how long it waits; none of these can break a promise."""

    key_chars_max: int = 256
    """A key is a name, not a payload; 256 holds a UUID, a hash or a path of them."""

    arguments_bytes_max: int = 32 * 2**20
    """One call's arguments as JSON; more belongs into a file that the arguments name."""

    result_bytes_max: int = 32 * 2**20
    """One call's result as JSON; it is held by every node, and a picture or two must fit."""

    concurrency_max: int = 256
    """Tools running on one node at once; each may hold a thread."""

    in_flight_max: int = 4096
    """Calls that one node holds unanswered; over it the node says busy instead of growing."""

    in_flight_bytes_max: int = 64 * 2**20
    """Arguments of the calls that one node holds unanswered; read, checked and sent, they take twenty times as much."""

    unwritten_bytes_max: int = 256 * 2**20
    """Results that the log has not taken yet, for which nobody may wait here any more: reads are answered while the
    log cannot be written, and what came of them is logged later. Over it the node takes no new calls."""

    batch_entries_max: int = 512
    """Entries in one append; past a few hundred, one fsync more costs less than the wait."""

    batch_bytes_max: int = 4 * 2**20
    """Payload in one append; keeps the wait behind a batch short. A larger single entry goes alone."""

    attempts_max: int = 5
    """Runs of a repeatable call whose executor is lost again and again, before that is its outcome."""

    patience_s: float = 1.5
    """A node whose pulse has not changed for this long is taken for gone: six missed beats."""

    grace_s: float = 0.3
    """A new leader waits this long for a late outcome before it says in doubt: an append in flight lands in less."""

    unlogged_after_s: float = 2.0
    """A read without a key of its client's is answered if the log has not taken its outcome for this long: then the
    log is in trouble, and has been for longer than it takes to elect a leader."""

    hold_s: float = 30.0
    """A call that cannot begin is held this long before it fails: longer than any election."""

    forward_again_s: float = 0.5
    """A forwarded call whose intent has not come back is forwarded again; repeats are harmless."""

    forget_every_s: float = 600.0
    """How often the leader moves the log's clock on, by twice this at most: small steps, and none of them long."""

    result_retention_ms: int = 30 * 86_400_000
    """Results are remembered for 30 days, longer than any client retries."""

    key_retention_ms: int = 365 * 86_400_000
    """A key without its result is a small row, remembered for a year, so that a stale retry never runs."""
