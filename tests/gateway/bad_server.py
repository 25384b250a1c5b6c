"""A stdio server by hand that breaks the protocol in the way that its argument names, or, for "good", does not.

Without the SDK it starts in a tenth of the time. `python bad_server.py MODE`.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

MODE = sys.argv[1]
OBJECT = {"type": "object"}
DEEP = json.loads("[" * 500 + "]" * 500)


def say(value: Any) -> None:
    print(value if isinstance(value, str) else json.dumps(value), flush=True)


def answer(asked: dict[str, Any], result: dict[str, Any]) -> None:
    say({"jsonrpc": "2.0", "id": asked["id"], "result": result})


def text(value: object) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": str(value)}]}


def behave(asked: dict[str, Any]) -> None:
    """Do what a good server's tool does."""
    match asked["params"]["name"]:
        case "pid":
            answer(asked, text(os.getpid()))
        case "environment":
            answer(asked, text(os.environ.get("GIVEN", "")))
        case "pause":
            time.sleep(1)
            answer(asked, text("done"))
        case "for_ever":
            time.sleep(600)
        case _:
            answer(asked, text("done"))


def listed(pages: int) -> dict[str, Any]:
    names = {
        "twice": ["a", "b", "b"],
        "repeats": ["a", "a"],
        "good": ["a", "pid", "environment", "pause", "for_ever"],
    }.get(MODE, ["a", "change"])
    tools = [{"name": name, "description": f"{index}", "inputSchema": OBJECT} for index, name in enumerate(names)]
    if MODE == "repeats":
        tools = [tools[0], tools[0]]
    if MODE == "unlisted":
        return {"tools": "none of your business"}
    if MODE == "changes" and Path(sys.argv[2]).exists():
        return {"tools": [{"name": 7}]}
    return {"tools": tools, **({"nextCursor": str(pages)} if MODE == "endless" else {})}


def call(asked: dict[str, Any]) -> None:
    done = {"content": [{"type": "text", "text": "done"}]}
    match MODE, asked["params"]["name"]:
        case "wrong_id", "a":
            say({"jsonrpc": "2.0", "id": 4711, "result": done})
            say({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "what?"}})
        case "huge", "a":
            say("x" * 200_000)
            time.sleep(600)
        case "halfway", "a":
            sys.stdout.write('{"jsonrpc": "2.0", "id":')
            sys.stdout.flush()
            os._exit(3)
        case "changes", "change":
            Path(sys.argv[2]).touch()
            say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            answer(asked, done)
        case "no_result", "a":
            answer(asked, {"content": "done"})
        case "deep", "a":
            answer(asked, {**done, "structuredContent": {"a": DEEP}})
        case "deep_error", "a":
            error = {"code": 7, "message": "too deep to tell", "data": DEEP}
            say({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        case _:
            answer(asked, done)


def main() -> None:
    pages = 0
    if MODE == "garbage":
        for line in ("\0\1\2", "[]", '{"jsonrpc": "1.0"}', "null", "{" * 10_000, '{"id": 1, "result": {}}'):
            say(line)
        sys.stdout.buffer.write(b"\xff\xfe\n")
    for line in sys.stdin:
        asked = json.loads(line)
        if MODE in ("mute", "garbage") or "id" not in asked:
            continue
        match asked["method"]:
            case "initialize":
                info = {"name": MODE, "version": "1"}
                capabilities: dict[str, Any] = {"tools": {"listChanged": True}}
                if MODE not in ("good", "garbage"):
                    capabilities |= {"logging": {}, "resources": {"subscribe": True}, "prompts": {}}
                answer(asked, {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info})
            case "tools/list":
                pages += 1
                answer(asked, listed(pages))
            case "logging/setLevel" | "resources/subscribe" if MODE == "deaf":
                pass
            case "prompts/get" if not Path(sys.argv[2]).exists():  # of the mode "asks"
                Path(sys.argv[2]).touch()
                os._exit(3)
            case "prompts/get":
                answer(asked, {"messages": []})
            case "tools/call" if MODE == "asks":
                question = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
                say({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": question})
                answer(asked, text(json.loads(sys.stdin.readline())["result"]["action"]))
            case "tools/call" if MODE == "good":
                threading.Thread(target=behave, args=[asked], daemon=True).start()
            case "tools/call":
                call(asked)
            case _:
                say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no such method"}})


if __name__ == "__main__":
    main()
