"""The same tool without the SDK: a server of MCP 2026-07-28 on stdio that does nothing but answer.

The SDK's own server takes nearly a millisecond a call, and whoever stands before it cannot be faster. Before this one
it shows what the gateway itself can do.
"""

import json
import sys
from typing import Any

NUMBER = {"type": "integer"}
ADD = {
    "name": "add",
    "description": "Add two numbers.",
    "inputSchema": {"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]},
    "outputSchema": {"type": "object", "properties": {"result": NUMBER}, "required": ["result"]},
}
COMPLETE = {
    "resultType": "complete",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "adder", "version": "1"}},
}
KEPT = {**COMPLETE, "ttlMs": 0, "cacheScope": "public"}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a request, or its error."""
    match request["method"]:
        case "tools/call":
            arguments = request["params"]["arguments"]
            total = arguments["a"] + arguments["b"]
            content = [{"type": "text", "text": str(total)}]
            return {
                "result": {**COMPLETE, "content": content, "structuredContent": {"result": total}, "isError": False}
            }
        case "tools/list":
            return {"result": {**KEPT, "tools": [ADD]}}
        case "server/discover":
            return {"result": {**KEPT, "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}}
        case method:
            return {"error": {"code": -32601, "message": f"no such method: {method}"}}


def main() -> None:
    """Answer until stdin ends."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "id" in request and "method" in request:
            said = {"jsonrpc": "2.0", "id": request["id"], **answer(request)}
            sys.stdout.buffer.write(json.dumps(said, separators=(",", ":")).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
