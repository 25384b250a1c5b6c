"""Clients of tasks, for tests: what goes over the wire, request by request, in both forms."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import make_server
from semel.gateway.doors.tasks import Tasks
from tests.gateway.fakes import FakeNode

EXTENSION = "io.modelcontextprotocol/tasks"
NEW, OLD = "2026-07-28", "2025-11-25"
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
RETENTION_MS = 86_400_000
SCHEMA = {"type": "object"}


def tool(name: str, mode: str | None = None, effect: str = "once") -> dict[str, Any]:
    said = {"dev.semel/effect": effect} | ({} if mode is None else {"dev.semel/task": mode})
    return {"name": name, "inputSchema": SCHEMA, "_meta": said}


TOOLS = (
    tool("auto"),
    tool("always", "always"),
    tool("required", "required"),
    tool("never", "never"),
    tool("look", effect="read"),
)


def text(said: str, **also: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}], **also}


def asking(*keys: str, state: str | None = "state") -> dict[str, Any]:
    params = {"requestedSchema": {"type": "object", "properties": {}}}
    requests = {key: {"method": "elicitation/create", "params": {"message": f"{key}?", **params}} for key in keys}
    return {"inputRequests": requests} | ({} if state is None else {"requestState": state})


def make_node() -> FakeNode:
    return FakeNode(TOOLS, offered={"tools": {}})


@dataclass
class Wire:
    """Posts requests, each for itself, or in a `session` of a handshake era."""

    http: httpx2.AsyncClient
    version: str = NEW
    node: FakeNode = field(default_factory=make_node)
    session: str | None = None

    async def post(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        declares: bool = True,
        meta: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the whole answer: `result` or `error`, and the HTTP status."""
        said, sent = dict(meta or {}), {**HEADERS, "MCP-Protocol-Version": self.version}
        if self.version == NEW:
            extensions = {"extensions": {EXTENSION: {}}} if declares else {}
            said["io.modelcontextprotocol/protocolVersion"] = NEW
            said["io.modelcontextprotocol/clientCapabilities"] = extensions
            sent["Mcp-Method"] = method
            if (name := params.get("name", params.get("taskId"))) is not None:
                sent["Mcp-Name"] = name
        if self.session is not None:
            sent["Mcp-Session-Id"] = self.session
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": said}}
        answer = await self.http.post("/mcp", json=body, headers={**sent, **(headers or {})})
        return {**message_of(answer), "status": answer.status_code}

    async def initialize(self) -> dict[str, Any]:
        """Open a session, and return what the server says of itself."""
        said = {"protocolVersion": self.version, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": said}
        answer = await self.http.post("/mcp", json=body, headers=HEADERS)
        self.session = answer.headers["mcp-session-id"]
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        headers = {**HEADERS, "Mcp-Session-Id": self.session, "MCP-Protocol-Version": self.version}
        assert (await self.http.post("/mcp", json=body, headers=headers)).status_code == 202
        result: dict[str, Any] = message_of(answer)["result"]
        return result

    async def ask(self, method: str, params: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        answer = await self.post(method, params, **how)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def fail(self, method: str, params: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        answer = await self.post(method, params, **how)
        assert "error" in answer, answer
        return {**answer["error"], "status": answer["status"]}

    async def call(self, name: str, arguments: Mapping[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        return await self.ask("tools/call", {"name": name, "arguments": arguments or {}}, **how)

    async def get(self, task_id: str, **how: Any) -> dict[str, Any]:
        return await self.ask("tasks/get", {"taskId": task_id}, **how)

    async def update(self, task_id: str, **responses: Any) -> dict[str, Any]:
        given = {key.replace("_", "."): {"action": "accept", "content": value} for key, value in responses.items()}
        return await self.ask("tasks/update", {"taskId": task_id, "inputResponses": given})


def message_of(answer: httpx2.Response) -> dict[str, Any]:
    """Return the JSON-RPC message that answers, whether it comes in a stream or not."""
    content = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        content = next(line for line in content.splitlines() if line.startswith("data: {")).removeprefix("data: ")
    message: dict[str, Any] = json.loads(content)
    return message


@asynccontextmanager
async def open_wire(node: FakeNode, version: str) -> AsyncIterator[Wire]:
    app = make_app(make_server(node, tasks=Tasks(node)), node.readiness)
    async with (
        serve_http(app, "127.0.0.1", 0) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
    ):
        yield Wire(http, version, node)
