"""Audit queries over a replica: which calls, in which order, as one JSON object each.

Reads through a connection of its own that cannot write, so that a query disturbs no call. Knows the replica's
table and the shape that `semel audit --json` promises; knows nothing of the running node.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from semel.answer import plain_value
from semel.core.call import Record
from semel.node.replica import COLUMNS, record_of

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
    """Yield the calls in the order in which they began, as of the moment when the first is taken.

    With `upto`, calls that came to stand as they do past that log position are left out: they are news.
    """
    where, values = _where(wanted)
    if upto is not None:
        where, values = f"{where} AND position <= ?", [*values, upto]
    with closing(_connect(path)) as connection:
        (last,) = connection.execute("SELECT coalesce(max(execution_id), 0) FROM calls").fetchone()
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
                yield as_json(record_of(row))
            after = rows[-1][0]


def news(path: Path, wanted: Filter, after: int) -> tuple[list[dict[str, Any]], int]:
    """Return up to a page of calls that came to an outcome or into doubt past a log position, and how far that is.

    How far does not depend on what is wanted, so that asking for what is rare does not read the same calls again.
    """
    where, values = _where(wanted)
    query = (
        f"SELECT {COLUMNS} FROM calls WHERE {where} AND outcome <> 'running' AND position > ? "
        f"ORDER BY position LIMIT {PAGE_ROWS}"
    )
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN")
        (last,) = connection.execute("SELECT max(position) FROM calls").fetchone()
        records = [record_of(row) for row in connection.execute(query, (*values, after))]
    reached = records[-1].position if len(records) == PAGE_ROWS else max(after, last or 0)
    return [as_json(record) for record in records], reached


def as_json(record: Record) -> dict[str, Any]:
    """Return a call's record in the shape that `semel audit --json` promises."""
    answer = None if record.result is None else json.loads(bytes(record.result))
    return {
        "execution_id": record.execution_id,
        "position": record.position,
        "key": record.id.key,
        "caller": record.id.caller,
        "tool": record.tool,
        "arguments": json.loads(bytes(record.arguments)),
        "outcome": record.status.value,
        "result": None if answer is None else plain_value(answer),
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
        "arguments_digest": record.digest,
        "forgotten": record.forgotten,
        "answer": answer,
    }


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)


def _where(wanted: Filter) -> tuple[str, list[Any]]:
    columns = {"tool": "tool", "caller": "caller", "key": "key", "node": "executor", "outcome": "outcome"}
    given = [(column, getattr(wanted, name)) for name, column in columns.items() if getattr(wanted, name) is not None]
    terms, values = [f"{column} = ?" for column, _ in given], [value for _, value in given]
    if wanted.outcome is not None and wanted.outcome != "ok":
        terms.append("outcome <> 'ok'")  # lets SQLite use the index of those
    if wanted.since_ms is not None:
        terms.append("timestamp_ms >= ?")
        values.append(wanted.since_ms)
    return " AND ".join(terms) or "TRUE", values
