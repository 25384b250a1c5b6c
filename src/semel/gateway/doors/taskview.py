"""How a call stands, told as a task: the shapes of the tasks extension (SEP-2663), and those of MCP 2025-11-25.

Pure: records of the log go in, JSON objects come out. A task is one call with all its rounds; what it is waiting for
is what its last round asks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from semel.core.call import Record, Status
from semel.gateway import meta
from semel.gateway.answers import result_of, said_of
from semel.gateway.taskmode import RELATED
from semel.node.asides import Question
from semel.node.backend import Reply
from semel.node.settled import settled

POLL_MIN_MS = 500
POLL_MAX_MS = 5000
"""A client is asked to look again after a tenth of the time that the call has taken so far, within these bounds: so it
learns of the end at most a tenth late, and a call of an hour is not asked after thousands of times."""

_ONLY_DETAILED = ("resultType", "result", "error", "inputRequests")
"""What the extension's answer to tasks/get says and a Task of 2025-11-25 does not."""

UNDER_WAY = ("working", "input_required")
"""The states of a task of which more is to be expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One task as it stands.

    `rounds` are its call's rounds, oldest first, at least one. `status` is the word that MCP has for it; `result` or
    `error` is what an ordinary request would be answered, if it is over. `message` is for people.
    """

    id: str
    rounds: Sequence[Record]
    status: str
    message: str | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    requests: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> Record:
        """The last round."""
        return self.rounds[-1]

    @property
    def over(self) -> bool:
        """True if nothing more is to be expected: in semel's words, an outcome, or doubt."""
        return self.status not in UNDER_WAY


def view(task_id: str, rounds: Sequence[Record], questions: Mapping[str, Question] | None = None) -> View:
    """Return how a call stands as a task; `questions` are what its tool asks in the middle of its run."""
    last = rounds[-1]
    said = f"{last.tool} waits for its caller's answers"
    match last.status:
        case Status.RUNNING if questions:
            requests = {key: {"method": each.method, "params": each.params} for key, each in questions.items()}
            return View(id=task_id, rounds=rounds, status="input_required", message=said, requests=requests)
        case Status.RUNNING:
            again = f" (attempt {last.attempt})" if last.attempt > 1 else ""
            return View(id=task_id, rounds=rounds, status="working", message=f"{_place(last)}{again}")
        case Status.INPUT_REQUIRED:
            return View(
                id=task_id, rounds=rounds, status="input_required", message=said, requests=open_requests(rounds)
            )
        case Status.CANCELLED:
            result = _result(last)
            return View(id=task_id, rounds=rounds, status="cancelled", message=_text(result), result=result)
        case _:
            return _ended(task_id, rounds)


def _ended(task_id: str, rounds: Sequence[Record]) -> View:
    """Return a call that came to a result, which may be an error of the tool's, a time limit, or doubt.

    All of these are `completed`: they are what the call itself would have been answered, and `failed` is for errors
    of the protocol alone. Doubt is no exception: it is an answer that can be read, and if it is settled later the
    task keeps its status and shows the outcome.
    """
    result = _result(rounds[-1])
    error = (result.get("_meta") or {}).get(meta.PROTOCOL_ERROR)
    if isinstance(error, dict):
        return View(id=task_id, rounds=rounds, status="failed", message=str(error.get("message", "")), error=error)
    message = _text(result) if rounds[-1].status in (Status.IN_DOUBT, Status.TIMED_OUT) else None
    return View(id=task_id, rounds=rounds, status="completed", message=message, result=result)


# What is asked.


def open_requests(rounds: Sequence[Record]) -> dict[str, Any]:
    """Return what a call that waits asks for and nobody has answered yet, by keys that it never uses again.

    A tool may ask two things by one key in two rounds, and a task may not; so each key has the number of the round
    that first asked in front.
    """
    asked = _asking(rounds)
    return {f"{asked.id.round}.{key}": request for key, request in _requests(rounds[-1]).items()}


