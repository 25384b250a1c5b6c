"""The requests at one node: who waits for which call, and the way each call has come so far.

Knows how a call gets to the leader and how its answer gets back. Knows nothing of entries or of running tools.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from semel.core.admission import Admission
from semel.core.call import Call, CallId, Effect, NodeId, Record, Spec, Status
from semel.core.entry import Read
from semel.core.ledger import unlogged
from semel.core.message import (
    Answer,
    Confirm,
    Confirmed,
    Deny,
    Forward,
    Now,
    Output,
    Received,
    Refusal,
    Refuse,
    Send,
    Submitted,
)
from semel.core.refusals import (
    backlogged,
    bad_ticket,
    busy,
    draining,
    forgotten_since,
    key_reused,
    key_stale,
    no_leader,
    not_begun,
    passed_on,
    undecided,
)
from semel.core.rounds import Obstacle, obstacle
from semel.core.standing import Standing
from semel.errors import KeyReused


@dataclass(slots=True)
class _Waiting:
    """A call that somebody waits for here."""

    call: Call
    spec: Spec | Refusal
    since_s: float
    own: bool
    """True if a client of this node asked, even if it has gone since."""
    keyed: bool = True
    """True if somebody else may ask under its key."""
    tickets: dict[int, str] = field(default_factory=dict)
    """Ticket to the request behind it."""
    senders: dict[NodeId, int] = field(default_factory=dict)
    """Who forwarded it here, and the number of their last forward."""
    forwarded: int = 0
    """The number of its last forward; 0 before the first."""
    forwarded_s: float = 0.0
    forwarded_to: set[NodeId] = field(default_factory=set)
    reading: bool = False


class Requests:
    """All calls that are waited for at one node. Effects go to `out`, in order."""

    def __init__(self, standing: Standing, out: list[Output]) -> None:
        self._standing = standing
        self._out = out
        self._waiting: dict[CallId, _Waiting] = {}
        self._tickets: dict[int, CallId] = {}
        self._queue = Admission()
        self._reads = Admission()
        self._forwards = 0
        self._heard: dict[NodeId, int] = {}
        """The number of the newest forward of each peer: an older one that comes later is an echo."""
        self._confirming: dict[int, int | None] = {}
        """Tickets of calls that are in doubt here, or whose round before is not known to have ended, and the tail up
        to which this node must have read before it says so."""

    @property
    def answered(self) -> bool:
        """True if no client waits for an answer."""
        return not self._tickets

    # What comes in.

    def submit(self, given: Submitted, now: Now, backlog: int = 0) -> None:
        """Take a client's request: answer it from the ledger, join it to the same call, or set it on its way.

        `backlog` is how many outcomes this node has to write, if they are so many that it takes no new call.
        """
        call, standing = given.call, self._standing
        known = standing.ledger.find(call.id)
        waiting = self._waiting.get(call.id)
        if self._digest_of(call, known) != call.digest:
            self._out.append(Deny(given.ticket, key_reused(call)))
        elif known is not None and known.forgotten:
            self._out.append(Deny(given.ticket, key_stale(known)))
        elif known is not None and known.status.final:
            self._out.append(Answer(given.ticket, known, replayed=True))
        elif waiting is not None:
            self._attach(given.ticket, waiting, call.request)
            self._confirm(waiting)
        elif standing.draining and known is None:
            self._out.append(Deny(given.ticket, draining(standing.me)))
        elif known is None and len(self._waiting) >= standing.limits.in_flight_max:
            self._out.append(Deny(given.ticket, busy(standing.me, standing.limits.in_flight_max)))
        elif known is None and backlog:
            self._out.append(Deny(given.ticket, backlogged(standing.me, backlog)))
        else:
            keyed = given.keyed or call.id.round > 1  # its client was told the key that was made
            waiting = self._waiting[call.id] = _Waiting(call, given.spec, now.s, own=True, keyed=keyed)
            self._attach(given.ticket, waiting, call.request)
            self._confirm(waiting)
            self._route(waiting, now)

    def abandon(self, ticket: int) -> None:
        """Forget the client behind a ticket; its call goes on."""
        call = self._tickets.pop(ticket, None)
        if call is not None:
            waiting = self._waiting[call]
            del waiting.tickets[ticket]
            self._confirming.pop(ticket, None)
            self._leave_stuck(waiting)

    def confirm(self, given: Confirmed) -> None:
        """Take the log's tail: once it is read, what may have been old news is said."""
        if given.ticket in self._confirming:
            self._confirming[given.ticket] = given.tail
            self.tell_confirmed()

    def tell_confirmed(self) -> None:
        """Say of calls that they are in doubt, or cannot begin, to those who asked before the tail was asked for."""
        standing = self._standing
        for ticket, tail in list(self._confirming.items()):
            if tail is None or standing.ledger.position < tail or not standing.live:
                continue
            waiting = self._waiting[self._tickets[ticket]]
            record = standing.ledger.open.get(waiting.call.id)
            if record is None:
                hindrance = self._obstacle(waiting)
                if hindrance is not None:
                    self._out.append(Deny(ticket, bad_ticket(waiting.call, hindrance.why)))
                    self.abandon(ticket)
            elif record.status is Status.IN_DOUBT:
                self._out.append(Answer(ticket, record, replayed=waiting.tickets[ticket] != record.request))
                self.abandon(ticket)

    def receive(self, given: Received, now: Now, proposed: Collection[CallId]) -> None:
        """Take a peer's message; one that is late or for another leader is let go.

        `proposed` are the calls whose intents are in an append that is not decided.
        """
        leader = self._standing.ledger.leader
        match given.message:
            case Forward():
                assert given.spec is not None
                news = given.message.number > self._heard.get(given.sender, 0)
                self._heard[given.sender] = max(given.message.number, self._heard.get(given.sender, 0))
                if news and self._standing.leads and self._standing.live:
                    begins = given.message.call.id in proposed
                    refusal = self._take(given.sender, given.message, given.spec, now, begins=begins)
                    if refusal is not None:
                        self._out.append(
                            Send(given.sender, Refuse(given.message.call.id, given.message.number, refusal))
                        )
            case Refuse():
                if leader is not None and leader.node == given.sender:
                    self._refused(given.sender, given.message)
            case _:
                assert_never(given.message)

    def _take(
        self, sender: NodeId, forward: Forward, spec: Spec | Refusal, now: Now, *, begins: bool
    ) -> Refusal | None:
        """Take a forwarded call as the leader, or say why not; its sender learns the outcome from the log.

        Of one that `begins` with the append that is under way nobody may say that nothing was run.
        """
        call, standing = forward.call, self._standing
        known = standing.ledger.find(call.id)
        waiting = self._waiting.get(call.id)
        if self._digest_of(call, known) != call.digest:
            return key_reused(call)
        if known is not None:
            return None  # its sender will read how the call stands, as this node has
        if waiting is not None:
            waiting.senders[sender] = forward.number
            return None
        if standing.draining or begins:
            return None  # its sender will forward it again, to the next leader perhaps
        if isinstance(spec, Refusal):
            return spec
        if len(self._waiting) >= standing.limits.in_flight_max:
            return busy(standing.me, standing.limits.in_flight_max)
        waiting = self._waiting[call.id] = _Waiting(call, spec, now.s, own=False)
        waiting.senders[sender] = forward.number
        if not self._hindered(waiting):
            self._queue.join(call.id)
        return None

    def _refused(self, sender: NodeId, message: Refuse) -> None:
        """Pass the leader's refusal on, if it is of the last forward and the call has not begun after all."""
        waiting = self._waiting.get(message.id)
        if waiting is not None and message.number == waiting.forwarded and message.id not in self._standing.ledger.open:
            certain = waiting.forwarded_to == {sender} or message.refusal.code == KeyReused.code
            self._drop(waiting, message.refusal if certain else passed_on(message.refusal))

    def _digest_of(self, call: Call, known: Record | None) -> str:
        """Return the digest that the call's key stands for here; the call's own if the key is new."""
        waiting = self._waiting.get(call.id)
        return known.digest if known else waiting.call.digest if waiting else call.digest

    def _confirm(self, waiting: _Waiting) -> None:
        """If a call is stuck here, ask whether that is the last word: what ended it may have been told elsewhere."""
        if self._stuck(waiting):
            for ticket in waiting.tickets:
                if ticket not in self._confirming:
                    self._confirming[ticket] = None
                    self._out.append(Confirm(ticket))

    def _leave_stuck(self, waiting: _Waiting) -> None:
        """Let go of a stuck call that nobody here waits for: it may stay so for ever."""
        if not waiting.tickets and self._stuck(waiting):
            self._leave(waiting)

    def _stuck(self, waiting: _Waiting) -> bool:
        """Return whether a call is in doubt here, or waits for its round before to end."""
        record = self._standing.ledger.open.get(waiting.call.id)
        if record is not None:
            return record.status is Status.IN_DOUBT
        hindrance = self._obstacle(waiting)
        return hindrance is not None and not hindrance.lasting

    def _obstacle(self, waiting: _Waiting) -> Obstacle | None:
        """Return what keeps a call that has not begun from beginning, if it is a round after the first."""
        return obstacle(waiting.call, self._standing.ledger.find)

    def _hindered(self, waiting: _Waiting) -> bool:
        """Return whether a call cannot begin by what is known of its round before; refuse it if that is for good."""
        hindrance = self._obstacle(waiting)
        if hindrance is not None and hindrance.lasting:
            self._drop(waiting, bad_ticket(waiting.call, hindrance.why))
        elif hindrance is not None:
            self._confirm(waiting)
        return hindrance is not None

    def _attach(self, ticket: int, waiting: _Waiting, request: str) -> None:
        waiting.own = True
        waiting.tickets[ticket] = request
        self._tickets[ticket] = waiting.call.id

    # What the log says.

    def settle(self, record: Record) -> None:
        """Tell all who wait for a call how it stands now; those who meant another call by its key, that."""
        waiting = self._waiting.get(record.id)
        if waiting is None:
            return
        if waiting.call.digest != record.digest:
            self._drop(waiting, key_reused(waiting.call))
        elif record.forgotten:
            ran = record.request in waiting.tickets.values()
            self._drop(waiting, forgotten_since(record) if ran else key_stale(record))
        elif record.status is Status.IN_DOUBT:
            self._confirm(waiting)
            self._leave_stuck(waiting)
        elif record.status.final:
            self._leave(waiting)
            for ticket, request in waiting.tickets.items():
                self._out.append(Answer(ticket, record, replayed=request != record.request))

    def go_on(self, record: Record, now: Now) -> None:
        """Set the next round of a call on its way, if it came here before this node knew how the last one ended."""
        waiting = self._waiting.get(record.id.after)
        if waiting is not None and record.status.final:
            self._route(waiting, now)

    def tell_unlogged(self, reads: Iterable[Read]) -> None:
        """Answer reads that the log has not taken, where nobody but who asked can ever ask for them."""
        for entry in reads:
            waiting = self._waiting.get(entry.call.id)
            if waiting is not None and not waiting.keyed:
                self._leave(waiting)
                self._out.extend(Answer(ticket, unlogged(entry), replayed=False) for ticket in waiting.tickets)

    def settle_known(self) -> None:
        """Answer what was asked before this node had read enough to know it."""
        for call in list(self._waiting):
            record = self._standing.ledger.find(call)
            if record is not None:
                self.settle(record)
        self.tell_confirmed()

    def reroute(self, now: Now) -> None:
        """Set every waiting call on its way anew, after an election or a resignation."""
        self._queue.clear()
        for waiting in list(self._waiting.values()):
            if not self._standing.leads:
                waiting.senders.clear()  # they forward to the new leader themselves
                if not waiting.own:
                    self._leave(waiting)
                    continue
            self._route(waiting, now)

    # What may begin.

    def reads(self, room: int) -> Iterator[tuple[Call, Spec]]:
        """Yield up to `room` reads to run on this node, in order of arrival."""
        while room > 0 and (call := self._reads.admit(lambda _: None, set())) is not None:
            waiting = self._waiting.get(call)
            if waiting is not None and isinstance(waiting.spec, Spec):
                yield waiting.call, waiting.spec
                room -= 1

    @property
    def queued(self) -> bool:
        """True if calls wait here whose intents may be written."""
        return bool(self._queue)

    def admit(self, room: int, room_bytes: int, taken: set[str]) -> Iterator[tuple[Call, Spec]]:
        """Yield up to `room` calls whose intents may be written: no intent yet, and a free lane that is not `taken`.

        They fit into `room_bytes` together; one that is too large for any batch goes alone in an empty one.
        """
        if not self._queue or room <= 0:
            return
        ledger = self._standing.ledger
        running = (record.lane for record in ledger.open.values() if record.status is Status.RUNNING)
        busy_lanes = taken | {lane for lane in running if lane is not None}
        self._queue.wake(busy_lanes)
        admitted: set[CallId] = set()
        size_bytes = 0
        while len(admitted) < room and (call := self._queue.admit(self._lane_of, busy_lanes)) is not None:
            waiting = self._waiting.get(call)
            if waiting is None or isinstance(waiting.spec, Refusal) or call in admitted or call in ledger.open:
                continue
            size_bytes += waiting.call.payload_bytes
            if size_bytes > room_bytes and (admitted or room_bytes < self._standing.limits.batch_bytes_max):
                self._queue.put_back([call])
                return
            admitted.add(call)
            yield waiting.call, waiting.spec

    def put_back(self, calls: Iterable[CallId]) -> None:
        """Queue admitted calls again, whose intents did not get into the log; they stay first in their lanes."""
        self._queue.wake(set())
        self._queue.put_back(calls)

    def _lane_of(self, call: CallId) -> str | None:
        waiting = self._waiting.get(call)
        return waiting.spec.lane if waiting is not None and isinstance(waiting.spec, Spec) else None

    # Time.

    def tick(self, now: Now, proposed: Collection[CallId]) -> None:
        """Forward again what was not heard of, and give up on what could not begin in time.

        `proposed` are the calls whose intents are in an append that is not decided.
        """
        limits = self._standing.limits
        for waiting in list(self._waiting.values()):
            unheard = bool(waiting.forwarded) and now.s - waiting.forwarded_s >= limits.forward_again_s
            if waiting.call.id in self._standing.ledger.open:
                continue
            self._hindered(waiting)  # what it goes on from may have been forgotten meanwhile
            if waiting.reading or waiting.call.id not in self._waiting:
                continue
            # The leader, which knows whether the call has begun, gives up first.
            hold_s = limits.hold_s + (2 * limits.forward_again_s if waiting.forwarded else 0.0)
            if now.s - waiting.since_s >= hold_s:
                self._expire(waiting, proposed)
            elif unheard and not self._standing.leads:
                self._route(waiting, now)

    def _expire(self, waiting: _Waiting, proposed: Collection[CallId]) -> None:
        """Give up on a call that has not begun, saying no more than this node knows."""
        hold_s = self._standing.limits.hold_s
        if waiting.forwarded or waiting.call.id in proposed:
            self._drop(waiting, undecided(hold_s))
        elif self._standing.leads:
            self._drop(waiting, not_begun(self._standing.me, hold_s))
        else:
            self._drop(waiting, no_leader(hold_s))

    # The ways that a call can go.

    def _route(self, waiting: _Waiting, now: Now) -> None:
        """Set a waiting call on its way: to this node's own queue, to the leader, or to wait for one."""
        leader, spec, call = self._standing.ledger.leader, waiting.spec, waiting.call.id
        if not self._standing.live or call in self._standing.ledger.open or waiting.reading or self._hindered(waiting):
            return
        if isinstance(spec, Spec) and spec.effect is Effect.READ:
            waiting.reading = True
            self._reads.join(call)
        elif leader is None:
            return
        elif leader.node != self._standing.me:
            self._forwards += 1
            waiting.forwarded, waiting.forwarded_s = self._forwards, now.s
            waiting.forwarded_to.add(leader.node)
            self._out.append(Send(leader.node, Forward(waiting.call, self._forwards)))
        elif isinstance(spec, Refusal):
            self._drop(waiting, passed_on(spec) if waiting.forwarded else spec)
        else:
            self._queue.join(call)

    def _drop(self, waiting: _Waiting, refusal: Refusal) -> None:
        """Refuse a call to all who wait for it here."""
        self._leave(waiting)
        self._out.extend(Deny(ticket, refusal) for ticket in waiting.tickets)
        for sender, number in waiting.senders.items():
            self._out.append(Send(sender, Refuse(waiting.call.id, number, refusal)))

    def _leave(self, waiting: _Waiting) -> None:
        del self._waiting[waiting.call.id]
        for ticket in waiting.tickets:
            del self._tickets[ticket]
            self._confirming.pop(ticket, None)
