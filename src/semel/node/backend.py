"""What the door may ask of a node: take a call, show the tools, say how it stands. Implemented by `node.Node`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from semel.core.call import CallId, Record
from semel.node.asides import Asides, Party, Question

_Known = TypeVar("_Known")


class Reply(msgspec.Struct, frozen=True):
    """How a call stands in the log: its record (an outcome, or in doubt), and whether this request ran it."""

    record: Record
    replayed: bool


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What else a request says of its call.

    `meta` is what of its `_meta` the tool may learn. `round` counts the rounds of the call from 1; one after the first
    brings `answers`: the tool's `requestState`, and the `inputResponses` to what it asked for.
    """

    meta: Mapping[str, Any] = msgspec.field(default_factory=dict)
    round: int = 1
    answers: Mapping[str, Any] | None = None


class ToolTable(Generic[_Known]):
    """What is known of a node's tools, by their names; `of` tells it of a tool, and again once the tools are others."""

    def __init__(
        self, tools: Callable[[], Sequence[Mapping[str, Any]]], of: Callable[[Mapping[str, Any]], _Known]
    ) -> None:
        self._tools = tools
        self._of = of
        self._shown: Sequence[Mapping[str, Any]] = ()
        self._known: dict[str, _Known] = {}

    def get(self, tool: str) -> _Known | None:
        """Return what is known of a tool, None if there is none of that name."""
        shown = self._tools()
        if shown is not self._shown:
            self._shown, self._known = shown, {each["name"]: self._of(each) for each in shown}
        return self._known.get(tool)


class Backend(Protocol):
    """One node, as the gateway sees it."""

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools of this node, as `Toolbox.tools` does."""
        ...

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
        """Run a call once and return how it stands; a key is made for it if `key` is None.

        If the key was made for this one call (`made`), a read is answered even while the log cannot be written.
        `party` hears what the tool says and asks meanwhile.

        Cancelling the await changes nothing: the call goes on, and the same key gets its outcome.

        Raises:
            CallError: the request is refused; nothing was run under it.
            ClusterError: no outcome can be had just now; the same key may be sent again.
        """
        ...

    async def ask(self, method: str, params: Mapping[str, Any], party: Party) -> dict[str, Any]:
        """Return what the servers behind this node answer to a request that is no call; raises `Unanswered`."""
        ...

    def offers(self) -> Mapping[str, Any]:
        """Return what those servers offer, as MCP's ServerCapabilities has it."""
        ...

    @property
    def asides(self) -> Asides:
        """What passes beside the log: a call's questions are answered there, and it is cancelled there."""
        ...

    def readiness(self) -> str | None:
        """Return None if the node can take calls, else why not."""
        ...


class Witness(Backend, Protocol):
    """A node that can also be asked how a call stands, whoever asked for it."""

    @property
    def cluster_id(self) -> str:
        """What the log calls its cluster; known to nodes, and to nobody else unless they tell."""
        ...

    @property
    def retention_ms(self) -> int:
        """How long the result of a call is kept, from its outcome on."""
        ...

    async def stand(self, call: CallId) -> Record | None:
        """Return how a call stands in the log, None if it does not.

        An outcome is told at once, for nothing changes it. Anything else is told as of when this was asked, so that
        no node takes back what another has shown; but if the log is out of reach, that a call runs is told as it was.

        Raises:
            Unconfirmed: it is not known here, or in doubt, and the log does not tell whether that is its last word.
        """
        ...

    async def questions(self, call: CallId) -> Mapping[str, Question]:
        """Return what the tool that runs for a call asks just now, by its questions' keys, as far as is known here."""
        ...

    async def watch(self, call: CallId, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called whenever a call comes to stand otherwise, be it in another round, or its tool asks.

        Returns what ends that; both are of this event loop. A node that goes down forgets who watches.
        """
        ...

    async def begun(self, call: CallId) -> None:
        """Wait until a call has begun: its intent stands in the log. If it ends first, this may wait for ever."""
        ...
