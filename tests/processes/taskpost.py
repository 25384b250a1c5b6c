"""Asks for tasks as a client of the tasks extension does, of real processes over HTTP."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.processes.cluster import until

NEW = "2026-07-28"
EXTENSIONS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


def post(url: str, method: str, **params: Any) -> dict[str, Any]:
    """Ask as a client of the tasks extension does; return the result, or the error."""
    said = {
        "io.modelcontextprotocol/protocolVersion": NEW,
        "io.modelcontextprotocol/clientCapabilities": EXTENSIONS,
        **params.pop("meta", {}),
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": NEW,
        "Mcp-Method": method,
        "Mcp-Name": params.get("name") or params["taskId"],
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": said}}
    answer = httpx2.post(f"{url}/mcp", json=message, headers=headers, timeout=20).json()
    found: dict[str, Any] = answer["result"] if "result" in answer else answer["error"]
    return found


def begin(url: str, tool: str, name: str, wait_s: float) -> str:
    """Return the task of a call that takes long."""
    made = post(url, "tools/call", name=tool, arguments={"name": name, "wait_s": wait_s})
    assert (made["resultType"], made["status"]) == ("task", "working")
    task_id: str = made["taskId"]
    return task_id


def get(url: str, task_id: str) -> dict[str, Any]:
    return post(url, "tasks/get", taskId=task_id)


async def ended(url: str, task_id: str) -> dict[str, Any]:
    """Return a task once it is over."""

    def look() -> dict[str, Any] | None:
        task = get(url, task_id)
        return task if task["status"] != "working" else None

    found: dict[str, Any] = await until(look, what="the task to end")
    return found


@asynccontextmanager
async def listening(url: str, task_id: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Listen to a task at a node; yield how it stands, as that is told."""
    said = {
        "io.modelcontextprotocol/protocolVersion": NEW,
        "io.modelcontextprotocol/clientCapabilities": EXTENSIONS,
    }
    params = {"notifications": {"taskIds": [task_id]}, "_meta": said}
    body = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": NEW,
        "Mcp-Method": "subscriptions/listen",
    }
    async with (
        httpx2.AsyncClient(timeout=None) as http,
        http.stream("POST", f"{url}/mcp", json=body, headers=headers) as response,
    ):
        lines = response.aiter_lines()

        async def states() -> AsyncIterator[dict[str, Any]]:
            async for line in lines:
                if line.startswith("data: {"):
                    message = json.loads(line.removeprefix("data: "))
                    if message["method"] == "notifications/tasks":
                        yield message["params"]

        yield states()
