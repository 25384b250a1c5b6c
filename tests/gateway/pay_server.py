"""A stdio server by hand whose tools leave a line in a file, and one that tells whether they did: `… FILE`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FILE = Path(sys.argv[1])
KEY = "dev.semel/idempotency-key"
ACCOUNT = {"type": "object", "properties": {"account": {"type": "string"}, "amount": {"type": "integer"}}}
RECEIPT = {"type": "object", "properties": {"receipt": {"type": "string"}}, "required": ["receipt"]}
TOOLS: list[dict[str, Any]] = [
    {"name": "charge", "inputSchema": ACCOUNT},
    {"name": "charge_strictly", "inputSchema": ACCOUNT},
    {"name": "charge_formally", "inputSchema": ACCOUNT, "outputSchema": RECEIPT},
    {"name": "charge_wrongly", "inputSchema": ACCOUNT},
    {"name": "charge_blindly", "inputSchema": ACCOUNT},
    {"name": "put", "inputSchema": ACCOUNT, "annotations": {"idempotentHint": True}},
    {
        "name": "find",
        "inputSchema": {"type": "object", "properties": {"account": {"type": "string"}, "order": {"type": "string"}}},
        "annotations": {"readOnlyHint": True},
    },
    {"name": "find_and_change", "inputSchema": ACCOUNT},
]


def find(asked: dict[str, Any]) -> dict[str, Any]:
    given, told = asked["arguments"], asked["_meta"]
    receipt = {"receipt": f"for {told[KEY]}"}
    result: dict[str, Any] = {"content": [{"type": "text", "text": "charged!"}]}
    match given.get("account"):
        case "signs":
            return {**result, "structuredContent": receipt, "_meta": {"dev.semel/acted": True, "more": 1}}
        case "signs not":
            return {**result, "structuredContent": {"charge": {"id": 7}}, "_meta": {"dev.semel/acted": False}}
        case "finds":
            return {**result, "structuredContent": {"charge": {"given": given}}}
        case "finds nothing":
            return {**result, "structuredContent": {"charge": {}}}
        case "fails":
            return {**result, "structuredContent": {"charge": {"id": 7}}, "isError": True}
        case "dies":
            os._exit(8)
        case "hangs":
            time.sleep(600)
        case "looks":
            there = FILE.exists() and told[KEY] in FILE.read_text().split()
            return {**result, "structuredContent": {"charge": told[KEY] if there else None}}
    return result


def call(asked: dict[str, Any]) -> dict[str, Any]:
    if asked["name"] == "find":
        return find(asked)
    with FILE.open("a") as file:
        file.write(f"{asked['_meta'][KEY]}\n")
    if asked["name"] != "put" or len(FILE.read_text().splitlines()) == 1:
        os._exit(9)
    return {"content": [{"type": "text", "text": "done"}]}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        reply: dict[str, Any] = {"error": {"code": -32601, "message": "no such method"}}
        match asked["method"]:
            case "initialize":
                info = {"name": "pay", "version": "1"}
                capabilities: dict[str, Any] = {"tools": {}}
                reply = {"result": {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info}}
            case "tools/list":
                reply = {"result": {"tools": TOOLS}}
            case "tools/call":
                reply = {"result": call(asked["params"])}
        if "id" in asked:
            print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **reply}), flush=True)


if __name__ == "__main__":
    main()
