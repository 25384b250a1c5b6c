"""The decisions of one node: inputs go in, the ledger is folded, effects come out.

The laws:

1. State changes only when a committed entry is folded. An effect that never happens leaves nothing behind.
2. One append is in flight at a time, after the last position that was folded, until the log decides it.
   Its entries are made afresh from the state each time, so a batch that lost its place leaves no trace.
3. Only the leader of the current term writes intents, and a tool starts only after its intent was folded
   while that reign lasted.
4. An outcome is a fact of whoever ran the tool, leader or not, and is proposed until it is in the log.
5. Before the node is live (has read to the tail that it found at its start) it folds and acts on nothing.
6. Suspicion (a lost peer, a missing pulse) only makes a node stand for election; the log decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import assert_never

from semel.core.admission import Admission
from semel.core.call import Call, CallId, Effect, NodeId, Record, Spec, Status
from semel.core.entry import Doubted, Elected, Entry, Forgot, Founded, Intent, Outcome, Read, Resigned
from semel.core.ledger import Ledger
from semel.core.limits import Limits
from semel.core.message import (
    Abandoned,
    Answer,
    Append,
    Appended,
    Committed,
    Deny,
    Drained,
    Ended,
    Forward,
    Input,
    Lost,
    Now,
    Output,
    PeerFound,
    PeerLost,
    Pulsed,
    Received,
    Refusal,
    Refuse,
    Run,
    Send,
    Started,
    Submitted,
    Ticked,
)
from semel.core.presence import Presence
from semel.core.refusals import busy, draining, key_reused, key_stale, no_leader, not_begun, said, undecided


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is, where its peers reach it, and what it would found on an empty log."""

    node: NodeId
    url: str
    cluster: str
    cluster_id: str


@dataclass(slots=True)
class _Waiting:
    """A call that somebody waits for here, and the way it has come so far."""

    call: Call
    spec: Spec | Refusal
    since_s: float
    tickets: dict[int, str] = field(default_factory=dict)
    """Ticket to the request behind it."""
    senders: dict[NodeId, int] = field(default_factory=dict)
    """Who forwarded it here, and the number of their last forward."""
    own: bool = True
    """True if a client of this node asked, even if it has gone since."""
    forwards: int = 0
    forwarded_s: float = 0.0
    reading: bool = False


@dataclass(frozen=True, slots=True)
class _Running:
    call: Call
    timeout_s: float
    term: int
    attempt: int
    intent: int | None
    effect: Effect


@dataclass(frozen=True, slots=True)
class _Proposal:
    after: int
    entries: tuple[Entry, ...]
    sent_s: float


