"""The texts of refusals and of results that the core itself gives: what was wrong, what to do, is a retry safe."""

import msgspec

from semel.core.call import Call, NodeId, Record
from semel.core.message import Refusal
from semel.errors import BadTicket, Busy, Draining, KeyReused, KeyStale, NoLeader, Undecided


def key_reused(call: Call) -> Refusal:
    """Return the answer to a key that names another call."""
    return Refusal(
        KeyReused.code,
        f"the idempotency key {call.id.key!r} already names a call with another tool or other arguments: "
        f"send {call.tool} with a key of its own. Nothing was run"
        if call.id.round == 1
        else f"round {call.id.round} of the call {call.id.key!r} was begun with other answers, or other arguments, and "
        "has one outcome: send what it was begun with to hear it. Nothing was run",
    )


def bad_ticket(call: Call, why: str) -> Refusal:
    """Return the answer to a round that does not go on from the one before it."""
    return Refusal(
        BadTicket.code,
        f"round {call.id.round} of the call {call.id.key!r} cannot begin: {why}. Send the call without a requestState, "
        "under its key, to hear how it stands. Nothing was run",
    )


def key_stale(record: Record) -> Refusal:
    """Return the answer to a key whose result is forgotten."""
    return Refusal(
        KeyStale.code,
        f"the call {record.id.key!r} ended ({record.status}) so long ago that its result is forgotten; it is never "
        "run again under this key. Nothing was run",
    )


def forgotten_since(record: Record) -> Refusal:
    """Return the answer to a request that was run, and whose result was forgotten before this node learnt of it."""
    return Refusal(
        Undecided.code,
        f"the call {record.id.key!r} ran and ended ({record.status}) while this node was cut off, so long ago that its "
        "result is forgotten; it is never run again under this key",
    )


def busy(node: NodeId, in_flight_max: int) -> Refusal:
    """Return the answer of a node that holds as many calls as it may."""
    return Refusal(
        Busy.code,
        f"{node.name} holds {in_flight_max} unanswered calls, as many as it may: try again in a moment. "
        "Nothing was run; retrying with the same key is safe",
    )


def not_begun(node: NodeId, hold_s: float) -> Refusal:
    """Return the answer of a leader that had no room for a call in time."""
    return Refusal(
        Busy.code,
        f"{node.name} had no room to begin the call for {hold_s:g} s: try again later. "
        "Nothing was run; retrying with the same key is safe",
    )


def backlogged(node: NodeId, unwritten: int) -> Refusal:
    """Return the answer of a node that holds as much as it may of what the log has not taken."""
    return Refusal(
        Busy.code,
        f"{node.name} holds {unwritten} outcomes that the log has not taken yet, and may not hold more: try again when "
        "the log can be written. Nothing was run; retrying with the same key is safe",
    )


def draining(node: NodeId) -> Refusal:
    """Return the answer of a node that goes down on purpose."""
    return Refusal(
        Draining.code,
        f"{node.name} is going down and takes no more calls: ask another node. "
        "Nothing was run; retrying with the same key is safe",
    )


def no_leader(hold_s: float) -> Refusal:
    """Return the answer to a call for which no leader was found."""
    return Refusal(
        NoLeader.code,
        f"no leader was found for {hold_s:g} s: see `semel status`, and whether the log can be reached. "
        "Nothing was run; retrying with the same key is safe",
    )


def undecided(hold_s: float) -> Refusal:
    """Return the answer to a call of which this node has not heard again."""
    return Refusal(
        Undecided.code,
        f"the call was passed on, and nothing was heard of it for {hold_s:g} s: it may have run or may yet run. "
        "Retrying with the same key is safe and tells; a new key is not",
    )


def passed_on(refusal: Refusal) -> Refusal:
    """Return the answer to a call that the leader refused, after it was passed on to another leader too."""
    return Refusal(
        Undecided.code,
        f"the leader refused the call ({refusal.code}), but it was passed on to an earlier leader too, and may "
        "yet run. "
        "Retrying with the same key is safe and tells; a new key is not",
    )


def given_up(attempt: int, reason: str) -> msgspec.Raw:
    """Return the result of a repeatable call that was lost as often as it may be."""
    return said(f"the tool was lost in attempt {attempt}, which was the last: {reason}. Use a new key")


def said(text: str) -> msgspec.Raw:
    """Return a failed tool's result with a text, as JSON in the form of MCP's CallToolResult."""
    result = {"content": [{"type": "text", "text": text}], "isError": True}
    return msgspec.Raw(msgspec.json.encode(result))
