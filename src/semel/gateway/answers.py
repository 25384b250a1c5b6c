"""What a caller is told of a call: the CallToolResult that goes over the wire, and `Answer`, the same for Python.

Knows the log's records and the names in `_meta`; no transport, no SDK.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from semel.answer import plain_value
from semel.core.call import Record, Status
from semel.gateway import meta
from semel.node.backend import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a call stands: its outcome, its result, and what the log says of it.

    `result` is the tool's value: what it returned where the tool has an output schema, else the text of its answer,
    else the list of its content blocks. `raw` is the whole CallToolResult, or with the outcome "input_required" the
    InputRequiredResult. A tool that asks in the middle of its run has written nothing yet: then the position is 0.
    """

    outcome: Status
    result: Any
    content: list[dict[str, Any]]
    key: str
    position: int
    execution_id: int
    term: int
    executor: str
    attempt: int
    replayed: bool
    raw: dict[str, Any]

    @property
    def logged(self) -> bool:
        """False if the outcome is not in the log: of a read without a key while it is down, or while the tool asks."""
        return self.position > 0

    @property
    def in_doubt(self) -> bool:
        """True if nobody can know whether the tool acted."""
        return self.outcome is Status.IN_DOUBT


_RUNNING: Mapping[str, Any] = {
    meta.OUTCOME: Status.INPUT_REQUIRED,
    meta.POSITION: 0,
    meta.EXECUTION_ID: 0,
    meta.TERM: 0,
    meta.EXECUTOR: "",
    meta.ATTEMPT: 0,
    meta.REPLAYED: False,
}
"""What is said of a call whose tool runs, where its node says no more."""


def said_of(record: Record) -> dict[str, Any]:
    """Return what the log says of a call, for `_meta`: its key, its outcome, and where it ran."""
    return {
        meta.KEY: record.id.key,
        meta.POSITION: record.position,
        meta.EXECUTION_ID: record.execution_id,
        meta.TERM: record.term,
        meta.EXECUTOR: record.executor.name,
        meta.ATTEMPT: record.attempt,
        meta.OUTCOME: str(record.status),
    }


def result_of(reply: Reply) -> dict[str, Any]:
    """Return the CallToolResult of a reply: the stored one, with what the log says of it in `_meta`."""
    record = reply.record
    result: dict[str, Any] = _in_doubt(record) if record.result is None else _read(record.result)
    said = {**said_of(record), meta.REPLAYED: reply.replayed}
    if record.status is Status.INPUT_REQUIRED:
        result["resultType"] = "input_required"
    kept = result.get("_meta") or {}
    if result.get("isError") is True:
        by_tool = record.status in (Status.OK, Status.ERROR)
        said[meta.SOURCE] = kept.get(meta.SOURCE, "tool" if by_tool else "semel")
    return {**result, "_meta": {**kept, **said}}


def _read(result: msgspec.Raw) -> dict[str, Any]:
    try:
        read: dict[str, Any] = msgspec.json.decode(result)
    except msgspec.DecodeError:  # half characters, which only JSON's escapes can carry
        read = json.loads(bytes(result))
    return read


def answer_of(reply: Reply) -> Answer:
    """Return a reply as an Answer."""
    return read_answer(result_of(reply))


def read_answer(raw: dict[str, Any]) -> Answer:
    """Return a node's CallToolResult as an Answer; KeyError or ValueError if it is of another server."""
    said: Mapping[str, Any] = raw.get("_meta") or {}
    if raw.get("resultType") in ("input_required", "task") and meta.KEY in said:
        said = {**_RUNNING, **said}
    return Answer(
        outcome=Status(said[meta.OUTCOME]),
        result=plain_value(raw),
        content=raw.get("content", []),
        key=said[meta.KEY],
        position=said[meta.POSITION],
        execution_id=said[meta.EXECUTION_ID],
        term=said[meta.TERM],
        executor=said[meta.EXECUTOR],
        attempt=said[meta.ATTEMPT],
        replayed=said[meta.REPLAYED],
        raw=raw,
    )


def _in_doubt(record: Record) -> dict[str, Any]:
    """Return what is said of a call that has no result: it is in doubt."""
    assert record.status is Status.IN_DOUBT, record.status
    text = (
        f"In doubt: nobody can know whether {record.tool} acted. {record.executor.name} began to run it (position "
        f"{record.intents[-1]} of the log) and was lost before it could say what came of it. It was not run again. "
        "Look at what the tool acts upon to see whether it did. Asking again with the same key "
        f"({record.id.key}) never runs it, and tells when the doubt is settled; a new key would run it again."
    )
    return {"content": [{"type": "text", "text": text}], "isError": True}
