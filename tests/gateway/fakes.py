"""What the tests of the door share: a node that answers from a dict and notes what it was asked, and a toolbox."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from semel.core.call import Call, CallId, Effect, NodeId, Record, Status
from semel.core.limits import Limits
from semel.errors import SemelError, UnknownTool
from semel.gateway.upstreams.target import load_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.asides import Asides, Party, Unanswered
from semel.node.backend import Details, Reply
from semel.node.tools import Attempt, Done, Gone

ADD = {
    "name": "add",
    "description": "Add two numbers.",
    "inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    "outputSchema": {"type": "object", "properties": {"result": {"type": "integer"}}, "required": ["result"]},
    "_meta": {"dev.semel/effect": "once"},
}


@dataclass(frozen=True)
class Asked:
    tool: str
    arguments: dict[str, Any]
    key: str | None
    caller: str
    client: str
    made: bool = False
    details: Details | None = None


@dataclass
class FakeBackend:
    """Adds; `error` is raised instead, `result` and `status` are answered instead, `held` keeps calls waiting."""

    shown: Sequence[Mapping[str, Any]] = (ADD,)
    asked: list[Asked] = field(default_factory=list)
    error: SemelError | None = None
    result: dict[str, Any] | None = None
    status: Status = Status.OK
    ready: str | None = None
    held: asyncio.Event | None = None
    waiting: dict[str | None, "asyncio.Future[None]"] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    records: dict[CallId, Record] = field(default_factory=dict)
    ids: Any = field(default_factory=lambda: itertools.count(1))
    offered: dict[str, Any] = field(default_factory=dict)
    asides: Asides = field(default_factory=lambda: Asides(NodeId("n1", "life"), lambda _message: None))

    def tools(self) -> Sequence[Mapping[str, Any]]:
        return self.shown

    def readiness(self) -> str | None:
        return self.ready

    def offers(self) -> Mapping[str, Any]:
        return self.offered

    async def ask(self, method: str, params: Mapping[str, Any], party: Party) -> dict[str, Any]:
        raise Unanswered({"code": -32601, "message": "Method not found"})

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        key: str | None,
        caller: str,
        client: str = "",
        made: bool = False,
        details: Details | None = None,
        party: Party | None = None,
    ) -> Reply:
        self.asked.append(Asked(tool, dict(arguments), key, caller, client, made, details))
        if self.error is not None:
            raise self.error
        if tool not in [each["name"] for each in self.shown]:
            raise UnknownTool(f"there is no tool {tool!r} here")
        if self.held is not None:
            await self.held.wait()
        call_id = CallId(caller, key if key is not None else f"made-{len(self.asked)}")
        replayed = call_id in self.records
        if not replayed:
            self.records[call_id] = self._record(call_id, tool, dict(arguments))
        return Reply(self.records[call_id], replayed)

    def _record(self, call_id: CallId, tool: str, arguments: dict[str, Any]) -> Record:
        value = arguments.get("a", 0) + arguments.get("b", 0)
        told = {"content": [{"type": "text", "text": str(value)}], "structuredContent": {"result": value}}
        result = told if self.result is None else self.result
        number = next(self.ids)
        return Record(
            id=call_id,
            tool=tool,
            arguments=msgspec.Raw(json.dumps(arguments).encode()),
            digest="d",
            request="r",
            client="",
            effect=Effect.ONCE,
            timeout_s=60.0,
            lane=None,
            execution_id=number,
            intents=(number * 2,),
            position=number * 2 + 1,
            term=3,
            attempt=1,
            executor=NodeId("n1", "life"),
            status=self.status,
            timestamp_ms=0,
            clock_ms=0,
            result=None if self.status is Status.IN_DOUBT else msgspec.Raw(json.dumps(result).encode()),
        )


def attempt(tool: str, arguments: dict[str, Any] | None = None, *, timeout_s: float = 10.0) -> Attempt:
    """Return one run of a call, as a node hands it to its toolbox."""
    call = Call(
        id=CallId("shop", "order-42"),
        tool=tool,
        arguments=msgspec.Raw(json.dumps(arguments or {}).encode()),
        digest="d",
        request="r",
    )
    return Attempt(call, term=3, attempt=2, timeout_s=timeout_s)


def told(end: Done | Gone) -> dict[str, Any]:
    """Return the CallToolResult of a run that came to an end."""
    assert isinstance(end, Done), end
    result: dict[str, Any] = json.loads(bytes(end.result))
    return result


def text(end: Done | Gone) -> str:
    """Return the text of such a result."""
    content = told(end)["content"]
    assert len(content) == 1
    said: str = content[0]["text"]
    return said


@asynccontextmanager
async def toolbox(file: Path, limits: Limits | None = None) -> AsyncIterator[McpToolbox]:
    box = McpToolbox(load_target(str(file)), limits)
    await box.start()
    try:
        yield box
    finally:
        await box.close()
