"""A client that answers from a script, and the records that it answers with."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from semel.core.call import Status
from semel.errors import SemelError
from semel.gateway.clients.client import Answer
from semel.gateway.doors.asof import AsOf

TOOLS = [
    {"name": "add", "description": "Add two numbers.\n\nMore.", "_meta": {"dev.semel/effect": "repeatable"}},
    {
        "name": "charge",
        "description": "Charge a card.",
        "_meta": {"dev.semel/effect": "once", "dev.semel/effect-from": "operator"},
    },
    {"name": "bare"},
]

STATUS: dict[str, Any] = {
    "cluster": "pay",
    "term": 3,
    "leader": "a",
    "position": 20,
    "nodes": [
        {"node": "a", "role": "leader", "url": "http://h:1", "executions": 7, "position": 20, "alive": True}
        | {"lag": 0, "age_s": 0.0},
        {"node": "b", "role": "follower", "url": "http://h:2", "executions": 0, "position": 17, "alive": True}
        | {"lag": 3, "age_s": 0.2},
        {"node": "c", "role": "follower", "url": "http://h:3", "executions": 2, "position": 9, "alive": False}
        | {"lag": 11, "age_s": 75.0},
    ],
    "node": "a",
    "calls": 9,
    "running": 1,
    "in_doubt": 1,
    "ready": True,
    "incarnation": "i1",
    "tail": 20,
    "log_age_s": 0.25,
    "linearizable": False,
    "running_here": 1,
    "waiting_here": 0,
    "draining": False,
    "warnings": ["the tools of b differ from those of a"],
}


FAREWELL: dict[str, Any] = {
    "node": "a",
    "incarnation": "i1",
    "running": 2,
    "waiting": 2,
    "others": 1,
    "already": False,
    "timeout_s": 10.0,
}


def answer(outcome: Status = Status.OK, result: Any = 3, **changed: Any) -> Answer:
    """Return an answer; what is not named does not matter to the test."""
    values: dict[str, Any] = {
        "outcome": outcome,
        "result": result,
        "content": [{"type": "text", "text": str(result)}],
        "key": "k",
        "position": 5,
        "execution_id": 2,
        "term": 1,
        "executor": "a",
        "attempt": 1,
        "replayed": False,
        "raw": {},
    }
    return Answer(**(values | changed))


def record(execution_id: int, **changed: Any) -> dict[str, Any]:
    """Return a call as the audit shows it."""
    return {
        "execution_id": execution_id,
        "position": 2 * execution_id,
        "key": f"key-{execution_id}",
        "caller": "ada",
        "tool": "add",
        "arguments": {"a": 1, "b": execution_id},
        "outcome": "ok",
        "result": 1 + execution_id,
        "timestamp_ms": 1_800_000_000_000 + execution_id,
        "duration_ms": 1.25,
        "executor": "a",
        "term": 1,
        "attempt": 1,
        "effect": "repeatable",
        "rounds": 1,
        "earlier_rounds": [],
    } | changed


class FakeClient:
    """Stands in for a client of nodes; remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer | BaseException = answer()
        self.shown: dict[str, Any] = STATUS
        self.fresh: AsOf | None = AsOf(20, 0.25)
        self.records: list[dict[str, Any]] = []
        self.farewell: dict[str, Any] = FAREWELL
        self.error: SemelError | None = None
        self.statuses: list[dict[str, Any] | SemelError] = []
        """What is answered first, one after the other, to the question how things stand."""
        self.opened: dict[str, Any] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.closed = False

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str, made: bool) -> Answer:
        self.asked.append((tool, dict(arguments), key))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def tools(self) -> list[dict[str, Any]]:
        return TOOLS

    async def status(self, *, linearizable: bool = False) -> dict[str, Any]:
        self.asked.append(("status", {"linearizable": linearizable}))
        if self.error is not None:
            raise self.error
        shown = self.statuses.pop(0) if self.statuses else self.shown
        if isinstance(shown, SemelError):
            raise shown
        return shown | {"linearizable": linearizable}

    async def audit(
        self,
        *,
        linearizable: bool = False,
        follow: bool = False,
        as_of: Callable[[AsOf], None] | None = None,
        **filters: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        switches = {"linearizable": linearizable, "follow": follow}
        self.asked.append(("audit", filters | {name: True for name, on in switches.items() if on}))
        if self.error is not None:
            raise self.error
        if as_of is not None and self.fresh is not None:
            as_of(self.fresh)
        for line in self.records:
            yield line

    async def post_json(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        self.asked.append((path, dict(parameters or {})))
        if self.error is not None:
            raise self.error
        return self.farewell

    async def close(self) -> None:
        self.closed = True
