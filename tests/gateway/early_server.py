"""A stdio server that asks its client as soon as it is connected, and answers calls without waiting for the answer.

It knows no SDK, so that what it sends stands in its order on the pipe.
"""

import json
import sys
from typing import Any

ASKED = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}


def send(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def main() -> None:
    able, name = False, "nobody"
    for line in sys.stdin:
        message = json.loads(line)
        match message.get("method"):
            case "initialize":
                able = "elicitation" in message["params"]["capabilities"]
                known = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
                send(id=message["id"], result={**known, "serverInfo": {"name": "early", "version": "1"}})
            case "notifications/initialized":
                if able:
                    send(id="early", method="elicitation/create", params=ASKED)
            case "tools/list":
                send(id=message["id"], result={"tools": [{"name": "who", "inputSchema": {"type": "object"}}]})
            case "tools/call":
                send(id=message["id"], result={"content": [{"type": "text", "text": name}]})
            case None:
                name = message.get("result", {}).get("content", {}).get("name", "refused")
            case _ if "id" in message:
                send(id=message["id"], error={"code": -32601, "message": "Method not found"})


if __name__ == "__main__":
    main()
