"""The node as its doors see it, from the moment when its port is bound and its URL is known.

Until the runtime is there it says that the node is starting; then it knows which of its parts to ask.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from semel.core.call import CallId, Record, Status
from semel.core.message import Abandoned, Submitted
from semel.errors import NoLeader, Unconfirmed
from semel.node.asides import Asides, Party, Question
from semel.node.backend import Details, Reply
from semel.node.departure import Departure
from semel.node.members import Home
from semel.node.runtime import Runtime
from semel.node.tools import Toolbox


class Facade:
    """A `Backend`, `Observed`, and the place where peers knock."""

    def __init__(self, toolbox: Toolbox, departure: Departure) -> None:
        self._toolbox = toolbox
        self._departure = departure
        self._runtime: Runtime | None = None
        self._numbers = itertools.count(1)

    def open(self, runtime: Runtime) -> None:
        """Let everybody in."""
        self._runtime = runtime

    @property
    def runtime(self) -> Runtime:
        """The runtime behind the door."""
        if self._runtime is None:
            raise NoLeader("this node is starting. Nothing was run; retrying with the same key is safe")
        return self._runtime

    @property
    def instructions(self) -> str | None:
        """What the served server says of itself to models."""
        return self._toolbox.instructions

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools of this node."""
        return self._toolbox.tools()

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
        """Run a call once and return how it stands; see `Backend.call`."""
        node = self.runtime
        call = node.desk.call_of(tool, dict(arguments), key, caller, client, details or Details())
        heard = contextlib.nullcontext() if party is None else node.asides.waiting(call.id, party)
        with node.desk.ticket(call) as (ticket, answer), heard:
            asked = Submitted(ticket, call, node.spec(call, arguments), keyed=key is not None and not made)
            node.arrivals.arrive(call.id, asked)
            if node.desk.closed is not None:
                node.arrivals.take()
                node.desk.refuse(ticket, node.desk.closed)  # unless it was answered at once
            try:
                return await answer
            finally:
                if answer.cancelled():
                    node.arrivals.take()
                    node.step(Abandoned(ticket))

    @property
    def cluster_id(self) -> str:
        """What the log calls its cluster; "" before its first entry is read."""
        return self.runtime.ledger.totals.cluster_id

    @property
    def retention_ms(self) -> int:
        """How long the result of a call is kept."""
        return self.runtime.limits.result_retention_ms

    async def stand(self, call: CallId) -> Record | None:
        """Return how a call stands in the log; see `Witness.stand`."""
        ledger = self.runtime.ledger
        record = ledger.find(call)
        if record is not None and record.status.final:
            return record
        try:
            await self.read_to_tail()
        except Unconfirmed:
            if record is None or record.status is Status.IN_DOUBT:  # doubt is said as the newest word only
                raise
        return ledger.find(call)

    async def questions(self, call: CallId) -> Mapping[str, Question]:
        """Return what the tool that runs for a call asks just now."""
        return self.runtime.asides.questions(call)

    async def watch(self, call: CallId, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called whenever a call comes to stand otherwise; see `Witness.watch`."""
        return self.runtime.watches.watch(call, changed)

    async def begun(self, call: CallId) -> None:
        """Wait until a call has begun; see `Witness.begun`."""
        await self.runtime.beginnings.wait(call, self.runtime.ledger.open)

    async def ask(self, method: str, params: Mapping[str, Any], party: Party) -> dict[str, Any]:
        """Return what the servers behind this node answer to a request that is no call; raises `Unanswered`."""
        beside, request = self.runtime.beside, CallId("", str(next(self._numbers)))
        with beside.waiting(request, party), contextlib.closing(beside.of(request)) as aside:
            return await self._toolbox.ask(method, params, aside)

    def offers(self) -> Mapping[str, Any]:
        """Return what those servers offer."""
        return self._toolbox.offers()

    @property
    def asides(self) -> Asides:
        """What passes beside the log."""
        return self.runtime.asides

    def readiness(self) -> str | None:
        """Return None if the node can take calls, else why not."""
        return self._runtime.readiness() if self._runtime is not None else "this node is starting"

    def leaving(self) -> bool:
        """Return whether the node goes down."""
        return self._runtime is not None and self._runtime.leaving

    def status(self) -> dict[str, Any]:
        """Return how the cluster stands."""
        return self.runtime.status()

    @property
    def position(self) -> int:
        """The last log position that the node has folded."""
        return self.runtime.position

    @property
    def changed(self) -> asyncio.Event:
        """Set and replaced whenever the node has folded something new."""
        return self.runtime.changed

    def commit(self) -> None:
        """Let the replica's file hold all of it."""
        if self._runtime is not None:
            self._runtime.commit()

    @property
    def log_age_s(self) -> float:
        """How long ago the node last heard from the log."""
        return self.runtime.reach.age_s

    def home_of(self, name: str) -> Home | None:
        """Return where the node of that name is reached."""
        return self.runtime.home_of(name)

    async def read_to_tail(self) -> int:
        """Wait until the replica holds all that is in the log as this is asked."""
        return await self.runtime.read_to_tail()

    def cancel(self, call: CallId) -> None:
        """Have the tool of a call told to stop, wherever it runs."""
        self.asides.cancel(call)

    def leave(self, within_s: float | None) -> dict[str, Any]:
        """Take no new calls from now on, and go down once what runs has ended."""
        return self._departure.ask(self.runtime, within_s)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a peer's WebSocket; one that comes too early is turned away and comes again."""
        await self.runtime.peers(scope, receive, send)
