"""Short makers of calls, entries and nodes, for tests that compare whole values."""

import json
from typing import Any

import msgspec

from semel.core.call import Call, CallId, Effect, NodeId, Record, Spec, Status, digest_of
from semel.core.decider import Decider, Identity
from semel.core.entry import Doubted, Elected, Entry, Founded, Intent, Outcome, Read, Resigned
from semel.core.ledger import Archive, DictArchive, Ledger
from semel.core.limits import Limits
from semel.core.message import Appended, Now, Output, Started

N1, N2, N3 = NodeId("n1", "1"), NodeId("n2", "1"), NodeId("n3", "1")


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def a_call(
    key: str = "k1",
    *,
    tool: str = "charge",
    arguments: dict[str, Any] | None = None,
    request: str = "r1",
    round: int = 1,
    answers: dict[str, Any] | None = None,
) -> Call:
    arguments = arguments or {}
    return Call(
        id=CallId("ann", key, round),
        tool=tool,
        arguments=raw(arguments),
        digest=digest_of(tool, arguments, answers),
        request=request,
        client="a client",
        answers=None if answers is None else raw(answers),
    )


def founded() -> Founded:
    return Founded(cluster="test", id="0")


def elected(node: NodeId, term: int) -> Elected:
    return Elected(term=term, node=node, url=f"http://{node.name}", at_ms=term)


def resigned(node: NodeId, term: int) -> Resigned:
    return Resigned(term=term, node=node, at_ms=term)


def intent(
    node: NodeId,
    term: int,
    call: Call | None = None,
    *,
    effect: Effect = Effect.ONCE,
    attempt: int = 1,
    lane: str | None = None,
    at_ms: int = 1000,
) -> Intent:
    return Intent(
        call=call or a_call(),
        effect=effect,
        timeout_s=60.0,
        lane=lane,
        term=term,
        attempt=attempt,
        executor=node,
        at_ms=at_ms,
    )


def outcome(node: NodeId, of: int, *, status: Status = Status.OK, result: Any = "done", at_ms: int = 2000) -> Outcome:
    return Outcome(intent=of, status=status, result=raw(result), executor=node, duration_ms=5.0, at_ms=at_ms)


def reconciled(node: NodeId, of: int, *, result: Any = "done", at_ms: int = 3000) -> Outcome:
    return Outcome(
        intent=of,
        status=Status.OK,
        result=raw(result),
        executor=node,
        duration_ms=0.0,
        at_ms=at_ms,
        reconciled=True,
    )


def read(node: NodeId, call: Call | None = None, *, term: int = 1, result: Any = "seen") -> Read:
    return Read(
        call=call or a_call(tool="balance"),
        timeout_s=60.0,
        status=Status.OK,
        result=raw(result),
        term=term,
        executor=node,
        duration_ms=5.9,
        at_ms=2000,
    )


def doubted(of: int) -> Doubted:
    return Doubted(intent=of, reason="n1 was lost", at_ms=3000)


def a_record(call: Call, **changes: Any) -> Record:
    """Return what the ledger holds of a call after `intent(N1, 1, call)` at position 3, in a cluster that n1 leads."""
    record = Record(
        id=call.id,
        tool=call.tool,
        arguments=call.arguments,
        digest=call.digest,
        request=call.request,
        client=call.client,
        meta=call.meta,
        answers=call.answers,
        effect=Effect.ONCE,
        timeout_s=60.0,
        lane=None,
        execution_id=1,
        intents=(3,),
        position=3,
        term=1,
        attempt=1,
        executor=N1,
        status=Status.RUNNING,
        timestamp_ms=1000,
        clock_ms=1,
    )
    return msgspec.structs.replace(record, **changes)


def fold(*entries: Entry, archive: Archive | None = None) -> Ledger:
    ledger = Ledger(archive or DictArchive())
    for position, entry in enumerate(entries, 1):
        ledger.apply(position, entry)
    return ledger


def a_decider(me: NodeId = N1, *entries: Entry, **limits: Any) -> Decider:
    """Return a node that has read some entries and not begun to follow."""
    identity = Identity(node=me, url=f"http://{me.name}", cluster="test", cluster_id="0")
    return Decider(identity, fold(*entries), Limits(**limits))


def a_leader(**limits: Any) -> Decider:
    """Return n1 as the elected leader of an empty log, at position 2."""
    decider = a_decider(**limits)
    decider.step(Started(0), at(0))
    decider.step(Appended(0, committed=True), at(0))
    assert decider.leads
    return decider


def at(s: float) -> Now:
    return Now(s, round(s * 1000))


def kinds(effects: list[Output]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


SPEC = Spec()
REPEATABLE = Spec(effect=Effect.REPEATABLE)
READ = Spec(effect=Effect.READ)
