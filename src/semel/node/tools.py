"""The tools as a node sees them: what it may ask of whatever runs them. Knows nothing of MCP or processes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from semel.core.call import Call, CallId, Spec, Status
from semel.node.asides import Aside


class Done(msgspec.Struct, frozen=True):
    """The tool came to an end (OK, ERROR, CANCELLED, TIMED_OUT), or a round of its call did (INPUT_REQUIRED).

    `result` is a CallToolResult as JSON, or what the tool asks for (an InputRequiredResult).
    """

    status: Status
    result: msgspec.Raw


class Gone(msgspec.Struct, frozen=True):
    """The tool's process or connection went away in the middle: nobody can know whether it acted."""

    reason: str


class Unknown(msgspec.Struct, frozen=True):
    """Nobody here knows that the tool acted; `reason` says what its reconcile hook said, empty if it has none."""

    reason: str = ""


class Attempt(msgspec.Struct, frozen=True):
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

    @property
    def instructions(self) -> str | None:
        """What the served server says of itself to models, if there is one server."""
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

    def offers(self) -> Mapping[str, Any]:
        """Return what the servers behind the tools offer, as MCP's ServerCapabilities has it."""
        ...

    async def ask(self, method: str, params: Mapping[str, Any], aside: Aside) -> dict[str, Any]:
        """Return what a server answers to a request that is no call; raises `Unanswered`."""
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

    async def run(self, attempt: Attempt, aside: Aside) -> Done | Gone:
        """Run a tool to its end or its time limit; never raises for what the tool does.

        `aside` takes what it says, and what it asks, meanwhile.
        """
        ...

    def stop(self, call: CallId) -> None:
        """Tell the tool that runs for a call, if one runs here, to stop; the run ends as CANCELLED."""
        ...

    def watch(self, uris: frozenset[str]) -> None:
        """Hear of changes of these resources from now on, and of no others."""
        ...

    async def reconcile(self, attempt: Attempt) -> Done | Unknown:
        """Ask the tool's reconcile hook whether the tool acted in a run that was lost, for up to its time limit.

        Done, which is always OK, is what the tool would have given; never raises for what the hook does.
        """
        ...
