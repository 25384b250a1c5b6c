"""The runtime: the one event loop that feeds a node's decider and performs what it decides.

It owns the clock, the tasks and the waiting clients. It decides nothing: every fact goes in as an input, every
act comes out as an effect.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from semel.core.call import Call, Effect, NodeId, Spec
from semel.core.codec import decode_entry
from semel.core.decider import Decider, Identity
from semel.core.entry import Intent, Read
from semel.core.ledger import Ledger
from semel.core.limits import Limits
from semel.core.message import (
    Answer,
    Committed,
    Deny,
    Drained,
    Forward,
    Hello,
    Input,
    Installed,
    Now,
    PeerFound,
    PeerLost,
    Pulsed,
    Received,
    Refusal,
    Refuse,
    Started,
    Ticked,
)
from semel.errors import (
    CallError,
    LogTrimmed,
    LogUnavailable,
    SemelError,
    Undecided,
)
from semel.log.protocol import Log
from semel.node.arrivals import Arrivals
from semel.node.asides import AsideMessage, Asides
from semel.node.beginnings import Beginnings
from semel.node.catchup import CatchUp, Fetch
from semel.node.committing import Committing
from semel.node.desk import Desk
from semel.node.fit import check_fit
from semel.node.insisting import Troubles
from semel.node.leisure import Leisure
from semel.node.members import Beat, Home, Members
from semel.node.peers import Peers
from semel.node.performing import Performing
from semel.node.reach import Reach
from semel.node.replica import Replica
from semel.node.settled import settled
from semel.node.status import View, cluster_status
from semel.node.tasks import Tasks
from semel.node.tools import Toolbox
from semel.node.trimming import Trimmer
from semel.node.watches import Watches

TICK_S = 0.05
"""Well below every waiting time of the core."""
PULSE_S = 0.25
"""A sixth of the patience: a few may get lost."""
TRIM_S = 2.0
"""What a store writes in this time is little beside the tail that is kept."""

logger = logging.getLogger("semel")


def now() -> Now:
    """Return this machine's time."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)


