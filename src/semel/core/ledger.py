"""The ledger: what the entries add up to; the replicated state machine, one fold over the log.

Every node folds the same entries in the same order into the same state, by rules that look at nothing else:
no clock, no node's own name, no setting. Calls that are open are held here; calls that have ended are kept in
an archive (a replica's table, or a dict), which may hold any number of them.

The laws of the fold:

1. The first outcome of a call in log order stands; a later one is evidence and changes nothing.
2. An intent counts only in the reign of its executor; what a deposed leader wrote past its term is void.
3. A call of a once tool has one intent; a second one is void, whoever wrote it.
4. Doubt is a state and not an outcome: an outcome settles it, nothing else does.
5. A key is forgotten by the log's own clock alone, which no single wall clock can make jump; the rounds of a call are
   forgotten together, when the last of them is old enough.
6. A round after the first begins only if the one before it asked for input, of the same tool and arguments, and gave
   the `requestState` that it brings; whatever else would begin it is void.
"""

from collections.abc import Iterable
from typing import Any, Protocol, assert_never

import msgspec
from msgspec.structs import replace

from semel.core.call import NO_META, Call, CallId, Effect, NodeId, Record, Status
from semel.core.entry import Doubted, Elected, Entry, Forgot, Founded, Intent, Outcome, Read, Resigned, Restored
from semel.core.rounds import obstacle


class Archive(Protocol):
    """Remembers the record of every call, by call and for ever, until told to forget."""

    def find(self, call: CallId) -> Record | None:
        """Return the record of a call, if it is remembered."""
        ...

    def keep(self, record: Record) -> None:
        """Remember a record in place of an earlier one of the same call."""
        ...

    def keep_evidence(self, position: int, outcome: Outcome) -> None:
        """Remember an outcome that came too late to stand."""
        ...

    def forget(self, results_before_ms: int, keys_before_ms: int) -> None:
        """Of calls that ended before the one time on the log's clock drop the payloads, before the other all.

        A call ended when its last round did.
        """
        ...

    def open_records(self) -> Iterable[Record]:
        """Return the records of all calls without an outcome."""
        ...


class Leader(msgspec.Struct, frozen=True):
    """Who leads, where its peers reach it, and since which position."""

    node: NodeId
    url: str
    position: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger without its calls; with an archive, a whole snapshot."""

    position: int = 0
    clock_ms: int = 0
    """The log's own clock: set by the first election, moved on by entries that say so, never turned back."""
    cluster: str = ""
    cluster_id: str = ""
    term: int = 0
    leader: Leader | None = None
    calls: int = 0
    rounds: int = 0
    """How many calls and further rounds of calls have begun; as many as there are execution ids."""
    executions_by_node: dict[str, int] = {}


