"""The words of a trace: entries and effects, each on half a line."""

from typing import assert_never

from semel.core.call import CallId
from semel.core.entry import Doubted, Elected, Entry, Forgot, Founded, Intent, Outcome, Read, Resigned, Restored
from semel.core.message import Answer, Append, Confirm, Deny, Output, Reconcile, Run, Send


def entry_text(entry: Entry) -> str:
    """Return what an entry says, in few words."""
    match entry:
        case Founded():
            return f"Founded({entry.id})"
        case Elected():
            return f"Elected({entry.node}, term {entry.term})"
        case Resigned():
            return f"Resigned({entry.node}, term {entry.term})"
        case Intent():
            who = f"{entry.executor} t{entry.term}"
            return f"Intent({name_of(entry.call.id)} {entry.call.tool} #{entry.attempt} by {who})"
        case Outcome():
            by = f"{'reconciled ' if entry.reconciled else ''}by {entry.executor}"
            return f"Outcome(of {entry.intent} {entry.status} {bytes(entry.result).decode()[:24]} {by})"
        case Read():
            return f"Read({name_of(entry.call.id)} {entry.status} by {entry.executor})"
        case Doubted():
            return f"Doubted({entry.intent})"
        case Forgot():
            return f"Forgot(at {entry.at_ms})"
        case Restored():
            return f"Restored(at {entry.at_ms})"
        case _:
            assert_never(entry)


def output_text(output: Output) -> str:
    """Return what an effect orders, in few words."""
    match output:
        case Append():
            return f"append after {output.after}: {', '.join(map(entry_text, output.entries))}"
        case Run():
            return f"run {output.run}: {name_of(output.call.id)} {output.call.tool}, intent {output.intent}"
        case Reconcile():
            return f"ask the hook of {output.call.tool} about intent {output.intent}, {name_of(output.call.id)}"
        case Send():
            return f"send {type(output.message).__name__} to {output.to}: {_message_text(output)}"
        case Confirm():
            return f"ask for the tail, for ticket {output.ticket}"
        case Answer():
            record = output.record
            return f"answer ticket {output.ticket}: {name_of(record.id)} {record.status} (position {record.position})"
        case Deny():
            return f"deny ticket {output.ticket}: {output.refusal.code}: {output.refusal.message}"
        case _:
            assert_never(output)


def _message_text(output: Send) -> str:
    message = output.message
    call = message.call.id if hasattr(message, "call") else message.id
    return f"{name_of(call)} #{message.number}"


def name_of(call: CallId) -> str:
    """Return a call's key, and which of its rounds is meant if it is not the first."""
    return call.key if call.round == 1 else f"{call.key}/{call.round}"
