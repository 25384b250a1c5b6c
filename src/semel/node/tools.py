"""The tools as a node sees them: what it may ask of whatever runs them. Knows nothing of MCP or processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from semel.core.call import Call, Spec, Status


@dataclass(frozen=True, slots=True)
class Done:
    """The tool came to an end: OK, ERROR, CANCELLED or TIMED_OUT; `result` is a CallToolResult as JSON."""

    status: Status
    result: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Gone:
    """The tool's process or connection went away in the middle: nobody can know whether it acted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody here knows that the tool acted; `reason` says what its reconcile hook said, empty if it has none."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a call: what the tool, or its reconcile hook, may learn of it."""

    call: Call
    term: int
    attempt: int
    timeout_s: float


class Toolbox(Protocol):
    """The tools that this node can run."""

    @property
    def fingerprint(self) -> str:
        """A short digest of names, schemas and effects; nodes whose tools differ have different ones."""
        ...

    async def start(self) -> None:
        """Load or start what is needed.

        Raises:
            ToolError: it cannot be started, and the text says what to mend.
        """
        ...

    async def close(self) -> None:
        """Stop whatever `start` began; runs under way are cancelled."""
        ...

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools as MCP's tools/list shows them (JSON objects), sorted by name.

        `_meta` of each has `dev.semel/effect`: read, repeatable or once.
        """
        ...

    def remarks(self) -> Sequence[str]:
        """Return what an operator should know of the tools as they stand: servers that are down, what is misnamed."""
        ...

    def examine(self, tool: str, arguments: Mapping[str, Any]) -> Spec:
        """Return how a call would be run.

        Raises:
            UnknownTool: there is no such tool here.
            BadArguments: the arguments do not fit its schema; the text names the place.
        """
        ...

    async def run(self, attempt: Attempt) -> Done | Gone:
        """Run a tool to its end or its time limit; never raises for what the tool does."""
        ...

    async def reconcile(self, attempt: Attempt) -> Done | Unknown:
        """Ask the tool's reconcile hook whether the tool acted in a run that was lost, for up to its time limit.

        Done, which is always OK, is what the tool would have given; never raises for what the hook does.
        """
        ...
