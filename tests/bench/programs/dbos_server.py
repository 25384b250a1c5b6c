"""The tool on DBOS, behind the least HTTP there is: `dbos_server.py PORT workflow|step`; DATABASE names the store.

The workflow's ID is the idempotency key, as DBOS's documentation has it.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from dbos import DBOS, SetWorkflowID

DBOS(config={"name": "bench", "system_database_url": os.environ["DATABASE"], "log_level": "ERROR"})


@DBOS.step()
async def add_step(a: int, b: int) -> int:
    return a + b


@DBOS.workflow()
async def with_step(a: int, b: int) -> int:
    return await add_step(a, b)


@DBOS.workflow()
async def workflow(a: int, b: int) -> int:
    return a + b


ADD = {"workflow": workflow, "step": with_step}[sys.argv[2]]


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        return
    key = next(value for name, value in scope["headers"] if name == b"idempotency-key").decode()
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    asked = json.loads(body)
    with SetWorkflowID(key):
        total = await ADD(asked["a"], asked["b"])
    answer = json.dumps(total).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    DBOS.launch()
    uvicorn.run(
        app,  # type: ignore[arg-type]
        host="127.0.0.1",
        port=int(sys.argv[1]),
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
