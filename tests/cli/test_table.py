from rich.cells import cell_len

from semel.cli.table import Column, compact, field, printable, shorten, table


def test_columns_are_as_wide_as_they_need_to_be_and_no_wider_than_they_may() -> None:
    columns = (field("name", width_max=6), Column(name="n", show=lambda row: str(row["n"]), right=True))
    rows = [{"name": "ab", "n": 1}, {"name": "abcdefgh", "n": 100}, {"name": None, "n": 7}]
    assert [line.plain for line in table(columns, rows, None)] == [
        "name      n",
        "ab        1",
        "abcde…  100",
        "          7",
    ]


def test_wide_characters_count_as_the_terminal_counts_them() -> None:
    lines = [
        line.plain for line in table((field("a"), field("b")), [{"a": "漢字", "b": "x"}, {"a": "ab", "b": "y"}], None)
    ]
    assert [cell_len(line) for line in lines] == [7, 7, 7]
    assert cell_len(shorten("漢字漢字", 4)) <= 4


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert printable("a\tb\x00\u200b") == "a\\tb\\x00\\u200b"
    assert compact({"a": "\u202e"}) == '{"a": "\\u202e"}'
    assert compact("plain") == "plain"
    assert compact(5.0) == "5.0"
