"""The demo's voice: steps, checked claims, small tables, and what was shown at the end.

A pleasure in a terminal, plain text in a pipe. Knows nothing of nodes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from semel.cli.output import print_lines, width_of
from semel.cli.table import Column, Row, Table

INDENT = "   "
QUOTE_WIDTH_MAX = 100
"""Longer lines are hard to read."""
SPINS_PER_S = 12.5
"""As fast as the spinner's pictures change."""
FOUND_CHARS_MAX = 2000
"""What was found instead may be a whole audit."""


class CheckFailed(Exception):
    """A line of the story did not hold; the text says which, and what was found instead."""


class Narrator:
    """Tells the story to a console, and refuses to go on when a claim does not hold."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._mark = "✓ " if console.encoding.lower().startswith("utf") else "ok "
        self._titles: list[str] = []
        self._claims = 0

    @property
    def at(self) -> str:
        """The step that is being told."""
        return f"step {len(self._titles)} ({self._titles[-1]})" if self._titles else "the beginning"

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._titles.append(title)
        self._print(Text.assemble("\n", (f"{len(self._titles)}. {title}", "bold cyan")))

    def say(self, text: str, style: str = "") -> None:
        """Tell something that is no claim."""
        self._print(Text(INDENT + text, style))

    def quote(self, text: str) -> None:
        """Tell what a node answered, in full."""
        indent = INDENT + "  "
        width = min(self._console.width, QUOTE_WIDTH_MAX)
        self._print(Text(fill(text, width, initial_indent=indent, subsequent_indent=indent), "dim"))

    def show(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Show a table, as much of it as the terminal has room for."""
        width = width_of(self._console)
        table = Table(columns, rows, None if width is None else width - len(INDENT))
        for line in (table.header(), *map(table.line, rows)):
            self._print(Text(INDENT) + line)
        if table.left_out:
            self.say(f"(a wider terminal also shows: {', '.join(table.left_out)})", "dim")

    def check(self, claim: str, holds: bool = True, found: Any = None) -> None:
        """Tell a claim that holds; by default one that the story has just waited for.

        Raises:
            CheckFailed: it does not hold.
        """
        if not holds:
            raise CheckFailed(claim if found is None else f"{claim}; found instead: {str(found)[:FOUND_CHARS_MAX]}")
        self._claims += 1
        self._print(Text.assemble(INDENT, (self._mark, "bold green"), claim))

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show in a terminal that something is being waited for."""
        if not self._console.is_terminal:
            yield
            return
        spinner = Padding(Spinner("dots", Text(what, "dim")), (0, 0, 0, len(INDENT)))
        with Live(spinner, console=self._console, transient=True, refresh_per_second=SPINS_PER_S):
            yield

    def end(self, total_s: float) -> None:
        """List what was shown."""
        self._print(Text(f"\nShown, in {total_s:.1f} s and {self._claims} checks", "bold"))
        for number, title in enumerate(self._titles, 1):
            self._print(Text.assemble(INDENT, (self._mark, "bold green"), f"{number}. {title}"))

    def _print(self, line: Text) -> None:
        print_lines(self._console, [line])
