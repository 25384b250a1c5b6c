"""Audit queries over a replica: which calls, in which order, as one JSON object each, with all its rounds.

Reads through a connection of its own that cannot write, so that a query disturbs no call. Knows the replica's
table and the shape that `semel audit --json` promises; knows nothing of the running node.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from semel.answer import plain_value
from semel.core.call import Record, Status, arguments_digest
from semel.node.replica import COLUMNS, record_of

_SUPERSEDED = """(outcome = 'input_required' AND EXISTS (
    SELECT 1 FROM calls AS later WHERE later.caller = calls.caller AND later.key = calls.key
        AND later.round > calls.round AND later.execution_id <= ?))"""
"""True of a round that is not the last of its call, up to an execution id; only what asked for input can be one."""

PAGE_ROWS = 500
"""Rows read at once; a page of ordinary calls is a few hundred kilobytes."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls are asked for; what is None does not matter. `since_ms` is a wall clock time."""

    tool: str | None = None
    caller: str | None = None
    key: str | None = None
    node: str | None = None
    outcome: str | None = None
    since_ms: int | None = None
    limit: int | None = None
    """The newest so many, oldest of them first."""


def history(path: Path, wanted: Filter, *, upto: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the calls in the order in which they, or their last rounds, began, as of the taking of the first one.

    With `upto`, calls that came to stand as they do past that log position are left out: they are news.
    """
    with closing(_connect(path)) as connection:
        (last,) = connection.execute("SELECT coalesce(max(execution_id), 0) FROM calls").fetchone()
        where, values = _where(wanted, last)
        if upto is not None:
            where, values = f"{where} AND position <= ?", [*values, upto]
        after = 0
        if wanted.limit is not None:
            newest = f"SELECT execution_id FROM calls WHERE {where} ORDER BY execution_id DESC LIMIT ?"
            oldest = f"SELECT coalesce(min(execution_id), ? + 1) FROM ({newest})"
            after = connection.execute(oldest, (last, *values, wanted.limit)).fetchone()[0] - 1
        query = (
            f"SELECT {COLUMNS} FROM calls WHERE {where} AND execution_id > ? AND execution_id <= ? "
            f"ORDER BY execution_id LIMIT {PAGE_ROWS}"
        )
        while rows := connection.execute(query, (*values, after, last)).fetchall():
            for row in rows:
                record = record_of(row)
                yield as_json(record, _rounds_before(connection, record))
            after = rows[-1][0]


def news(path: Path, wanted: Filter, after: int) -> tuple[list[dict[str, Any]], int]:
    """Return up to a page of calls that came to an outcome or into doubt past a log position, and how far that is.

    How far does not depend on what is wanted, so that asking for what is rare does not read the same calls again.
    """
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN")
        last, newest = connection.execute("SELECT max(position), max(execution_id) FROM calls").fetchone()
        where, values = _where(wanted, newest)
        query = (
            f"SELECT {COLUMNS} FROM calls WHERE {where} AND outcome <> 'running' AND position > ? "
            f"ORDER BY position LIMIT {PAGE_ROWS}"
        )
        records = [record_of(row) for row in connection.execute(query, (*values, after))]
        rows = [as_json(record, _rounds_before(connection, record)) for record in records]
    return rows, records[-1].position if len(records) == PAGE_ROWS else max(after, last or 0)


def as_json(record: Record, before: list[Record]) -> dict[str, Any]:
    """Return a call in the shape that `semel audit --json` promises, from its last round and those before."""
    answer = _value(record.result)
    asks = record.status is Status.INPUT_REQUIRED
    return {
        "execution_id": record.execution_id,
        "position": record.position,
        "key": record.id.key,
        "caller": record.id.caller,
        "tool": record.tool,
        "arguments": json.loads(bytes(record.arguments)),
        "outcome": record.status.value,
        "result": None if answer is None or asks else plain_value(answer),
        "timestamp_ms": record.timestamp_ms,
        "duration_ms": record.duration_ms,
        "executor": record.executor.name,
        "term": record.term,
        "attempt": record.attempt,
        "effect": record.effect.value,
        "client": record.client,
        "reason": record.reason,
        "intents": list(record.intents),
        "incarnation": record.executor.incarnation,
        "reconciled": record.reconciled,
        "arguments_digest": arguments_digest(record.digest),
        "forgotten": record.forgotten,
        "answer": answer,
        "meta": json.loads(bytes(record.meta)),
        "rounds": record.id.round,
        "earlier_rounds": [_round(one, following) for one, following in pairwise([*before, record])],
    }


def _round(record: Record, following: Record) -> dict[str, Any]:
    """Return a round that asked for input, and what the following one brought."""
    return {
        "round": record.id.round,
        "execution_id": record.execution_id,
        "position": record.position,
        "outcome": record.status.value,
        "asked": _value(record.result),
        "answered": _value(following.answers),
        "timestamp_ms": record.timestamp_ms,
        "duration_ms": record.duration_ms,
        "executor": record.executor.name,
        "term": record.term,
        "attempt": record.attempt,
        "client": record.client,
        "intents": list(record.intents),
        "incarnation": record.executor.incarnation,
        "meta": json.loads(bytes(record.meta)),
    }


def _value(given: msgspec.Raw | None) -> Any:
    return None if given is None else json.loads(bytes(given))


def _rounds_before(connection: sqlite3.Connection, record: Record) -> list[Record]:
    """Return the rounds of a call before its last, in order."""
    if record.id.round == 1:
        return []
    query = f"SELECT {COLUMNS} FROM calls WHERE caller = ? AND key = ? AND round < ? ORDER BY round"
    rows = connection.execute(query, (record.id.caller, record.id.key, record.id.round))
    return [record_of(row) for row in rows]


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)


def _where(wanted: Filter, last: int) -> tuple[str, list[Any]]:
    """Return the condition for the calls that are wanted, each by its last round up to an execution id."""
    columns = {"tool": "tool", "caller": "caller", "key": "key", "node": "executor", "outcome": "outcome"}
    given = [(column, getattr(wanted, name)) for name, column in columns.items() if getattr(wanted, name) is not None]
    terms, values = [f"{column} = ?" for column, _ in given], [value for _, value in given]
    if wanted.outcome is not None and wanted.outcome != "ok":
        terms.append("outcome <> 'ok'")  # lets SQLite use the index of those
    if wanted.since_ms is not None:
        terms.append("timestamp_ms >= ?")
        values.append(wanted.since_ms)
    return " AND ".join([*terms, f"NOT {_SUPERSEDED}"]), [*values, last]
