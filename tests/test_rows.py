"""Rows that are written by few statements are there as if each had one of its own."""

import sqlite3

import pytest

from semel.rows import Insert


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5, 15, 16, 17, 40, 1000])
def test_all_rows_are_there_in_their_order(number: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE told (name TEXT, bytes BLOB)")
    rows = [(f"name {each}", b"%d" % each) for each in range(number)]
    Insert("told", values=2).write(connection, iter(rows))
    assert connection.execute("SELECT * FROM told ORDER BY rowid").fetchall() == rows
    connection.close()


def test_a_row_that_is_there_already_is_dealt_with_as_the_ending_says() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE told (name TEXT PRIMARY KEY, number INTEGER)")
    insert = Insert("told (number, name)", values=2, ending="ON CONFLICT (name) DO UPDATE SET number = excluded.number")
    insert.write(connection, [(each, f"name {each}") for each in range(30)])
    insert.write(connection, [(each + 100, f"name {each}") for each in range(10, 50)])
    expected = [(f"name {each}", each if each < 10 else each + 100) for each in range(50)]
    assert connection.execute("SELECT name, number FROM told ORDER BY rowid").fetchall() == expected
    connection.close()


def test_a_row_that_cannot_be_written_is_an_error() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE told (name TEXT PRIMARY KEY)")
    with pytest.raises(sqlite3.IntegrityError):
        Insert("told", values=1).write(connection, [("same",), ("same",)])
    connection.close()
