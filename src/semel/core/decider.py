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
7. A read whose outcome the log does not take is answered without it, if nobody else can ask under its key; the answer
   says so, and its fact stays to be written. Nothing else is answered before it is in the log.
8. A once call is said to be in doubt only after its tool's reconcile hook was asked. A hook that knows the outcome
   settles the call; one that does not leads to doubt, and never to a run: the lost executor may act yet.
9. That the round before one is not known to have asked for anything is said only as the newest word: the node asks for
   the log's tail first and reads up to it. Until then the round waits at the node that was asked.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import assert_never

import msgspec
from msgspec.structs import replace

from semel.core.call import Call, CallId, Effect, NodeId, Record, Spec, Status
from semel.core.entry import Elected, Entry, Founded, Intent, Resigned
from semel.core.ledger import Ledger
from semel.core.limits import Limits
from semel.core.message import (
    Abandoned,
    Append,
    Appended,
    Committed,
    Confirmed,
    Drained,
    Ended,
    Input,
    Installed,
    Lost,
    Now,
    Output,
    PeerFound,
    PeerLost,
    Pulsed,
    Received,
    Reconciled,
    Started,
    Submitted,
    Ticked,
)
from semel.core.presence import Presence
from semel.core.requests import Requests
from semel.core.runs import Runs, payload_bytes
from semel.core.standing import Standing


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is, where its peers reach it, and what it would found on an empty log."""

    node: NodeId
    url: str
    cluster: str
    cluster_id: str


class _Proposal(msgspec.Struct, frozen=True):
    """An append that the log has not decided yet, or that it has committed and not given back yet."""

    after: int
    entries: tuple[Entry, ...]
    sent_s: float
    calls: Mapping[CallId, None]
    """The calls that would begin with it, in order."""
    intents: int
    """How many tools would start with it."""
    committed: bool = False

    @property
    def last(self) -> int:
        """The position of its last entry, if it is committed."""
        return self.after + len(self.entries)


class Decider:
    """One node's mind. Feed it inputs with `step` and perform what comes out, in order."""

    def __init__(self, identity: Identity, ledger: Ledger, limits: Limits | None = None) -> None:
        """Start from a ledger as its replica had it; nothing is decided before `Started`."""
        self.identity = identity
        self.ledger = ledger
        self.limits = limits or Limits()
        self._out: list[Output] = []
        self._standing = Standing(identity.node, ledger, self.limits)
        self._presence = Presence(identity.node, self.limits.patience_s)
        self._requests = Requests(self._standing, self._out)
        self._runs = Runs(identity.node, self.limits, self._out)
        self._unattended: set[CallId] = set()
        """Open calls that this leader owes another attempt, or a question to their hook: nobody is at work for them."""
        self._proposal: _Proposal | None = None
        self._fence = 0
        """Nothing is proposed before this position is folded: it is known to be taken."""
        self._leads_since_s = 0.0
        self._forgot_s = 0.0

    @property
    def live(self) -> bool:
        """True once the node has read to the tail that it found at its start."""
        return self._standing.live

    @property
    def leads(self) -> bool:
        """True if, as far as this node has read, it is the leader."""
        return self._standing.leads

    @property
    def draining(self) -> bool:
        """True once the node was told to go down."""
        return self._standing.draining

    @property
    def _proposed(self) -> Collection[CallId]:
        """The calls whose intents are in an append that is not decided."""
        return self._proposal.calls if self._proposal is not None else ()

    @property
    def idle(self) -> bool:
        """True if this node owes nothing: no run, no unwritten fact, no waiting client, no reign."""
        done = self._runs.none and not self._runs.facts and self._requests.answered
        return done and self._proposal is None and not self.leads

    def alive(self, node: NodeId, now: Now) -> bool:
        """Return whether nothing says that this incarnation is gone; for display, never for safety."""
        return not self._presence.gone(node, now.s)

    def step(self, given: Input, now: Now) -> list[Output]:
        """Take one input and return the effects to perform, in order."""
        self._presence.wake(now.s)
        match given:
            case Submitted():
                self._requests.submit(given, now, self._runs.facts if self._runs.full else 0)
            case Received():
                self._requests.receive(given, now, self._proposed)
            case Committed():
                self._fold_all(given.first, given.entries, now)
            case Installed():
                self._install(given, now)
            case Appended():
                self._appended(given, now)
            case Ended() | Lost():
                self._end(given, now)
            case Reconciled():
                self._runs.reconcile(given, now)
            case Confirmed():
                self._requests.confirm(given)
            case Abandoned():
                self._requests.abandon(given.ticket)
            case Started():
                assert self._standing.live_at is None
                self._standing.live_at = given.tail
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
                self._standing.draining = True
            case _:
                assert_never(given)
        self._pump(now)
        out = self._out.copy()
        self._out.clear()
        return out

    # What the log says.

    def _appended(self, given: Appended, now: Now) -> None:
        proposal = self._proposal
        assert proposal is not None
        assert proposal.after == given.after
        if not given.committed:
            self._proposal = None
            self._fence = given.after + 1
            self._requests.put_back(proposal.calls)
            return
        self._proposal = replace(proposal, committed=True)
        # An acknowledgement that took long may be old news: act on what the log gives back by itself.
        if now.s - proposal.sent_s < self.limits.patience_s:
            self._fold_all(given.after + 1, proposal.entries, now)

    def _fold_all(self, first: int, entries: tuple[Entry, ...], now: Now) -> None:
        """Fold what is new of a batch, all of it before anything is decided, so that no decision is late."""
        was_live, leader = self.live, self.ledger.leader
        changed: list[Record] = []
        for position, entry in enumerate(entries, first):
            if position > self.ledger.position:
                record = self.ledger.apply(position, entry)
                self._runs.written(entry)
                if record is not None:
                    changed.append(record)
        if not was_live:
            self._go_live(now)
            return
        for record in changed:
            self._react(record, now)
        self._requests.tell_confirmed()
        if self.ledger.leader != leader:
            if self.ledger.leader is not None:
                self._presence.found(self.ledger.leader.node, now.s)  # whoever is elected lives
            self._new_reign(now)

    def _install(self, given: Installed, now: Now) -> None:
        """Go on from a peer's snapshot, as if each entry that it stands for had been folded one by one.

        What this node has still to write stays: if the snapshot knows it already, the fold makes nothing of it.
        """
        was_live = self.live
        self.ledger.install(given.totals)
        if not was_live:
            self._go_live(now)
            return
        for record in list(self.ledger.open.values()):
            if not self._runs.attends(record):  # an intent of this node that it never saw: it has begun nothing
                self._react(record, now)
        self._requests.settle_known()
        if self.ledger.leader is not None:
            self._presence.found(self.ledger.leader.node, now.s)  # whoever made the snapshot heard of it
        self._new_reign(now)

    def _go_live(self, now: Now) -> None:
        self._standing.look()
        if self.live:
            self._requests.settle_known()
            self._new_reign(now)

    def _new_reign(self, now: Now) -> None:
        """Take stock after an election or a resignation: which calls are unattended, and where the others go."""
        self._unattended.clear()
        if self.leads:
            self._leads_since_s = self._forgot_s = now.s
            self._unattended.update(
                record.id
                for record in self.ledger.open.values()
                if record.status is Status.RUNNING and not self._runs.attends(record)
            )
        self._requests.reroute(now)

    def _react(self, record: Record, now: Now) -> None:
        """Do what a call's new standing asks of this node."""
        self._unattended.discard(record.id)
        self._requests.settle(record)
        self._requests.go_on(record, now)
        if record.status is Status.RUNNING and record.executor == self.identity.node:
            if self.leads and record.term == self.ledger.totals.term:
                self._runs.begin(record)
            elif record.effect is Effect.ONCE:
                self._runs.cancel(record, now)

    # What comes from this node's tools and clock.

    def _end(self, given: Ended | Lost, now: Now) -> None:
        again = self._runs.end(given, now)
        if again is not None and self.leads and again in self.ledger.open:
            self._unattended.add(again)

    def _tick(self, now: Now) -> None:
        self._requests.tick(now, self._proposed)
        self._requests.tell_unlogged(self._runs.overdue_reads(now))
        if self.leads and now.s - self._forgot_s >= self.limits.forget_every_s:
            self._forgot_s = now.s
            self._runs.forget(now)

    # What this node would write next.

    def _pump(self, now: Now) -> None:
        """Start reads, ask hooks; propose a batch, if none is in flight and all that is known to be there was read."""
        self._ask_hooks(now)
        proposal = self._proposal
        if proposal is not None and proposal.committed and self.ledger.position >= proposal.last:
            proposal = self._proposal = None
        if self.live:
            promised = proposal.intents if proposal is not None else 0
            for call, spec in self._requests.reads(self._runs.room - promised):
                self._runs.read(call, spec.timeout_s, self.ledger.totals.term)
        if proposal is None and self.live and self.ledger.position >= self._fence:
            entries = self._batch(now)
            if entries:
                intents = sum(isinstance(entry, Intent) for entry in entries)
                self._proposal = _Proposal(self.ledger.position, entries, now.s, _beginning(entries), intents)
                self._out.append(Append(self.ledger.position, entries))

    def _batch(self, now: Now) -> tuple[Entry, ...]:
        entries = list(self._runs.to_write())
        if self.ledger.position == 0:
            first = entries if self.draining else [self._elected(now)]
            return (self._founded(), *first) if first else ()
        room = self.limits.batch_entries_max - len(entries)
        if self.leads and not self.draining:
            if self._unattended or self._requests.queued:
                room_bytes = self.limits.batch_bytes_max - sum(payload_bytes(entry) for entry in entries)
                entries += self._beginnings(room, room_bytes, now)
        elif self.leads and room > 0:
            entries.append(Resigned(term=self.ledger.totals.term, node=self.identity.node, at_ms=now.ms))
        elif room > 0 and self._stands(now):
            entries.append(self._elected(now))
        return tuple(entries)

    def _founded(self) -> Entry:
        return Founded(cluster=self.identity.cluster, id=self.identity.cluster_id)

    def _elected(self, now: Now) -> Entry:
        return Elected(term=self.ledger.totals.term + 1, node=self.identity.node, url=self.identity.url, at_ms=now.ms)

    def _beginnings(self, room: int, room_bytes: int, now: Now) -> list[Entry]:
        """Return what this leader begins next: attempts that it owes, then new calls."""
        entries = list(islice(_within(room_bytes, self._attempts(now)), room)) if self._unattended else []
        free = self._runs.room - sum(isinstance(entry, Intent) for entry in entries)
        room_bytes -= sum(payload_bytes(entry) for entry in entries)
        admitted = self._requests.admit(min(free, room - len(entries)), room_bytes, self._runs.lanes)
        entries += (self._intent(call, spec, 1, now) for call, spec in admitted)
        return entries

    def _stands(self, now: Now) -> bool:
        leader = self.ledger.leader
        return not self.draining and (leader is None or self._presence.gone(leader.node, now.s))

    def _attempts(self, now: Now) -> Iterator[Entry]:
        """Yield the next attempts of unattended calls for which that is harmless."""
        room, leads_s = self._runs.room, now.s - self._leads_since_s
        for record in self._owed(once=False):
            gone = self._presence.gone(record.executor, now.s)
            if gone or record.executor == self.identity.node or leads_s >= self.limits.patience_s:
                if record.attempt >= self.limits.attempts_max:
                    yield self._runs.give_up(record, now)
                elif room > 0 and record.lane not in self._runs.lanes:
                    room -= 1
                    yield self._intent(record.call, record.spec, record.attempt + 1, now)

    def _ask_hooks(self, now: Now) -> None:
        """Ask after unattended once calls whose executor is gone, when a late outcome has had its time."""
        if not self._unattended or self.draining or now.s - self._leads_since_s < self.limits.grace_s:
            return
        for record in self._owed(once=True):
            if self._presence.gone(record.executor, now.s):
                self._unattended.discard(record.id)
                self._runs.ask_after(record)

    def _owed(self, *, once: bool) -> list[Record]:
        """Return the unattended calls of once tools, or of all others, oldest first."""
        records = (self.ledger.open[call] for call in self._unattended)
        return sorted((it for it in records if (it.effect is Effect.ONCE) is once), key=lambda it: it.execution_id)

    def _intent(self, call: Call, spec: Spec, attempt: int, now: Now) -> Intent:
        return Intent(
            call=call,
            effect=spec.effect,
            timeout_s=spec.timeout_s,
            lane=spec.lane,
            term=self.ledger.totals.term,
            attempt=attempt,
            executor=self.identity.node,
            at_ms=now.ms,
        )


def _beginning(entries: tuple[Entry, ...]) -> Mapping[CallId, None]:
    """Return the calls that begin with `entries`, in order."""
    return {entry.call.id: None for entry in entries if isinstance(entry, Intent) and entry.attempt == 1}


def _within(room_bytes: int, entries: Iterator[Entry]) -> Iterator[Entry]:
    """Yield entries as long as their payloads fit together; the first in any case."""
    for count, entry in enumerate(entries):
        room_bytes -= payload_bytes(entry)
        if count and room_bytes < 0:
            return
        yield entry
