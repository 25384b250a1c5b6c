"""How scenes spell entries, effects and records: short lines that an engineer reads without a manual."""

import json
from typing import assert_never

import msgspec

from semel.core.call import Call, CallId, NodeId, Record, Status
from semel.core.entry import Doubted, Elected, Entry, Forgot, Founded, Intent, Outcome, Read, Resigned, Restored
from semel.core.ledger import Ledger
from semel.core.message import Answer, Confirm, Deny, Forward, Reconcile, Refuse, Run, Send

CALLER = "ann"
"""The caller of a key that names none; `bob:k1` is the key k1 of bob, and `k1/2` the second round of the call k1."""


def call_of(word: str) -> CallId:
    caller, _, key = word.rpartition(":")
    key, _, number = key.partition("/")
    return CallId(caller or CALLER, key, int(number or 1))


def spell_call(call: CallId) -> str:
    key = call.key if call.round == 1 else f"{call.key}/{call.round}"
    return key if call.caller == CALLER else f"{call.caller}:{key}"


def spell_what(call: Call) -> str:
    answers = "" if call.answers is None else f" with {bytes(call.answers).decode()}"
    return f"{call.tool} {bytes(call.arguments).decode()}{answers}"


def spell_result(raw: msgspec.Raw | None) -> str:
    """Return a result as it came, or the text of one that the core itself wrote."""
    if raw is None:
        return "(forgotten)"
    result = json.loads(bytes(raw))
    if isinstance(result, dict) and "content" in result:
        return json.dumps(result["content"][0]["text"])
    return json.dumps(result)


def spell_entry(entry: Entry) -> str:
    match entry:
        case Founded():
            return f"founded {entry.cluster}"
        case Elected():
            return f"elected {entry.node} in term {entry.term}"
        case Resigned():
            return f"resigned {entry.node} from term {entry.term}"
        case Intent():
            attempt = f", attempt {entry.attempt}" if entry.attempt > 1 else ""
            lane = f", lane {entry.lane}" if entry.lane is not None else ""
            by = f"by {entry.executor} in term {entry.term}"
            return f"intent {spell_call(entry.call.id)}: {spell_what(entry.call)} ({entry.effect}{lane}) {by}{attempt}"
        case Outcome():
            how = ", reconciled" if entry.reconciled else ""
            return f"outcome of {entry.intent}: {entry.status} {spell_result(entry.result)} by {entry.executor}{how}"
        case Read():
            said = f"{entry.status} {spell_result(entry.result)}"
            return f"read {spell_call(entry.call.id)}: {spell_what(entry.call)} {said} by {entry.executor}"
        case Doubted():
            return f"doubted {entry.intent}: {entry.reason}"
        case Restored():
            return "restored from a backup"
        case Forgot():
            kept = f"{entry.result_retention_ms} ms, keys {entry.key_retention_ms} ms"
            return f"forgot at {entry.at_ms} ms (by {entry.step_ms} ms at most), results kept {kept}"
        case _:
            assert_never(entry)


def spell_effect(node: str, effect: Run | Reconcile | Send | Confirm | Answer | Deny) -> str:
    match effect:
        case Run():
            how = "a read" if effect.intent is None else f"intent {effect.intent}, attempt {effect.attempt}"
            return f"{node} starts run {effect.run}: {spell_what(effect.call)} ({how})"
        case Reconcile():
            return f"{node} asks the hook of {effect.call.tool} about intent {effect.intent}"
        case Send():
            return f"{node} sends {effect.to}: {spell_message(effect.message)}"
        case Confirm():
            return f"{node} asks for the tail before it answers {effect.ticket}"
        case Answer():
            replayed = ", replayed" if effect.replayed else ""
            return f"{node} answers {effect.ticket}: {spell_standing(effect.record)}{replayed}"
        case Deny():
            why = (
                f" ({effect.refusal.message.split(': ')[1].split('. ')[0]})"
                if effect.refusal.code == "bad_ticket"
                else ""
            )
            return f"{node} denies {effect.ticket}: {effect.refusal.code}{why}"
        case _:
            assert_never(effect)


def spell_message(message: Forward | Refuse) -> str:
    match message:
        case Forward():
            return f"forward {spell_call(message.call.id)} #{message.number}"
        case Refuse():
            return f"refuse {spell_call(message.id)} #{message.number}: {message.refusal.code}"
        case _:
            assert_never(message)


def spell_standing(record: Record) -> str:
    if record.status is Status.RUNNING:
        return "running"
    if record.status is Status.IN_DOUBT:
        return f"in_doubt ({record.reason})"
    return f"{record.status} {spell_result(record.result)}"


def spell_ledger(ledger: Ledger, records: list[Record], evidence: list[int]) -> list[str]:
    totals = ledger.totals
    leader = f"leader {totals.leader.node}" if totals.leader else "no leader"
    executions = " ".join(f"{name}={count}" for name, count in sorted(totals.executions_by_node.items()))
    lines = [f"position {totals.position}, term {totals.term}, {leader}, executions {executions or 'none'}"]
    for record in records:
        intents = ", ".join(str(intent) for intent in record.intents)
        how = f"intents {intents}" if intents else "a read"
        lines.append(f"{spell_call(record.id)}: {spell_standing(record)}; {how}, {spell_who(record.executor, record)}")
    lines += [f"evidence at {position}" for position in evidence]
    return lines


def spell_who(executor: NodeId, record: Record) -> str:
    return f"execution {record.execution_id} by {executor}, stands since {record.position}"
