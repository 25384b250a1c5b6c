"""The replica: this node's own durable copy of the ledger, a SQLite file that plain SQL can read.

It is the archive that the ledger folds into, and the snapshot from which a restart goes on. It is no source
of truth: what it lacks is folded again from the log, so its commits need no fsync, only to be whole.
One process writes it; audit queries read it through connections of their own.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from semel.core.call import CallId, Effect, NodeId, Record, Status
from semel.core.entry import Outcome
from semel.core.ledger import Totals
from semel.disk import sync
from semel.errors import ReplicaError
from semel.rows import Insert

APPLICATION_ID = 0x53454D52
"""`SEMR` in the file's header tells a replica from any other SQLite file."""
FORMAT = 2
"""2 has the rounds of calls. What is older is refused: it can be made anew, and there is no release that wrote it."""
WAL_KEPT_BYTES = 16 * 2**20
"""The write-ahead file is cut to this size when it begins anew: an installed snapshot goes through it as a whole, and
would hold as much of the disk again for as long as the node runs."""

_SCHEMA = """
CREATE TABLE calls (
    execution_id INTEGER PRIMARY KEY, caller TEXT NOT NULL, key TEXT NOT NULL, round INTEGER NOT NULL,
    tool TEXT NOT NULL, arguments TEXT, meta TEXT NOT NULL, answers TEXT, digest TEXT NOT NULL, request TEXT NOT NULL,
    client TEXT NOT NULL, effect TEXT NOT NULL, timeout_s REAL NOT NULL, lane TEXT, intents TEXT NOT NULL,
    position INTEGER NOT NULL, term INTEGER NOT NULL, attempt INTEGER NOT NULL, executor TEXT NOT NULL,
    incarnation TEXT NOT NULL, outcome TEXT NOT NULL, timestamp_ms INTEGER NOT NULL, clock_ms INTEGER NOT NULL,
    result TEXT, duration_ms REAL, reason TEXT, forgotten INTEGER NOT NULL, reconciled INTEGER NOT NULL
);
CREATE UNIQUE INDEX calls_by_key ON calls (caller, key, round);
CREATE INDEX calls_by_tool ON calls (tool, execution_id);
CREATE INDEX calls_by_time ON calls (timestamp_ms);
CREATE INDEX calls_by_clock ON calls (clock_ms) WHERE NOT forgotten;
CREATE INDEX calls_forgotten ON calls (clock_ms) WHERE forgotten;
CREATE UNIQUE INDEX calls_by_position ON calls (position);
CREATE INDEX calls_not_ok ON calls (outcome, execution_id) WHERE outcome <> 'ok';
CREATE TABLE evidence (
    position INTEGER PRIMARY KEY, intent INTEGER NOT NULL, outcome TEXT NOT NULL, result TEXT NOT NULL,
    executor TEXT NOT NULL, timestamp_ms INTEGER NOT NULL
);
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), totals TEXT NOT NULL, last_entry TEXT NOT NULL);
"""

COLUMNS = (
    "execution_id, caller, key, round, tool, arguments, meta, answers, digest, request, client, effect, timeout_s, "
    "lane, intents, position, term, attempt, executor, incarnation, outcome, timestamp_ms, clock_ms, result, "
    "duration_ms, reason, forgotten, reconciled"
)

_KEEP = Insert(
    f"calls ({COLUMNS})",
    values=28,
    ending="""
ON CONFLICT (execution_id) DO UPDATE SET intents = excluded.intents, position = excluded.position,
    term = excluded.term, attempt = excluded.attempt, executor = excluded.executor,
    incarnation = excluded.incarnation, outcome = excluded.outcome, clock_ms = excluded.clock_ms,
    result = excluded.result, duration_ms = excluded.duration_ms, reason = excluded.reason,
    reconciled = excluded.reconciled
""",
)

_FIND = f"SELECT {COLUMNS} FROM calls WHERE caller = ? AND key = ? AND round = ?"

UNWRITTEN_MAX = 1024
UNWRITTEN_BYTES_MAX = 4 * 2**20
"""So many records, and bytes of payloads, may be in memory alone before they must be committed."""

_LOOK_UP = {
    number: " UNION ALL ".join(
        f"SELECT {each} FROM calls WHERE caller = ? AND key = ? AND round = ?" for each in range(number)
    )
    for number in (4, 16, 64)
}
"""Tells which of so many calls are there, by their number; one statement for all of them, as in `rows.py`."""

_ABSENT_MAX = 4096
"""So many calls that are not there are remembered as such."""

_LATER_OPEN_OR_YOUNG = """
SELECT 1 FROM calls AS later WHERE later.caller = calls.caller AND later.key = calls.key AND later.round > calls.round
    AND (later.outcome IN ('running', 'in_doubt') OR later.clock_ms >= :before_ms)
"""


