"""What the tests of the door share: a node that answers from a dict and notes what it was asked, and a toolbox."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from semel.core.call import Call, CallId, Effect, NodeId, Record, Status, digest_of
from semel.core.limits import Limits
from semel.errors import KeyReused, KeyStale, Unconfirmed, UnknownTool
from semel.gateway.upstreams.target import load_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.asides import Asides, Party, Question, Unanswered
from semel.node.backend import Details, Reply
from semel.node.settled import settled
from semel.node.tools import Attempt, Done, Gone
from semel.node.watches import Watches

ADD = {
    "name": "add",
    "description": "Add two numbers.",
    "inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    "outputSchema": {"type": "object", "properties": {"result": {"type": "integer"}}, "required": ["result"]},
    "_meta": {"dev.semel/effect": "once"},
}

BEGAN_MS = 1_700_000_000_000


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
    error: Exception | None = None
    result: dict[str, Any] | None = None
    status: Status = Status.OK
    ready: str | None = None
    held: asyncio.Event | None = None
    waiting: dict[str | None, "asyncio.Future[None]"] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    records: dict[CallId, Record] = field(default_factory=dict)
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
        return await self.outcome(self._call(self.asked[-1]), party)

    def _call(self, asked: Asked) -> Call:
        details = asked.details or Details()
        answers = None if details.answers is None else dict(details.answers)
        key = asked.key if asked.key is not None else f"made-{len(self.asked)}"
        return Call(
            id=CallId(asked.caller, key, details.round),
            tool=asked.tool,
            arguments=as_json(asked.arguments),
            digest=digest_of(asked.tool, asked.arguments, answers),
            request=f"n1.life/{len(self.asked)}",
            client=asked.client,
            meta=as_json(details.meta),
            answers=None if answers is None else as_json(answers),
        )

    async def outcome(self, call: Call, _party: Party | None) -> Reply:
        """Return what comes of a call: its sum."""
        replayed = call.id in self.records
        if not replayed:
            numbers = json.loads(bytes(call.arguments))
            value = numbers.get("a", 0) + numbers.get("b", 0)
            summed = {"content": [{"type": "text", "text": str(value)}], "structuredContent": {"result": value}}
            result = None if self.status is Status.IN_DOUBT else as_json(self.result or summed)
            self.records[call.id] = replace(self.begin(call), status=self.status, result=result)
        return Reply(self.records[call.id], replayed)

    def begin(self, call: Call) -> Record:
        """Return the record of a call that has just begun."""
        number = len(self.records) + 1
        return Record(
            id=call.id,
            tool=call.tool,
            arguments=call.arguments,
            digest=call.digest,
            request=call.request,
            client=call.client,
            effect=Effect.ONCE,
            timeout_s=60.0,
            lane=None,
            execution_id=number,
            intents=(number * 2,),
            position=number * 2 + 1,
            term=3,
            attempt=1,
            executor=NodeId("n1", "life"),
            status=Status.RUNNING,
            timestamp_ms=BEGAN_MS,
            clock_ms=0,
            meta=call.meta,
            answers=call.answers,
        )


@dataclass
class FakeNode(FakeBackend):
    """A node that can be asked how its calls stand; they run until `end` is told of them, but for those in `script`."""

    calls: list[Call] = field(default_factory=list)
    script: list[tuple[Status, dict[str, Any]]] = field(default_factory=list)
    """What the next rounds come to at once."""
    cancelled: list[CallId] = field(default_factory=list)
    asked_how: list[CallId] = field(default_factory=list)
    """The calls of which it was asked how they stand, each time."""
    lost: bool = False
    """True while the log is out of reach."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    cluster_id: str = "0123456789abcdef"
    retention_ms: int = 86_400_000

    def __post_init__(self) -> None:
        self.watches = Watches()
        self.asides.stop = self.cancelled.append
        self.asides.questioned = self.watches.touch

    async def outcome(self, call: Call, party: Party | None) -> Reply:
        """Wait for the end of a call."""
        if call.id.round > 1:
            before = json.loads(bytes(self.records[replace(call.id, round=call.id.round - 1)].result or b""))
            assert json.loads(bytes(call.answers or b"{}")).get("requestState") == before.get("requestState")
        known = self.records.get(call.id)
        if known is not None and known.digest != call.digest:
            raise KeyReused("the key names another call")
        if known is not None and known.forgotten:
            raise KeyStale("forgotten")
        if known is None:
            await self._run(call)
        with contextlib.nullcontext() if party is None else self.asides.waiting(call.id, party):
            async with self.changed:
                await self.changed.wait_for(lambda: self.records[call.id].status is not Status.RUNNING)
        return Reply(self.records[call.id], replayed=known is not None)

    async def _run(self, call: Call) -> None:
        self.calls.append(call)
        async with self.changed:
            self.records[call.id] = self.begin(call)
            self.changed.notify_all()
        self.watches.touch(call.id)
        done = settled(call)
        if done is not None:
            await self.end(call.id, done.status, json.loads(bytes(done.result)))
        elif self.script:
            await self.end(call.id, *self.script.pop(0))

    async def end(self, call: CallId, status: Status, result: dict[str, Any] | None) -> None:
        """Let a call come to its outcome."""
        raw = None if result is None else as_json(result)
        async with self.changed:
            self.records[call] = replace(self.records[call], status=status, result=raw, duration_ms=250.0)
            self.changed.notify_all()
        self.watches.touch(call)

    async def stand(self, call: CallId) -> Record | None:
        self.asked_how.append(call)
        record = self.records.get(call)
        if record is None and self.lost:
            raise Unconfirmed("the log has not answered")
        return record

    async def questions(self, call: CallId) -> Mapping[str, Question]:
        return self.asides.questions(call)

    async def watch(self, call: CallId, changed: Callable[[], None]) -> Callable[[], None]:
        return self.watches.watch(call, changed)

    async def begun(self, call: CallId) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: call in self.records and not self.records[call].status.final)


def as_json(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def attempt(tool: str, arguments: dict[str, Any] | None = None, *, timeout_s: float = 10.0) -> Attempt:
    """Return one run of a call, as a node hands it to its toolbox."""
    call = Call(
        id=CallId("shop", "order-42"),
        tool=tool,
        arguments=msgspec.Raw(json.dumps(arguments or {}).encode()),
        digest="d",
        request="r",
    )
    return Attempt(call, term=3, attempt=1, timeout_s=timeout_s)


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