def answers_to(rounds: Sequence[Record], responses: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return what the next round brings, of responses by their keys in `open_requests`; and what is still asked.

    Answers that were given before to a part of what was asked are among it. Responses to what is not asked are none,
    and if there are no others, there is no next round.
    """
    prefix = f"{_asking(rounds).id.round}."
    asked = _requests(rounds[-1])
    given = {key: responses[prefix + key] for key in asked if prefix + key in responses}
    rest = {key: request for key, request in asked.items() if key not in given}
    if not given and asked:
        return None, rest
    before = _answers(rounds[-1]).get("inputResponses", {}) if settled(rounds[-1].call) is not None else {}
    answers = going_on(rounds)
    if responses_so_far := {**before, **given}:
        answers["inputResponses"] = responses_so_far
    return answers, rest


def going_on(rounds: Sequence[Record]) -> dict[str, Any]:
    """Return what every next round brings: the tool's own state, if it gave one."""
    state = _content(rounds[-1]).get("requestState")
    return {} if state is None else {"requestState": state}


def still_asked(rounds: Sequence[Record], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a round that asks for the rest of what the last one asks for."""
    return {**_content(rounds[-1]), "inputRequests": dict(rest)}


def _asking(rounds: Sequence[Record]) -> Record:
    """Return the round whose tool asked what is open: the last one that was run."""
    return next(each for each in reversed(rounds) if settled(each.call) is None)


def _requests(record: Record) -> dict[str, Any]:
    requests = _content(record).get("inputRequests")
    return requests if isinstance(requests, dict) else {}


def _content(record: Record) -> dict[str, Any]:
    content: dict[str, Any] = {} if record.result is None else json.loads(bytes(record.result))
    return content


def _answers(record: Record) -> dict[str, Any]:
    answers: dict[str, Any] = {} if record.answers is None else json.loads(bytes(record.answers))
    return answers


# The shapes.


def created(task: View, retention_ms: int, now_ms: int) -> dict[str, Any]:
    """Return the CreateTaskResult of the extension, which says nothing of results or questions."""
    return {"resultType": "task", **_envelope(task, retention_ms, now_ms)}


def detailed(task: View, retention_ms: int, now_ms: int) -> dict[str, Any]:
    """Return the extension's answer to tasks/get: the task with what came of it, or with what it asks."""
    told: dict[str, Any] = {"resultType": "complete", **_envelope(task, retention_ms, now_ms)}
    if task.status == "completed":
        told["result"] = {"resultType": "complete", **(task.result or {})}
    if task.error is not None:
        told["error"] = dict(task.error)
    if task.status == "input_required":
        told["inputRequests"] = dict(task.requests)
    return told


def as_of_2025(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Task of MCP 2025-11-25, which says `failed` of an error of the tool's, too; made of a `detailed` one.

    Its result and its questions are asked for in other ways.
    """
    told = {name: value for name, value in task.items() if name not in _ONLY_DETAILED}
    told["ttl"] = told.pop("ttlMs", None)
    if "pollIntervalMs" in told:
        told["pollInterval"] = told.pop("pollIntervalMs")
    result = task.get("result") or {}
    if task["status"] == "completed" and result.get("isError") is True:
        told["status"] = "failed"
        told.setdefault("statusMessage", _text(result))
    return told


def result_of_2025(task_id: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's result as the tasks/result of MCP 2025-11-25 tells it."""
    told = {name: value for name, value in result.items() if name != "resultType"}
    if not isinstance(told.get("structuredContent", {}), dict):
        del told["structuredContent"]  # this version knows objects only; the content says the same
    return {**told, "_meta": {**told.get("_meta", {}), RELATED: {"taskId": task_id}}}


def _envelope(task: View, retention_ms: int, now_ms: int) -> dict[str, Any]:
    began_ms = task.rounds[0].timestamp_ms
    told: dict[str, Any] = {
        "taskId": task.id,
        "status": task.status,
        "createdAt": _time(began_ms),
        "lastUpdatedAt": _time(task.last.timestamp_ms + int(task.last.duration_ms or 0)),
        "ttlMs": retention_ms,
        "_meta": said_of(task.last),
    }
    if task.message is not None:
        told["statusMessage"] = task.message
    if not task.over:
        told["pollIntervalMs"] = max(POLL_MIN_MS, min((now_ms - began_ms) // 10, POLL_MAX_MS))
    return told


def _result(record: Record) -> dict[str, Any]:
    """Return what an ordinary request would be answered; not whether it is a replay, which is asked of requests."""
    result = result_of(Reply(record, replayed=False))
    del result["_meta"][meta.REPLAYED]
    return result


def _text(result: Mapping[str, Any]) -> str:
    return " ".join(block["text"] for block in result.get("content", []) if block.get("type") == "text")


def _place(record: Record) -> str:
    return f"{record.tool} runs on {record.executor.name}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