class Runtime:
    """One running node. `start` it, let its `Facade` give it calls, `drain` it, `stop` it."""

    def __init__(
        self,
        *,
        log: Log,
        replica: Replica,
        toolbox: Toolbox,
        identity: Identity,
        fetch: Fetch,
        limits: Limits | None = None,
    ) -> None:
        """Take over an open log and replica and a started toolbox; nothing runs before `start`.

        `fetch` brings a peer's snapshot, if the log has left this node behind.
        """
        self.identity = identity
        self.limits = limits or Limits()
        self.toolbox = toolbox
        self.failed: asyncio.Future[SemelError] = asyncio.get_running_loop().create_future()
        """Done when the node cannot go on, with the reason."""
        self.changed = asyncio.Event()
        """Set and replaced whenever the node has folded something new."""
        self.remarks: list[str] = []
        """What an operator should know of how this node was started; the status shows it as warnings."""
        self.ledger = Ledger(replica, replica.totals())
        """What the log says, as far as this node has folded it."""
        self.reach = Reach(log)
        self.peers = Peers(self)
        self.asides = Asides(identity.node, self.peers.broadcast)
        """What passes beside the log, here and between the nodes."""
        self.beside = Asides(identity.node, lambda _message: None)
        """The same for what is no call, and is of this node alone."""
        self.desk = Desk(identity.node, self.limits)
        self.beginnings = Beginnings()
        self.watches = Watches()
        self.asides.stop = toolbox.stop
        self.asides.watch = toolbox.watch
        self.asides.questioned = replica.kept = self.watches.touch

        self._log = log
        self._replica = replica
        self._decider = Decider(identity, self.ledger, self.limits)
        self._idle = asyncio.Event()
        """Set once the node drains and owes nothing any more, or cannot go on."""
        self._stopped = False
        self._troubles = Troubles()
        self._tasks = Tasks(self._fail)
        self.arrivals = Arrivals(replica, self.ledger, self.step, self._tasks.tell)
        self._committing = Committing(replica, self.ledger, self.commit)
        self._performing = Performing(
            log,
            toolbox,
            self.asides,
            self.peers,
            self.desk,
            self._troubles,
            self._tasks,
            self.step,
            self._committing.note,
        )
        self._members = Members(log, identity.node.name)
        self._catch_up = CatchUp(log, identity.node.name, fetch, replica.path.with_suffix(".incoming"))
        self._trimmer = Trimmer(log, replica)
        self._leisure = Leisure(lambda: self._decider.live and self._decider.idle)

    # Life.

    async def start(self) -> None:
        """Begin to follow the log and to take part in the cluster; if it is out of reach, as soon as it is not.

        Raises:
            ClusterMismatch: the log belongs to another cluster.
            ReplicaError: the replica does not fit the log.
            LogError: the log cannot be used.
        """
        try:
            tail = await self._fitting_tail()
        except LogUnavailable as error:
            self._troubles.note("start", str(error))
            self._tasks.begin(self._join_when_reached(), "join")
        else:
            await self._join(tail)
        self._tasks.begin(self._tick_for_ever(), "tick")  # before it has joined, too: who calls is not held for ever

    async def _join_when_reached(self) -> None:
        await self._join(await self._troubles.insist("start", self._fitting_tail))

    async def _join(self, tail: int) -> None:
        self._tasks.begin(self._follow(), "follow")
        self.step(Started(tail))
        await self._pulse()
        self._tasks.begin(self._pulse_for_ever(), "pulse")
        self._tasks.begin(self.reach.look_for_ever(), "look")
        if self._log.copies:
            self._tasks.begin(self._trim_for_ever(), "trim")

    async def _fitting_tail(self) -> int:
        """Return where the log ends, if the replica fits it."""
        tail = await self.reach.ask()
        await check_fit(self._log, tail, self.ledger.totals, self._replica.last_entry(), self.identity.cluster)
        return tail

    def retreat(self) -> None:
        """Take no new calls from now on, and resign; what runs goes on, and `drain` waits for it."""
        self.arrivals.take()
        self.step(Drained())

    async def drain(self, patience_s: float) -> None:
        """Take no new calls, resign, and let running tools end for up to `patience_s`."""
        self.retreat()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), patience_s)
        self.desk.close(
            Undecided(
                f"{self.identity.node.name} went down before this call came to an outcome. It may have run or may yet "
                "run; retrying with the same key is safe, and tells"
            )
        )

    async def stop(self) -> None:
        """End all tasks; a node that was not drained leaves as if it had crashed."""
        self._stopped = True
        await self._tasks.end()
        self.commit()
        await self.peers.close()
        if self._decider.draining:
            await self._log.retire(self.identity.node.name)

    # How it stands.

    @property
    def position(self) -> int:
        """The last log position that the node has folded."""
        return self.ledger.position

    @property
    def trouble(self) -> str | None:
        """Why the log cannot be written or seen just now, if so."""
        return self._troubles.first

    @property
    def leaving(self) -> bool:
        """True once the node goes down, on purpose or because it cannot go on: whoever asks should ask another."""
        return self._decider.draining or self.failed.done()

    def readiness(self) -> str | None:
        """Return None if the node can take calls, else why not."""
        if self.failed.done():
            return str(self.failed.result())
        if self._decider.draining:
            return "this node is going down"
        if self._catch_up.state is not None:
            return self._catch_up.state
        if self.trouble is not None:
            return self.trouble
        if not self._decider.live:
            return f"this node is still reading the log (at position {self.ledger.position})"
        return None if self.ledger.leader is not None else "no leader yet"

    async def read_to_tail(self) -> int:
        """Wait until this node has read all that the log holds as this is asked; return the position of its end.

        What `status` and the replica show from then on is linearizable.

        Raises:
            Unconfirmed: the log cannot tell in time where it ends, or the node does not get there in time.
            SemelError: the node cannot go on.
        """
        if self.failed.done():
            raise self.failed.result()
        with self._leisure.hurried():
            return await self.reach.read_to_tail(self)

    def status(self) -> dict[str, Any]:
        """Return how the cluster stands as this node has read it; the shape of `semel status --json`."""
        view = View(self._beat(), self._members, self.reach, len(self.desk), self.readiness(), self._remarks())
        return cluster_status(self._decider, view, now())

    def home_of(self, name: str) -> Home | None:
        """Return where the node of that name was last seen, whatever its incarnation; None if there is no such node.

        Raises:
            LogUnavailable: this node has not seen the others yet.
        """
        beats = self._members.beats
        if not beats:
            raise LogUnavailable("this node has not seen the others yet")
        beat = beats.get(name)
        return None if beat is None else Home(beat.url, self._decider.alive(NodeId(name, beat.incarnation), now()))

    def _remarks(self) -> list[str]:
        held = self._trimmer.held if self._decider.leads else None
        return [*self.remarks, *self.toolbox.remarks(), *([] if held is None else [held])]

    # What is asked of it, here and by peers (as a `Listener`).

    def spec(self, call: Call, arguments: Mapping[str, Any]) -> Spec | Refusal:
        """Return how a call is to be run here, or why it is not."""
        if settled(call) is not None:
            return Spec(effect=Effect.READ)
        try:
            return self.toolbox.examine(call.tool, arguments)
        except CallError as error:
            return Refusal(error.code, str(error))

    def hello(self) -> Hello:
        """Return how this node introduces itself."""
        return Hello(self.ledger.totals.cluster_id, self.identity.node, together=True)

    def received(self, sender: NodeId, message: Forward | Refuse) -> None:
        """Take a peer's message."""
        if isinstance(message, Forward):
            spec = self.spec(message.call, msgspec.json.decode(message.call.arguments))
            self.arrivals.arrive(message.call.id, Received(sender, message, spec))
        else:
            self.step(Received(sender, message))

    def overheard(self, sender: NodeId, message: AsideMessage) -> None:
        """Take what a peer says beside the log."""
        self.asides.received(sender, message)

    def greeting(self) -> Sequence[AsideMessage]:
        """Return what a peer is told that was met anew."""
        return self.asides.met()

    def parted(self, node: NodeId) -> None:
        """Note that the connection to a peer has ended."""
        self.asides.lost(node)

    def lost(self, node: NodeId) -> None:
        """Note that this incarnation's process is gone."""
        self.step(PeerLost(node))

    def found(self, node: NodeId) -> None:
        """Note that this incarnation answers."""
        self.step(PeerFound(node))

    # The loop.

    def step(self, given: Input) -> None:
        """Give the decider one input and perform its effects."""
        if self.failed.done():
            return
        ledger = self.ledger
        position, leader, live = ledger.position, ledger.leader, self._decider.live
        try:
            outputs = self._decider.step(given, now())
            if ledger.position != position:
                self._committing.soon()
                self.reach.heard(ledger.position)
                self.beginnings.look(ledger.open)
                self.changed.set()
                self.changed = asyncio.Event()
        except SemelError as error:
            self._fail(error)
            return
        if self._decider.live and (ledger.leader != leader or not live):
            self._follow_leader()  # whoever was elected while it still read the history, too
        for output in outputs:
            if not self._stopped or isinstance(output, Answer | Deny):  # the door closes later than the log
                self._performing.perform(output)
        self._leisure.look()
        if self._decider.draining and self._decider.idle:
            self._idle.set()

    def commit(self) -> None:
        """Let the replica's file hold all that this node has folded."""
        if self.failed.done():
            return
        try:
            self._committing.now()
        except SemelError as error:
            self._fail(error)

    def _follow_leader(self) -> None:
        leader = self.ledger.leader
        self.peers.follow(None if leader is None or self._decider.leads else leader)
        if leader is not None:
            term = self.ledger.totals.term
            logger.info("%s leads in term %d", "this node" if self._decider.leads else leader.node.name, term)

    async def _follow(self) -> None:
        """Read the log for ever; go on from a peer's snapshot where it no longer gives what comes next."""
        while True:
            after = self.position
            try:
                await self._read(after)
            except LogTrimmed:
                if self.position == after:  # else an acknowledged append was ahead of what was read
                    await self._install_snapshot()

    async def _read(self, after: int) -> None:
        async for batch in self._log.follow(after):
            self._leisure.read()
            self._trimmer.read(batch)
            known = max(self.ledger.position - batch.first + 1, 0)
            if news := batch.entries[known:]:
                first = batch.first + known
                entries = tuple(decode_entry(position, data) for position, data in enumerate(news, first))
                self._committing.note(batch.last, news[-1])
                self._replica.look_up(entry.call.id for entry in entries if isinstance(entry, Intent | Read))
                self.step(Committed(first, entries))
                await self._leisure.pause()

    async def _install_snapshot(self) -> None:
        """Go on from the snapshot of a peer that has read further than the log reaches back."""
        snapshot = await self._catch_up.bring(self.position, self.ledger.totals.cluster_id)
        try:
            if snapshot.totals.position > self.position:
                self._replica.install(snapshot.path)
                self._committing.note_digest(snapshot.totals.position, snapshot.last_entry)
                self.step(Installed(snapshot.totals))
                self.watches.touch_all()
                logger.info("went on from a peer's snapshot, at position %d", self.position)
        finally:
            snapshot.path.unlink(missing_ok=True)

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.step(Ticked())

    async def _pulse_for_ever(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            await self._pulse()

    async def _trim_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TRIM_S)
            self.commit()
            await self._trimmer.sync(self.position)
            trouble = None
            if self._decider.leads:
                try:
                    await self._trimmer.trim(self._durable_elsewhere())
                except LogUnavailable as error:
                    trouble = str(error)
            self._troubles.note("trim", trouble)  # who does not lead any more has none

    def _durable_elsewhere(self) -> list[int]:
        """Return what the other live nodes have on their disks; a beat that this node never saw change proves none."""
        at = now()
        seen = (
            (node, beat) for node, beat in self._members.others() if self._members.age_s(node.name, at.s) is not None
        )
        return [beat.durable for node, beat in seen if self._decider.alive(node, at)]

    async def _pulse(self) -> None:
        try:
            await self._members.exchange(self._beat(), now().s)
        except LogUnavailable as error:
            self._troubles.note("pulse", str(error))
        else:
            self._troubles.note("pulse", None)
            self.step(Pulsed(self._members.signs()))

    def _beat(self) -> Beat:
        return Beat(
            incarnation=self.identity.node.incarnation,
            url=self.identity.url,
            position=self.ledger.position,
            tools=self.toolbox.fingerprint,
            at_s=now().s,
            durable=self._trimmer.durable,
        )

    def _fail(self, error: SemelError) -> None:
        """Stop acting: the node is as if it had crashed, but can still say why."""
        if not self.failed.done():
            logger.error("this node cannot go on: %s", error)
            self.failed.set_result(error)
            self._idle.set()
            self.desk.close(error)
