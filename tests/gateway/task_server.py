"""A server by hand whose tools give tasks of its own, in either form: `python task_server.py ERA FILE` on stdio.

ERA is "old" for 2025-11-25 and "new" for 2026-07-28, or "shy old" and "shy new" if it does not say that it has tasks.
A tool comes to what its name says; each call leaves its key in FILE, and each request on a task its method; what is
held is let go by the line "go" there. It is without the SDK, which knows no tasks, and can be as bad as it is asked to.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEY = "dev.semel/idempotency-key"
EXTENSION = "io.modelcontextprotocol/tasks"
RELATED = "io.modelcontextprotocol/related-task"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
NAME = {
    "message": "Who are you?",
    "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
}
ERROR = {"code": -32000, "message": "out of paper", "data": {"tray": 2}}
HOUR_MS = 3_600_000
TOOLS = (
    *("finish", "fail", "error", "cancelled", "for_ever", "busy", "lazy", "told", "ask", "ask_twice", "progress"),
    *("no_id", "odd_id", "no_status", "odd_status", "wrong_id", "unknown", "ailing", "no_result", "lost_result"),
    *("deaf", "die", "die_once", "plain", "no_questions", "held", "held_again"),
)
REPEATABLE = ("die_once", "held_again")

Message = dict[str, Any]


class TaskServer:
    """The server, on whatever transport.

    `note` takes a line for each thing that it is asked to do, and `noted` gives all of them.
    """

    def __init__(self, era: str, note: Callable[[str], object], noted: Callable[[], list[str]]) -> None:
        self.modern = era.endswith("new")
        self.shy = era.startswith("shy")
        self.note = note
        self.noted = noted
        self.calls: dict[str, str] = {}
        """The tool of each task."""
        self.keys: dict[str, str] = {}
        self.looks: dict[str, int] = {}
        self.answers: dict[str, Any] = {}
        """What clients have answered, by tasks."""
        self.tokens: dict[str, Any] = {}
        self.wanted: list[Any] = []
        """What was said of the task that is wanted, by each call, in the form of 2025-11-25."""
        self.blocked: dict[str, Message] = {}
        """The `tasks/result` that waits for an answer to a question, by the question's id."""

    def take(self, message: Message) -> list[Message]:
        """Return what the server says to a message, in this order."""
        if "method" not in message:
            return self._answered(message)
        if "id" not in message:
            return []
        try:
            said = self._serve(message["method"], message.get("params") or {}, message)
        except LookupError as error:
            return [_error(message, -32602, f"Task not found: {error}")]
        return said if isinstance(said, list) else [_result(message, self._typed(said))]

    def _typed(self, result: Message) -> Message:
        return {"resultType": "complete", **result} if self.modern else result

    def _serve(self, method: str, params: Message, message: Message) -> Message | list[Message]:
        match method:
            case "server/discover" if self.modern:
                offers = {"tools": {}} | ({} if self.shy else {"extensions": {EXTENSION: {}}})
                return {"supportedVersions": ["2026-07-28"], "capabilities": offers, "ttlMs": 0, "cacheScope": "public"}
            case "initialize" if self.modern:
                error = {"code": -32022, "message": "of old", "data": {"supported": ["2026-07-28"], "requested": "?"}}
                return [{"jsonrpc": "2.0", "id": message["id"], "error": error}]
            case "initialize":
                tasks = {"cancel": {}, "requests": {"tools": {"call": {}}}}
                offers = {"tools": {}} | ({} if self.shy else {"tasks": tasks})
                info = {"name": "tasks", "version": "1"}
                return {"protocolVersion": "2025-11-25", "capabilities": offers, "serverInfo": info}
            case "tools/list":
                return {"tools": [self._listed(name) for name in TOOLS], "ttlMs": 0, "cacheScope": "public"}
            case "tools/call":
                return self._call(params, message)
            case "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update":
                self.note(method)
                return self._about(method, params, message)
        return [_error(message, -32601, "Method not found")]

    def _listed(self, name: str) -> Message:
        hints = {"annotations": {"idempotentHint": True}} if name in REPEATABLE else {}
        listed = {"name": name, "inputSchema": {"type": "object"}, **hints}
        return listed if self.modern else {**listed, "execution": {"taskSupport": "required"}}

    def _call(self, params: Message, message: Message) -> Message | list[Message]:
        name, said = params["name"], params["_meta"]
        able = EXTENSION in said[CAPABILITIES].get("extensions", {}) if self.modern else "task" in params
        if not able:
            return [_error(message, -32021 if self.modern else -32601, f"{name} is run as a task only")]
        self.note(f"call {said[KEY]}")
        self.wanted.append(params.get("task"))
        if name == "plain":
            return text("no task at all")
        task_id = f"task-{len(self.calls) + 1}"
        self.calls[task_id], self.keys[task_id] = name, said[KEY]
        self.tokens[task_id] = said.get("progressToken")
        task = self._task(task_id, "working")
        if name == "no_id":
            del task["taskId"]
        if name == "odd_id":
            task["taskId"] = 7
        if self.modern:
            return {"resultType": "task", **task}
        return {"task": task}

    def _task(self, task_id: str, status: str, **more: Any) -> Message:
        first = self.looks.get(task_id, 0) == 0
        pause_ms = {"busy": 0, "lazy": HOUR_MS, "told": 0 if first else HOUR_MS}.get(self.calls[task_id], 100)
        times = {"createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z"}
        names = ("ttlMs", "pollIntervalMs") if self.modern else ("ttl", "pollInterval")
        return {"taskId": task_id, "status": status, **times, names[0]: HOUR_MS, names[1]: pause_ms, **more}

    def _about(self, method: str, params: Message, message: Message) -> Message | list[Message]:
        task_id = params["taskId"]
        name = self.calls[task_id]
        if self.modern and EXTENSION not in params["_meta"][CAPABILITIES].get("extensions", {}):
            return [_error(message, -32021, "missing required client capability")]
        match method:
            case "tasks/get":
                self.looks[task_id] = look = self.looks.get(task_id, 0) + 1
                return self._get(task_id, name, look, message)
            case "tasks/update" if self.modern:
                self.answers.setdefault(task_id, {}).update(params["inputResponses"])
                self.note(f"answered {sorted(params['inputResponses'])}")
                return {}
            case "tasks/cancel":
                return {} if self.modern else self._task(task_id, "cancelled")
            case "tasks/result" if not self.modern:
                return self._result_of(task_id, name, message)
        return [_error(message, -32601, "Method not found")]

    def _get(self, task_id: str, name: str, look: int, message: Message) -> Message | list[Message]:
        match name:
            case "for_ever" | "busy" | "lazy":
                return self._task(task_id, "working")
            case "held" | "held_again" if "go" not in self.noted():
                return self._task(task_id, "working")
            case "told" if look == 1:
                method = "notifications/tasks" if self.modern else "notifications/tasks/status"
                told = {"jsonrpc": "2.0", "method": method, "params": self._task(task_id, "completed")}
                return [_result(message, self._typed(self._task(task_id, "working"))), told]
            case "progress" if look == 1:
                params = {"progressToken": self.tokens[task_id], "progress": 1, "message": "half way"}
                told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
                return [told, _result(message, self._typed(self._task(task_id, "working")))]
            case "wrong_id":
                return {**self._task(task_id, "completed", result=text("another's")), "taskId": "task-of-another"}
            case "no_status":
                task = self._task(task_id, "completed", result=text("done"))
                return {name: value for name, value in task.items() if name != "status"}
            case "odd_status":
                return self._task(task_id, "dreaming")
            case "no_questions":
                return self._task(task_id, "input_required", inputRequests=7)
            case "unknown":
                raise KeyError(task_id)
            case "ailing":
                return [_error(message, -32603, "the disk is full")]
            case "deaf":
                return []
            case "die":
                os._exit(7)
            case "die_once" if self.noted().count(f"call {self.keys[task_id]}") == 1:
                os._exit(7)
            case "cancelled":
                return self._task(task_id, "cancelled", statusMessage="the operator did not like it")
            case "ask" | "ask_twice":
                return self._asking(task_id, name, look)
        return self._task(task_id, "working") if look == 1 else self._over(task_id, name)

    def _asking(self, task_id: str, name: str, look: int) -> Message:
        given = self.answers.get(task_id, {})
        wanted = ["first", "second"][: 2 if name == "ask_twice" else 1]
        if look > 1 and given.keys() >= set(wanted):
            said = ", ".join(str(given[key].get("content", given[key]["action"])) for key in wanted)
            return self._task(task_id, "completed", result=text(said))
        if not self.modern:
            return self._task(task_id, "input_required")
        requests = {key: {"method": "elicitation/create", "params": NAME} for key in wanted}
        return self._task(task_id, "input_required", inputRequests=requests)

    def _over(self, task_id: str, name: str) -> Message:
        match name:
            case "fail" if self.modern:
                return self._task(task_id, "completed", result={**text("no such account"), "isError": True})
            case "error" if self.modern:
                return self._task(task_id, "failed", error=ERROR)
            case "fail" | "error":
                return self._task(task_id, "failed")
            case "no_result" | "lost_result":
                return self._task(task_id, "completed", result={"content": "none"} if name == "no_result" else None)
        return self._task(task_id, "completed", result=text("done"))

    def _result_of(self, task_id: str, name: str, message: Message) -> Message | list[Message]:
        match name:
            case "fail":
                result = {**text("no such account"), "isError": True}
            case "error":
                return [{"jsonrpc": "2.0", "id": message["id"], "error": ERROR}]
            case "no_result":
                result = {"content": "none"}
            case "lost_result":
                raise KeyError(task_id)
            case "ask" | "ask_twice" if task_id not in self.answers:
                question = f"{task_id} asks"
                self.blocked[question] = message
                asked = {**NAME, "_meta": {RELATED: {"taskId": task_id}}}
                return [{"jsonrpc": "2.0", "id": question, "method": "elicitation/create", "params": asked}]
            case _:
                result = text("done")
        return {**result, "_meta": {RELATED: {"taskId": task_id}}}

    def _answered(self, message: Message) -> list[Message]:
        asked = self.blocked.pop(str(message.get("id")), None)
        if asked is None:
            return []
        task_id = asked["params"]["taskId"]
        reply = message.get("result") or {"action": message["error"]["message"]}
        self.note(f"answered {reply.get('_meta', {}).get(RELATED, {}).get('taskId')}")
        self.answers[task_id] = reply
        said = text(str(reply.get("content", reply["action"])))
        return [_result(asked, {**said, "_meta": {RELATED: {"taskId": task_id}}})]


def text(said: str) -> Message:
    return {"content": [{"type": "text", "text": said}]}


def _result(message: Message, result: Message) -> Message:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _error(message: Message, code: int, said: str) -> Message:
    return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": said}}


def main() -> None:
    era, file = sys.argv[1], Path(sys.argv[2])

    def note(line: str) -> None:
        with file.open("a") as lines:
            lines.write(f"{line}\n")

    server = TaskServer(era, note, lambda: file.read_text().splitlines())
    for line in sys.stdin:
        for message in server.take(json.loads(line)):
            print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