class Decider:
    """One node's mind. Feed it inputs with `step` and perform what comes out, in order."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        """Start from a ledger as its replica had it; nothing is decided before `Started`."""
        self.identity = identity
        self.me = identity.node
        self.ledger = ledger
        self.limits = limits or Limits()
        self.draining = False
        self._hurry = False
        self._live_at: int | None = None
        self._presence = Presence(self.me, self.limits.patience_s)
        self._waiting: dict[CallId, _Waiting] = {}
        self._tickets: dict[int, CallId] = {}
        self._queue = Admission()
        self._reads = Admission()
        self._running: dict[int, _Running] = {}
        self._runs = 0
        self._facts: dict[tuple[str, int | CallId] | None, Entry] = {}
        self._rerun: set[CallId] = set()
        """Calls that this leader must run again or say in doubt: inherited, or lost on the way."""
        self._proposal: _Proposal | None = None
        self._fence = 0
        self._leads_since_s = 0.0
        self._forgot_s: float | None = None
        self._out: list[Output] = []

    # What others may ask.

    @property
    def live(self) -> bool:
        """True once the node has read to the tail that it found at its start."""
        return self._live_at is not None and self.ledger.position >= self._live_at

    @property
    def leads(self) -> bool:
        """True if, as far as this node has read, it is the leader."""
        leader = self.ledger.leader
        return leader is not None and leader.node == self.me

    @property
    def idle(self) -> bool:
        """True if this node owes nothing: no run, no unwritten fact, no waiting client, no reign."""
        owes = self._running or self._facts or self._tickets or self._proposal
        return not owes and not self.leads

    def alive(self, node: NodeId, now: Now) -> bool:
        """Return whether nothing says that this incarnation is gone; for display, never for safety."""
        return not self._presence.gone(node, now.s)

    # The one way in.

    def step(self, given: Input, now: Now) -> list[Output]:
        """Take one input and return the effects to perform, in order."""
        self._presence.wake(now.s)
        match given:
            case Submitted():
                self._submit(given, now)
            case Received():
                self._receive(given, now)
            case Committed():
                self._fold_all(given.first, given.entries, now)
            case Appended():
                self._appended(given, now)
            case Ended() | Lost():
                self._end(given, now)
            case Abandoned():
                self._abandon(given.ticket)
            case Started():
                self._live_at = given.tail
                self._go_live(now)
            case Pulsed():
                self._presence.pulsed(given.beats, now.s)
            case PeerLost():
                self._presence.lost(given.node)
            case PeerFound():
                self._presence.found(given.node, now.s)
            case Ticked():
                self._tick(now)
            case Drained():
                self.draining, self._hurry = True, self._hurry or given.hurry
            case _:
                assert_never(given)
        self._pump(now)
        out, self._out = self._out, []
        return out

    # Requests.

    def _submit(self, given: Submitted, now: Now) -> None:
        call = given.call
        known = self.ledger.find(call.id)
        waiting = self._waiting.get(call.id)
        digest = known.digest if known else waiting.call.digest if waiting else call.digest
        if digest != call.digest:
            self._out.append(Deny(given.ticket, key_reused(call)))
        elif known is not None and known.forgotten:
            self._out.append(Deny(given.ticket, key_stale(known)))
        elif known is not None and known.status is not Status.RUNNING:
            self._out.append(Answer(given.ticket, known, replayed=True))
        elif waiting is not None:
            self._attach(given.ticket, waiting, call.request)
        elif self.draining and known is None:
            self._out.append(Deny(given.ticket, draining(self.me)))
        elif len(self._waiting) >= self.limits.in_flight_max:
            self._out.append(Deny(given.ticket, busy(self.me, self.limits.in_flight_max)))
        else:
            waiting = self._waiting[call.id] = _Waiting(call, given.spec, now.s)
            self._attach(given.ticket, waiting, call.request)
            self._route(waiting, now)

    def _attach(self, ticket: int, waiting: _Waiting, request: str) -> None:
        waiting.own = True
        waiting.tickets[ticket] = request
        self._tickets[ticket] = waiting.call.id

    def _abandon(self, ticket: int) -> None:
        call = self._tickets.pop(ticket, None)
        if call is not None:
            del self._waiting[call].tickets[ticket]

    def _receive(self, given: Received, now: Now) -> None:
        match given.message:
            case Forward():
                assert given.spec is not None
                if self.leads and self.live:
                    self._take(given.sender, given.message, given.spec, now)
            case Refuse():
                leader = self.ledger.leader
                if leader is not None and leader.node == given.sender:
                    self._refused(given.message)
            case _:
                assert_never(given.message)

    def _take(self, sender: NodeId, forward: Forward, spec: Spec | Refusal, now: Now) -> None:
        """Take a forwarded call as the leader; its sender learns the outcome from the log."""
        call = forward.call
        known = self.ledger.find(call.id)
        waiting = self._waiting.get(call.id)
        digest = known.digest if known else waiting.call.digest if waiting else call.digest
        refusal = None
        if digest != call.digest:
            refusal = key_reused(call)
        elif known is not None:
            refusal = key_stale(known) if known.forgotten else None
        elif waiting is not None:
            waiting.senders[sender] = forward.number
        elif self.draining:
            refusal = None  # the next leader takes it: its sender will forward it there
        elif isinstance(spec, Refusal):
            refusal = spec
        elif len(self._waiting) >= self.limits.in_flight_max:
            refusal = busy(self.me, self.limits.in_flight_max)
        else:
            waiting = self._waiting[call.id] = _Waiting(call, spec, now.s, own=False)
            waiting.senders[sender] = forward.number
            self._queue.join(call.id)
        if refusal is not None:
            self._out.append(Send(sender, Refuse(call.id, forward.number, refusal)))

    def _refused(self, message: Refuse) -> None:
        waiting = self._waiting.get(message.id)
        if waiting is not None and message.number == waiting.forwards and message.id not in self.ledger.open:
            self._drop(waiting, message.refusal)

    def _route(self, waiting: _Waiting, now: Now) -> None:
        """Set a waiting call on its way: to this node's own queue, to the leader, or to wait for one."""
        leader, spec, call = self.ledger.leader, waiting.spec, waiting.call.id
        if not self.live or call in self.ledger.open or waiting.reading:
            return
        if isinstance(spec, Spec) and spec.effect is Effect.READ:
            waiting.reading = True
            self._reads.join(call)
        elif leader is None:
            return
        elif leader.node != self.me:
            waiting.forwards, waiting.forwarded_s = waiting.forwards + 1, now.s
            self._out.append(Send(leader.node, Forward(waiting.call, waiting.forwards)))
        elif isinstance(spec, Refusal):
            self._drop(waiting, spec)
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

    # What the log says.

    def _appended(self, given: Appended, now: Now) -> None:
        proposal, self._proposal = self._proposal, None
        assert proposal is not None
        assert proposal.after == given.after
        if not given.committed:
            self._fence = max(self._fence, given.after + 1)
            self._queue.put_back(entry.call.id for entry in proposal.entries if isinstance(entry, Intent))
            return
        self._fence = max(self._fence, given.after + len(proposal.entries))
        # An acknowledgement that took long may be old news: act on what the log gives back by itself.
        if now.s - proposal.sent_s < self.limits.patience_s:
            self._fold_all(given.after + 1, proposal.entries, now)

    def _fold_all(self, first: int, entries: tuple[Entry, ...], now: Now) -> None:
        """Fold what is new of a batch, all of it before anything is decided, so that no decision is late."""
        was_live, reign, changed = self.live, self.ledger.leader, []
        for position, entry in enumerate(entries, first):
            if position > self.ledger.position:
                record = self.ledger.apply(position, entry)
                self._facts.pop(_fact_key(entry, self.me), None)
                if record is not None:
                    changed.append(record)
        if not was_live:
            self._go_live(now)
            return
        for record in changed:
            self._react(record, now)
        if self.ledger.leader != reign:
            self._new_reign(now)

    def _go_live(self, now: Now) -> None:
        """Answer and route what was asked while this node was still reading."""
        if self.live:
            for waiting in list(self._waiting.values()):
                record = self.ledger.find(waiting.call.id)
                if record is not None:
                    self._react(record, now)
            self._new_reign(now)

    def _new_reign(self, now: Now) -> None:
        """Take stock after an election or a resignation: who runs what, and where each waiting call goes now."""
        self._queue.clear()
        self._rerun.clear()
        if self.leads:
            self._leads_since_s = now.s
            self._forgot_s = now.s
            self._rerun = {
                record.id
                for record in self.ledger.open.values()
                if record.status is Status.RUNNING and record.executor != self.me
            }
        for waiting in list(self._waiting.values()):
            if not self.leads:
                waiting.senders.clear()  # they forward to the new leader themselves
                if not waiting.own:
                    self._leave(waiting)
                    continue
            self._route(waiting, now)

    def _react(self, record: Record, now: Now) -> None:
        """Do what a call's new standing asks of this node."""
        waiting = self._waiting.get(record.id)
        if waiting is not None and waiting.call.digest != record.digest:
            self._drop(waiting, key_reused(waiting.call))
            waiting = None
        if record.status is Status.RUNNING:
            self._rerun.discard(record.id)
            if record.executor == self.me:
                self._begin(record, now)
            return
        self._rerun.discard(record.id)
        if record.lane is not None:
            self._queue.free(record.lane)
        if waiting is not None:
            self._leave(waiting)
            for ticket, request in waiting.tickets.items():
                self._out.append(Answer(ticket, record, replayed=request != record.request))

    # Runs.

    def _begin(self, record: Record, now: Now) -> None:
        """Start the tool of an intent of this node, if its reign still lasts."""
        intent = record.intents[-1]
        if self.leads and record.term == self.ledger.totals.term:
            self._run(_Running(_call_of(record), record.timeout_s, record.term, record.attempt, intent, record.effect))
        elif record.effect is Effect.ONCE:
            text = f"{self.me.name} lost its lead between intent and start; the tool was not started. Use a new key"
            self._facts["outcome", intent] = Outcome(
                intent=intent,
                status=Status.CANCELLED,
                result=said(text),
                executor=self.me,
                duration_ms=0.0,
                at_ms=now.ms,
            )

    def _run(self, running: _Running) -> None:
        self._runs += 1
        self._running[self._runs] = running
        self._out.append(
            Run(self._runs, running.call, running.timeout_s, running.term, running.attempt, running.intent)
        )

    def _start_reads(self) -> None:
        while self._reads and len(self._running) < self.limits.concurrency_max:
            call = self._reads.admit(lambda _: None, set())
            waiting = self._waiting.get(call) if call is not None else None
            if waiting is not None and isinstance(waiting.spec, Spec):
                term = self.ledger.totals.term
                self._run(_Running(waiting.call, waiting.spec.timeout_s, term, 1, None, Effect.READ))

    def _end(self, given: Ended | Lost, now: Now) -> None:
        """Turn the end of a run into a fact for the log, or into another attempt."""
        running = self._running.pop(given.run)
        last_attempt = running.attempt >= self.limits.attempts_max
        match given:
            case Ended():
                self._record_end(running, given, now)
            case Lost() if running.intent is not None and running.effect is Effect.ONCE:
                self._facts["doubt", running.intent] = Doubted(intent=running.intent, reason=given.reason, at_ms=now.ms)
            case Lost() if running.intent is not None and not last_attempt:
                if self.leads:
                    self._rerun.add(running.call.id)
            case Lost():
                text = f"the tool was lost in attempt {running.attempt}: {given.reason}. Use a new key"
                self._record_end(running, Ended(given.run, Status.ERROR, said(text), 0.0), now)
            case _:
                assert_never(given)

    def _record_end(self, running: _Running, ended: Ended, now: Now) -> None:
        if running.intent is not None:
            self._facts["outcome", running.intent] = Outcome(
                intent=running.intent,
                status=ended.status,
                result=ended.result,
                executor=self.me,
                duration_ms=ended.duration_ms,
                at_ms=now.ms,
            )
        else:
            self._facts["read", running.call.id] = Read(
                call=running.call,
                timeout_s=running.timeout_s,
                status=ended.status,
                result=ended.result,
                term=running.term,
                executor=self.me,
                duration_ms=ended.duration_ms,
                at_ms=now.ms,
            )

    # Time.

    def _tick(self, now: Now) -> None:
        for waiting in list(self._waiting.values()):
            if waiting.call.id in self.ledger.open or waiting.reading:
                continue
            if now.s - waiting.since_s >= self.limits.hold_s:
                self._expire(waiting)
            elif waiting.forwards and now.s - waiting.forwarded_s >= self.limits.forward_again_s:
                self._route_again(waiting, now)
        if self.leads and self._forgot_s is not None and now.s - self._forgot_s >= self.limits.forget_every_s:
            self._forgot_s = now.s
            self._facts["forgot", 0] = Forgot(
                results_before_ms=now.ms - self.limits.result_retention_ms,
                keys_before_ms=now.ms - self.limits.key_retention_ms,
                at_ms=now.ms,
            )

    def _route_again(self, waiting: _Waiting, now: Now) -> None:
        if not self.leads:
            self._route(waiting, now)

    def _expire(self, waiting: _Waiting) -> None:
        """Give up on a call that has not begun, saying no more than this node knows."""
        hold_s = self.limits.hold_s
        proposed = self._proposal.entries if self._proposal is not None else ()
        if waiting.forwards or any(isinstance(e, Intent) and e.call.id == waiting.call.id for e in proposed):
            self._drop(waiting, undecided(hold_s))
        elif self.leads:
            self._drop(waiting, not_begun(self.me, hold_s))
        else:
            self._drop(waiting, no_leader(hold_s))

    # What this node would write next.

    def _pump(self, now: Now) -> None:
        """Propose the next batch, if none is in flight and this node has read all that it knows to be there."""
        self._start_reads()
        if self._proposal is not None or not self.live or self.ledger.position < self._fence:
            return
        entries = self._batch(now)
        if entries:
            self._proposal = _Proposal(self.ledger.position, entries, now.s)
            self._out.append(Append(self.ledger.position, entries))

    def _batch(self, now: Now) -> tuple[Entry, ...]:
        entries = list(self._facts_to_write())
        if self.leads and not self.draining:
            entries += self._attempts(now)
            entries += self._intents(now, self.limits.batch_entries_max - len(entries))
        elif self.leads:
            if self._hurry or (not self._running and len(entries) == len(self._facts)):
                entries.append(Resigned(term=self.ledger.totals.term, node=self.me, at_ms=now.ms))
        elif self._stands(now):
            if self.ledger.position == 0:
                entries.append(Founded(cluster=self.identity.cluster, id=self.identity.cluster_id))
            term = self.ledger.totals.term + 1
            entries.append(Elected(term=term, node=self.me, url=self.identity.url, at_ms=now.ms))
        return tuple(entries)

    def _stands(self, now: Now) -> bool:
        leader = self.ledger.leader
        return not self.draining and (leader is None or self._presence.gone(leader.node, now.s))

    def _facts_to_write(self) -> Iterator[Entry]:
        size_bytes = 0
        for count, entry in enumerate(self._facts.values()):
            size_bytes += _payload_bytes(entry)
            if count == self.limits.batch_entries_max or (count and size_bytes > self.limits.batch_bytes_max):
                return
            yield entry

    def _attempts(self, now: Now) -> Iterator[Entry]:
        """Yield what a leader owes to open calls whose executor is not at work: another attempt, or doubt."""
        for call in sorted(self._rerun, key=lambda call: self.ledger.open[call].execution_id):
            record = self.ledger.open[call]
            if record.effect is not Effect.ONCE:
                if len(self._running) < self.limits.concurrency_max:
                    yield self._intent(_call_of(record), _spec_of(record), record.attempt + 1, now)
            elif now.s - self._leads_since_s >= self.limits.grace_s and self._presence.gone(record.executor, now.s):
                reason = f"{record.executor.name} was lost between intent and outcome"
                yield Doubted(intent=record.intents[-1], reason=reason, at_ms=now.ms)

    def _intents(self, now: Now, entries_max: int) -> Iterator[Intent]:
        """Yield the intents of waiting calls that may begin now: there is room, and their lane is free."""
        room = min(self.limits.concurrency_max - len(self._running), entries_max)
        if not len(self._queue) or room <= 0:
            return
        lanes = {record.lane for record in self.ledger.open.values() if record.status is Status.RUNNING}
        busy_lanes = {lane for lane in lanes if lane is not None}
        admitted: set[CallId] = set()
        size_bytes = 0
        while len(admitted) < room and size_bytes <= self.limits.batch_bytes_max:
            call = self._queue.admit(self._lane_of, busy_lanes)
            if call is None:
                return
            waiting = self._waiting.get(call)
            if waiting is None or call in admitted or call in self.ledger.open or isinstance(waiting.spec, Refusal):
                continue
            admitted.add(call)
            size_bytes += len(waiting.call.arguments)
            yield self._intent(waiting.call, waiting.spec, 1, now)

    def _lane_of(self, call: CallId) -> str | None:
        waiting = self._waiting.get(call)
        return waiting.spec.lane if waiting is not None and isinstance(waiting.spec, Spec) else None

    def _intent(self, call: Call, spec: Spec, attempt: int, now: Now) -> Intent:
        return Intent(
            call=call,
            effect=spec.effect,
            timeout_s=spec.timeout_s,
            lane=spec.lane,
            term=self.ledger.totals.term,
            attempt=attempt,
            executor=self.me,
            at_ms=now.ms,
        )


def _fact_key(entry: Entry, me: NodeId) -> tuple[str, int | CallId] | None:
    """Return under which key the fact that `entry` states waits to be written by the node `me`."""
    match entry:
        case Outcome() if entry.executor == me:
            return "outcome", entry.intent
        case Read() if entry.executor == me:
            return "read", entry.call.id
        case Doubted():
            return "doubt", entry.intent
        case Forgot():
            return "forgot", 0
        case _:
            return None


def _payload_bytes(entry: Entry) -> int:
    match entry:
        case Outcome():
            return len(entry.result)
        case Read():
            return len(entry.result) + len(entry.call.arguments)
        case _:
            return 0


def _call_of(record: Record) -> Call:
    return Call(
        id=record.id,
        tool=record.tool,
        arguments=record.arguments,
        digest=record.digest,
        request=record.request,
        client=record.client,
    )


def _spec_of(record: Record) -> Spec:
    return Spec(effect=record.effect, timeout_s=record.timeout_s, lane=record.lane)
