"""A stdio server of the handshake eras, by hand, that has all that MCP had then: it asks its client in mid-run.

Who has called `touch` is told of a change of the resource `note://1`, who has called `grow` of one more tool. Tools
leave a line in the file that EFFECTS names.
"""

import itertools
import json
import os
import queue
import sys
import threading
from typing import Any

OBJECT = {"type": "object"}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TOOLS = ["work", "sample", "elicit", "roots", "for_ever", "touch", "grow", "ask_and_charge"]
CAPABILITIES = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}

numbers = itertools.count(1)
waiting: dict[str, "queue.Queue[dict[str, Any]]"] = {}
cancelled: dict[object, threading.Event] = {}
subscribed: set[str] = set()
level: list[str] = []
writing = threading.Lock()


def say(message: dict[str, Any]) -> None:
    with writing:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def notify(method: str, **params: Any) -> None:
    say({"method": method, "params": params})


def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return what the client answers: a message with a result, or an error."""
    number = f"q{next(numbers)}"
    answers = waiting[number] = queue.Queue()
    say({"id": number, "method": method, "params": params})
    return answers.get(timeout=30)


def effect(line: str) -> None:
    descriptor = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def run(tool: str, asked: dict[str, Any]) -> str:
    said = asked["params"].get("_meta") or {}
    match tool:
        case "work":
            effect(f"work {said.get('traceparent')}")
            for step in (1, 2, 3):
                if "progressToken" in said:
                    notify("notifications/progress", progressToken=said["progressToken"], progress=step, total=3)
                notify("notifications/message", level="info", logger="old", data=f"step {step}")
                notify("notifications/message", level="debug", data="not to be heard by most")
            return "worked"
        case "sample":
            message = {"role": "user", "content": {"type": "text", "text": "What is the capital of France?"}}
            answer = ask("sampling/createMessage", {"messages": [message], "maxTokens": 10})
            return (
                f"refused: {answer['error']['message']}" if "error" in answer else answer["result"]["content"]["text"]
            )
        case "elicit" | "ask_and_charge":
            answer = ask("elicitation/create", {"message": "Who are you?", "requestedSchema": SCHEMA})
            if tool == "ask_and_charge":
                effect("charged")
            return json.dumps(answer["result"], sort_keys=True)
        case "roots":
            return ", ".join(root["uri"] for root in ask("roots/list", {})["result"]["roots"])
        case "for_ever":
            effect("for_ever began")
            stopped = cancelled[asked["id"]].wait(60)
            effect("for_ever stopped" if stopped else "for_ever was left alone")
            return "stopped"
        case "touch":
            if "note://1" in subscribed:
                notify("notifications/resources/updated", uri="note://1")
            return "touched"
        case "grow":
            TOOLS.append(f"more_{len(TOOLS)}")
            notify("notifications/tools/list_changed")
            return "grown"
    return "done"


def answer_to(asked: dict[str, Any]) -> dict[str, Any]:
    params = asked.get("params") or {}
    match asked["method"]:
        case "initialize":
            info = {"name": "old", "version": "1"}
            return {"protocolVersion": "2025-06-18", "capabilities": CAPABILITIES, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": OBJECT} for name in TOOLS]}
        case "tools/call":
            return {"content": [{"type": "text", "text": run(params["name"], asked)}]}
        case "resources/list" if "cursor" not in params:
            return {"resources": [{"uri": "note://1", "name": "one"}], "nextCursor": "2"}
        case "resources/list":
            return {"resources": [{"uri": "note://2", "name": "two"}]}
        case "resources/templates/list":
            return {"resourceTemplates": [{"uriTemplate": "note://{n}", "name": "note"}]}
        case "resources/read" if params["uri"].startswith("note://"):
            return {"contents": [{"uri": params["uri"], "mimeType": "text/plain", "text": f"This is {params['uri']}"}]}
        case "resources/subscribe":
            subscribed.add(params["uri"])
            return {}
        case "resources/unsubscribe":
            subscribed.discard(params["uri"])
            return {}
        case "prompts/list":
            return {"prompts": [{"name": "greet", "arguments": [{"name": "who", "required": True}]}]}
        case "prompts/get":
            text = f"Greet {params['arguments']['who']}"
            return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}
        case "completion/complete":
            return {"completion": {"values": [f"{params['argument']['value']}ris"]}}
        case "logging/setLevel" | "ping":
            return {}
    raise LookupError(asked["method"])


def serve(asked: dict[str, Any]) -> None:
    try:
        say({"id": asked["id"], "result": answer_to(asked)})
    except LookupError as error:
        say({"id": asked["id"], "error": {"code": -32602, "message": f"there is no {error}"}})


if __name__ == "__main__":
    for line in sys.stdin:
        message = json.loads(line)
        if "method" not in message:
            waiting.pop(message["id"]).put(message)
        elif message["method"] == "notifications/cancelled":
            cancelled[message["params"]["requestId"]].set()
        elif "id" in message:
            cancelled[message["id"]] = threading.Event()
            threading.Thread(target=serve, args=(message,), daemon=True).start()