def check_format(path: Path, version: int) -> None:
    """Raise a ReplicaError if the replica, snapshot or backup at `path` is of a format that this semel cannot read."""
    if version > FORMAT:
        raise ReplicaError(f"{path} has format {version}, newer than {FORMAT}: upgrade semel on this node")
    if version < FORMAT:
        raise ReplicaError(
            f"{path} has format {version}, older than {FORMAT}, and was not touched: a node's replica may be moved "
            "away, and is made anew from the log or a peer's"
        )


def digest_of_entry(data: bytes) -> str:
    """Return the mark by which an entry of the log is known again."""
    return hashlib.sha256(data).hexdigest()


class _Guard:
    """A context in which what SQLite finds wrong is told as a ReplicaError; made once, for it is entered often."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.DatabaseError):
            raise ReplicaError(
                f"this node's replica {self._path} cannot be used: {error}. Nothing is lost: mend the disk, or "
                "move the replica away, and it is made anew from the log or a peer's; then start the node again"
            ) from error


class Replica:
    """An archive on disk. Use it from one thread; `commit` makes all that was kept since one step.

    Until then it is kept in memory: a call that has begun and ended meanwhile is written once.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the replica at `path`, whose folder exists.

        Raises:
            ReplicaError: it is damaged, foreign or newer, or cannot be written.
        """
        self.path = path
        self.kept: Callable[[CallId], None] = lambda _call: None
        """Is told which call has come to stand otherwise."""
        self._guard = _Guard(path)
        self._unwritten: dict[CallId, Record] = {}
        """What is not in the file yet."""
        self._unwritten_bytes = 0
        self._absent: set[CallId] = set()
        """Calls that were looked for in vain, and have not been kept since."""
        with self._guard:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        connection = self._connection
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and application != APPLICATION_ID:
            raise ReplicaError(f"{self.path} is not a replica of semel: move it away; it was not touched")
        if tables:
            check_format(self.path, version)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        if not tables:
            header = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
            connection.executescript(f"BEGIN; {_SCHEMA} {header} COMMIT;")
        connection.execute("BEGIN")

    def totals(self) -> Totals | None:
        """Return the totals of the last commit, or None if there was none."""
        with self._guard:
            row = self._connection.execute("SELECT totals FROM state").fetchone()
        return msgspec.json.decode(row[0], type=Totals) if row else None

    def last_entry(self) -> str:
        """Return the digest of the last entry that was folded at the last commit; "" if there was none."""
        with self._guard:
            row = self._connection.execute("SELECT last_entry FROM state").fetchone()
        return row[0] if row else ""

    def commit(self, totals: Totals, last_entry: str) -> None:
        """Make everything kept since the last commit, and `totals`, one whole step.

        `last_entry` is the digest of the entry at `totals.position`.
        """
        with self._guard:
            self._write()
            encoded = msgspec.json.encode(totals).decode()
            self._connection.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", (encoded, last_entry))
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN")

    @property
    def full(self) -> bool:
        """True if so much is in memory alone that it is time to commit."""
        return len(self._unwritten) >= UNWRITTEN_MAX or self._unwritten_bytes >= UNWRITTEN_BYTES_MAX

    def _write(self) -> None:
        _KEEP.write(self._connection, map(_row_of, self._unwritten.values()))
        self._unwritten.clear()
        self._unwritten_bytes = 0

    def sync(self) -> None:
        """Make durable what was committed before; from any thread.

        A commit is written to the write-ahead file and not fsynced. SQLite fsyncs that file itself before it moves
        what is in it, so this is all that is missing; and the folder, for the files' names.
        """
        try:
            sync(self.path.with_name(f"{self.path.name}-wal"))
            sync(self.path.parent)
        except OSError as error:
            raise ReplicaError(f"this node's replica {self.path} cannot be made durable: {error.strerror}") from error

    def install(self, snapshot: Path) -> None:
        """Hold what a peer's snapshot holds, and nothing else, in one whole step; who reads meanwhile is not disturbed.

        The totals of the snapshot are the last commit from now on.
        """
        with self._guard:
            self._unwritten.clear()
            self._unwritten_bytes = 0
            self._absent.clear()
            self._connection.execute("ROLLBACK")
            with closing(sqlite3.connect(snapshot)) as source:
                source.backup(self._connection)
            self._connection.execute("BEGIN")

    def close(self) -> None:
        """Close the file; what was not committed is folded again at the next start."""
        self._connection.close()

    # The archive.

    def find(self, call: CallId) -> Record | None:
        """Return the record of a call, if it is remembered."""
        if (unwritten := self._unwritten.get(call)) is not None:
            return unwritten
        if call in self._absent:  # a new call is looked for as it comes, and once more as it begins
            return None
        with self._guard:
            row = self._connection.execute(_FIND, (call.caller, call.key, call.round)).fetchone()
        if row:
            return record_of(row)
        self._note_absent([call])
        return None

    def look_up(self, calls: Iterable[CallId]) -> None:
        """Look for several calls together, so that `find` need not ask the file for each that is new."""
        asked = list({call for call in calls if call not in self._unwritten and call not in self._absent})
        most = max(_LOOK_UP)
        for start in range(0, len(asked), most):
            some = asked[start : start + most]
            number = next(number for number in _LOOK_UP if number >= len(some))
            padded = some + some[-1:] * (number - len(some))
            with self._guard:
                rows = self._connection.execute(
                    _LOOK_UP[number], [part for call in padded for part in (call.caller, call.key, call.round)]
                ).fetchall()
            there = {padded[each] for (each,) in rows}
            self._note_absent([call for call in some if call not in there])

    def _note_absent(self, calls: Sequence[CallId]) -> None:
        if len(self._absent) + len(calls) > _ABSENT_MAX:
            self._absent.clear()
        self._absent.update(calls)

    def keep(self, record: Record) -> None:
        """Remember a record in place of an earlier one of the same call."""
        self._absent.discard(record.id)
        self._unwritten[record.id] = record
        self._unwritten_bytes += len(record.arguments) + len(record.result or b"")
        self.kept(record.id)

    def keep_evidence(self, position: int, outcome: Outcome) -> None:
        """Remember an outcome that came too late to stand."""
        row = (
            position,
            outcome.intent,
            outcome.status.value,
            _text(outcome.result),
            str(outcome.executor),
            outcome.at_ms,
        )
        with self._guard:
            self._connection.execute("INSERT OR REPLACE INTO evidence VALUES (?,?,?,?,?,?)", row)

    def forget(self, results_before_ms: int, keys_before_ms: int) -> None:
        """Of calls that ended before the one time on the log's clock drop the payloads, before the other all.

        A call ended when its last round did.
        """
        ended = f"outcome NOT IN ('running', 'in_doubt') AND NOT EXISTS ({_LATER_OPEN_OR_YOUNG})"
        with self._guard:
            self._write()
            before_ms = max(results_before_ms, keys_before_ms)
            self._connection.execute(
                "UPDATE calls SET arguments = 'null', meta = '{}', answers = NULL, result = NULL, forgotten = 1 "
                f"WHERE clock_ms < :before_ms AND NOT forgotten AND {ended}",
                {"before_ms": before_ms},
            )
            self._connection.execute(
                f"DELETE FROM calls WHERE clock_ms < :before_ms AND forgotten AND {ended}",
                {"before_ms": keys_before_ms},
            )

    def open_records(self) -> list[Record]:
        """Return the records of all calls without an outcome."""
        query = f"SELECT {COLUMNS} FROM calls WHERE outcome <> 'ok' AND outcome IN ('running', 'in_doubt')"
        with self._guard:
            self._write()
            return [record_of(row) for row in self._connection.execute(query)]


def _row_of(record: Record) -> tuple[Any, ...]:
    return (
        record.execution_id,
        record.id.caller,
        record.id.key,
        record.id.round,
        record.tool,
        _text(record.arguments),
        _text(record.meta),
        None if record.answers is None else _text(record.answers),
        record.digest,
        record.request,
        record.client,
        record.effect.value,
        record.timeout_s,
        record.lane,
        msgspec.json.encode(record.intents).decode(),
        record.position,
        record.term,
        record.attempt,
        record.executor.name,
        record.executor.incarnation,
        record.status.value,
        record.timestamp_ms,
        record.clock_ms,
        None if record.result is None else _text(record.result),
        record.duration_ms,
        record.reason,
        record.forgotten,
        record.reconciled,
    )


def _text(payload: msgspec.Raw) -> str:
    """Return JSON as a string, copied once: it may be long."""
    return str(payload, "utf-8")


def record_of(row: tuple[Any, ...]) -> Record:
    """Return the record that a row of `COLUMNS` holds."""
    (
        execution_id, caller, key, round_, tool, arguments, meta, answers, digest, request, client, effect, timeout_s,
        lane, intents, position, term, attempt, executor, incarnation, outcome, timestamp_ms, clock_ms, result,
        duration_ms, reason, forgotten, reconciled,
    ) = row  # fmt: skip
    return Record(
        id=CallId(caller, key, round_),
        tool=tool,
        arguments=msgspec.Raw(arguments.encode()),
        meta=msgspec.Raw(meta.encode()),
        answers=None if answers is None else msgspec.Raw(answers.encode()),
        digest=digest,
        request=request,
        client=client,
        effect=Effect(effect),
        timeout_s=timeout_s,
        lane=lane,
        execution_id=execution_id,
        intents=tuple(json.loads(intents)),
        position=position,
        term=term,
        attempt=attempt,
        executor=NodeId(executor, incarnation),
        status=Status(outcome),
        timestamp_ms=timestamp_ms,
        clock_ms=clock_ms,
        result=None if result is None else msgspec.Raw(result.encode()),
        duration_ms=duration_ms,
        reason=reason,
        forgotten=bool(forgotten),
        reconciled=bool(reconciled),
    )
