"""The words of a trace: entries and effects, each on half a line."""

from typing import assert_never

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
            return f"Intent({entry.call.id.key} {entry.call.tool} #{entry.attempt} by {entry.executor} t{entry.term})"
        case Outcome():
            by = f"{'reconciled ' if entry.reconciled else ''}by {entry.executor}"
            return f"Outcome(of {entry.intent} {entry.status} {bytes(entry.result).decode()[:24]} {by})"
        case Read():
            return f"Read({entry.call.id.key} {entry.status} by {entry.executor})"
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
            return f"run {output.run}: {output.call.id.key} {output.call.tool}, intent {output.intent}"
        case Reconcile():
            return f"ask the hook of {output.call.tool} about intent {output.intent}, {output.call.id.key}"
        case Send():
            return f"send {type(output.message).__name__} to {output.to}: {_message_text(output)}"
        case Confirm():
            return f"ask for the tail, for ticket {output.ticket}"
        case Answer():
            record = output.record
            return f"answer ticket {output.ticket}: {record.id.key} {record.status} (position {record.position})"
        case Deny():
            return f"deny ticket {output.ticket}: {output.refusal.code}: {output.refusal.message}"
        case _:
            assert_never(output)


def _message_text(output: Send) -> str:
    message = output.message
    key = message.call.id.key if hasattr(message, "call") else message.id.key
    return f"{key} #{message.number}"