class Ledger:
    """The state after the entry at `totals.position`."""

    def __init__(self, archive: Archive, totals: Totals | None = None) -> None:
        """Start empty, or from a snapshot: its totals and the archive that was written with them."""
        self._archive = archive
        self.totals = Totals()
        self.open: dict[CallId, Record] = {}
        self._by_intent: dict[int, CallId] = {}
        if totals is not None:
            self.install(totals)

    def install(self, totals: Totals) -> None:
        """Go on from a snapshot that has been put into the archive, with these totals, in place of all before."""
        assert totals.position >= self.position, f"a snapshot of {totals.position} after {self.position}"
        self.totals = totals
        self.open.clear()
        self._by_intent.clear()
        for record in self._archive.open_records():
            self._hold(record)

    @property
    def position(self) -> int:
        """The last position that was folded."""
        return self.totals.position

    @property
    def leader(self) -> Leader | None:
        """Who leads in the current term, if anybody."""
        return self.totals.leader

    def find(self, call: CallId) -> Record | None:
        """Return all that is known of a call."""
        return self.open.get(call) or self._archive.find(call)

    def apply(self, position: int, entry: Entry) -> Record | None:
        """Fold the entry at `position`, the next one; return the record of the call that it changed, if any."""
        assert position == self.position + 1, f"position {position} after {self.position}"
        self.totals = replace(self.totals, position=position)
        match entry:
            case Founded():
                if position == 1:
                    self.totals = replace(self.totals, cluster=entry.cluster, cluster_id=entry.id)
            case Elected():
                if entry.term > self.totals.term:
                    leader, clock_ms = Leader(entry.node, entry.url, position), self.totals.clock_ms or entry.at_ms
                    self.totals = replace(self.totals, term=entry.term, leader=leader, clock_ms=clock_ms)
            case Resigned():
                if self._reigns(entry.node, entry.term):
                    self.totals = replace(self.totals, leader=None)
            case Intent():
                return self._begin(position, entry)
            case Outcome():
                return self._settle(position, entry)
            case Read():
                return self._read(position, entry)
            case Doubted():
                return self._doubt(position, entry)
            case Forgot():
                self._forget(entry)
            case Restored():
                self.totals = replace(self.totals, leader=None)
            case _:
                assert_never(entry)
        return None

    def _reigns(self, node: NodeId, term: int) -> bool:
        leader = self.totals.leader
        return leader is not None and leader.node == node and self.totals.term == term

    def _begin(self, position: int, entry: Intent) -> Record | None:
        if not self._reigns(entry.executor, entry.term):
            return None
        known = self.find(entry.call.id)
        if known is None:
            if not self._may_begin(entry.call):
                return None
            record = _record(
                entry,
                effect=entry.effect,
                lane=entry.lane,
                execution_id=self._count(entry, first_attempt=True),
                intents=(position,),
                position=position,
                status=Status.RUNNING,
                timestamp_ms=entry.at_ms,
                clock_ms=self.totals.clock_ms,
            )
            return self._keep(record)
        if known.status is not Status.RUNNING or known.effect is Effect.ONCE:
            return None
        self._count(entry, first_attempt=False)
        return self._keep(
            replace(
                known,
                intents=(*known.intents, position),
                position=position,
                term=entry.term,
                attempt=known.attempt + 1,
                executor=entry.executor,
            )
        )

    def _settle(self, position: int, entry: Outcome) -> Record | None:
        call = self._by_intent.get(entry.intent)
        if call is None:
            self._archive.keep_evidence(position, entry)
            return None
        record = self.open.pop(call)
        for intent in record.intents:
            del self._by_intent[intent]
        settled = replace(
            record,
            position=position,
            clock_ms=self.totals.clock_ms,
            executor=record.executor if entry.reconciled else entry.executor,
            status=entry.status,
            result=entry.result,
            duration_ms=entry.duration_ms,
            reconciled=entry.reconciled,
        )
        self._archive.keep(settled)
        return settled

    def _read(self, position: int, entry: Read) -> Record | None:
        if self.find(entry.call.id) is not None or not self._may_begin(entry.call):
            return None
        record = replace(
            unlogged(entry),
            position=position,
            execution_id=self._count(entry, first_attempt=True),
            clock_ms=self.totals.clock_ms,
        )
        self._archive.keep(record)
        return record

    def _doubt(self, position: int, entry: Doubted) -> Record | None:
        call = self._by_intent.get(entry.intent)
        record = self.open[call] if call is not None else None
        if record is None or record.intents[-1] != entry.intent or record.status is not Status.RUNNING:
            return None
        return self._keep(replace(record, position=position, status=Status.IN_DOUBT, reason=entry.reason))

    def _keep(self, record: Record) -> Record:
        self._hold(record)
        self._archive.keep(record)
        return record

    def _hold(self, record: Record) -> None:
        self.open[record.id] = record
        for intent in record.intents:
            self._by_intent[intent] = record.id

    def _forget(self, entry: Forgot) -> None:
        clock_ms = max(self.totals.clock_ms, min(entry.at_ms, self.totals.clock_ms + entry.step_ms))
        self.totals = replace(self.totals, clock_ms=clock_ms)
        self._archive.forget(clock_ms - entry.result_retention_ms, clock_ms - entry.key_retention_ms)

    def _may_begin(self, call: Call) -> bool:
        """Return whether a call that is not known may begin: any first round may."""
        return obstacle(call, self.find) is None

    def _count(self, entry: Intent | Read, *, first_attempt: bool) -> int:
        by_node, name = self.totals.executions_by_node, entry.executor.name
        self.totals = replace(
            self.totals,
            calls=self.totals.calls + (first_attempt and entry.call.id.round == 1),
            rounds=self.totals.rounds + first_attempt,
            executions_by_node={**by_node, name: by_node.get(name, 0) + 1},
        )
        return self.totals.rounds


def unlogged(entry: Read) -> Record:
    """Return the record of a read that has ended and is not in the log yet: at position 0, and of no number."""
    return _record(
        entry,
        effect=Effect.READ,
        lane=None,
        execution_id=0,
        intents=(),
        position=0,
        status=entry.status,
        timestamp_ms=entry.at_ms - int(entry.duration_ms),
        clock_ms=0,
        result=entry.result,
        duration_ms=entry.duration_ms,
    )


def _record(entry: Intent | Read, **standing: Any) -> Record:
    """Return the record of a call that begins with `entry` and stands as told."""
    call = entry.call
    return Record(
        id=call.id,
        tool=call.tool,
        arguments=call.arguments,
        digest=call.digest,
        request=call.request,
        client=call.client,
        meta=call.meta,
        answers=call.answers,
        timeout_s=entry.timeout_s,
        term=entry.term,
        attempt=1,
        executor=entry.executor,
        **standing,
    )


def without_payloads(record: Record) -> Record:
    """Return what is kept of a call whose result is forgotten: that it was, and how it ended."""
    return replace(record, arguments=msgspec.Raw(b"null"), result=None, meta=NO_META, answers=None, forgotten=True)


class DictArchive:
    """An archive in memory, for tests and for a node without a disk."""

    def __init__(self) -> None:
        self.records: dict[CallId, Record] = {}
        self.evidence: dict[int, Outcome] = {}

    def find(self, call: CallId) -> Record | None:
        """Return the record of a call, if it is remembered."""
        return self.records.get(call)

    def keep(self, record: Record) -> None:
        """Remember a record in place of an earlier one of the same call."""
        self.records[record.id] = record

    def keep_evidence(self, position: int, outcome: Outcome) -> None:
        """Remember an outcome that came too late to stand."""
        self.evidence[position] = outcome

    def forget(self, results_before_ms: int, keys_before_ms: int) -> None:
        """Of calls that ended before the one time on the log's clock drop the payloads, before the other all."""
        last: dict[tuple[str, str], Record] = {}
        for record in self.records.values():
            whose = record.id.caller, record.id.key
            last[whose] = max(last.get(whose, record), record, key=lambda it: it.id.round)
        for record in list(self.records.values()):
            end = last[record.id.caller, record.id.key]
            if not end.status.final:
                continue
            if end.clock_ms < keys_before_ms:
                del self.records[record.id]
            elif end.clock_ms < results_before_ms and not record.forgotten:
                self.records[record.id] = without_payloads(record)

    def open_records(self) -> list[Record]:
        """Return the records of all calls without an outcome."""
        return [record for record in self.records.values() if not record.status.final]
