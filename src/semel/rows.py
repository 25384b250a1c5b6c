"""Writes many rows to an SQLite table by few statements; it knows no table.

For each statement, and so for each row of an `executemany`, SQLite lets go of Python's lock. Other threads that wait
for it take it then, and a batch of rows costs its writer as many waits.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

_AT_ONCE = (16, 4, 1)
"""So many rows a statement; it must have fewer than 1000 values, SQLite's limit of old."""


class Insert:
    """`INSERT INTO table`, whose rows have so many values each; `ending` is what follows them."""

    def __init__(self, into: str, *, values: int, ending: str = "") -> None:
        row = f"({', '.join('?' * values)})"
        self._statements = {
            number: f"INSERT INTO {into} VALUES {', '.join([row] * number)} {ending}" for number in _AT_ONCE
        }

    def write(self, connection: sqlite3.Connection, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows, in order."""
        left = list(rows)
        for number, statement in self._statements.items():
            while len(left) >= number:
                connection.execute(statement, [*chain.from_iterable(left[:number])])
                del left[:number]
