"""Tables for people: plain columns, shortened to what the terminal holds, with nothing that could fool the eye.

Knows how text looks on a terminal; knows nothing of what it means.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

GAP = "  "

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, what it shows of a row, and how much room it may take.

    `width` is what it takes while the rows are not known, `width_max` the most that known rows make it take, and
    `width_min`, where there is one, what a narrow terminal may shorten it to. If that is not enough, columns are left
    out in the order of `rank`, greatest first; one of rank 0 always stays.
    """

    name: str
    show: Callable[[Row], str]
    style: Callable[[Row], str] = lambda _: ""
    width: int = 0
    width_min: int | None = None
    width_max: int = 40
    right: bool = False
    rank: int = 0

    @property
    def least(self) -> int:
        """The least width that it can do with."""
        return self.width if self.width_min is None else min(self.width, max(self.width_min, cell_len(self.name)))


def field(name: str, **options: Any) -> Column:
    """Return a column that shows one field of a row as it is."""
    return Column(name=name, show=lambda row: "" if row[name] is None else printable(str(row[name])), **options)


class Table:
    """Columns laid out for a width, so that rows can be printed as they come.

    `rows` are those that are known, or None; what does not fit the widths that follow is shortened.
    """

    def __init__(self, columns: Sequence[Column], rows: Sequence[Row] | None, width: int | None) -> None:
        self._columns = _fit([_laid_out(column, rows) for column in columns], width)
        self.left_out = [column.name for column in columns if column.name not in {c.name for c in self._columns}]
        """The names of the columns for which there was no room."""

    def header(self) -> Text:
        """Return the line of names."""
        return _line((column, column.name, "bold") for column in self._columns)

    def line(self, row: Row) -> Text:
        """Return one row."""
        return _line((column, column.show(row), column.style(row)) for column in self._columns)


def table(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Iterator[Text]:
    """Yield the header and the lines of a table whose rows are all known."""
    laid_out = Table(columns, rows, width)
    yield laid_out.header()
    yield from map(laid_out.line, rows)


def printable(text: str) -> str:
    """Return `text` with what cannot be seen spelled out, so that no value can write over the terminal."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def compact(value: Any) -> str:
    """Return a JSON value on one line: texts and numbers as they are, the rest as JSON."""
    if isinstance(value, str):
        return printable(value)
    return printable(json.dumps(value, ensure_ascii=False))


def shorten(text: str, width: int) -> str:
    """Return `text` cut to `width` terminal cells, with an ellipsis where it was cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


def _laid_out(column: Column, rows: Sequence[Row] | None) -> Column:
    """Return the column with the width that its name and its rows, where they are known, ask for."""
    widest = column.width if rows is None else max((cell_len(column.show(row)) for row in rows), default=0)
    return replace(column, width=max(min(widest, column.width_max), cell_len(column.name)))


def _fit(columns: list[Column], width: int | None) -> list[Column]:
    """Shorten columns to fit, and leave out those, greatest rank first, for which even that is not enough."""
    if width is None:
        return columns
    kept = list(columns)
    while (spare := width - sum(column.least + len(GAP) for column in kept) + len(GAP)) < 0:
        least = max(kept, key=lambda column: column.rank)
        if least.rank == 0:
            break
        kept.remove(least)
    widths: dict[str, int] = {}
    for column in sorted(kept, key=lambda column: column.rank):
        more = min(max(spare, 0), column.width - column.least)
        widths[column.name] = column.least + more
        spare -= more
    return [replace(column, width=widths[column.name]) for column in kept]


def _line(cells: Iterable[tuple[Column, str, str]]) -> Text:
    line = Text(no_wrap=True, overflow="ignore")
    for number, (column, text, style) in enumerate(cells):
        short = shorten(text, column.width)
        padding = " " * (column.width - cell_len(short))
        line.append(GAP if number else "")
        line.append(padding + short if column.right else short + padding, style=style)
    line.rstrip()
    return line
