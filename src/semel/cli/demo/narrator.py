"""The demo's voice: steps, checked claims, small tables, and what was shown at the end.

A pleasure in a terminal, plain text in a pipe. Knows nothing of nodes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from semel.cli.output import print_lines, width_of
from semel.cli.table import Column, Row, table

INDENT = "   "


class CheckFailed(Exception):
    """A line of the story did not hold; the text says which, and what was found instead."""


class Narrator:
    """Tells the story to a console, and refuses to go on when a claim does not hold."""

    def __init__(self, console: Console) -> None:
        self._console = console
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

    def show(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Show a table."""
        width = width_of(self._console)
        for line in table(columns, rows, None if width is None else width - len(INDENT)):
            self._print(Text(INDENT) + line)

    def check(self, claim: str, holds: bool, found: Any = None) -> None:
        """Tell a claim that holds.

        Raises:
            CheckFailed: it does not.
        """
        if not holds:
            raise CheckFailed(claim if found is None else f"{claim}; found instead: {found}")
        self._claims += 1
        self._print(Text.assemble(INDENT, ("✓ ", "bold green"), claim))

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show in a terminal that something is being waited for."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(Text(what, "dim"), spinner="dots"):
            yield

    def end(self, total_s: float) -> None:
        """List what was shown."""
        self._print(Text(f"\nShown, in {total_s:.1f} s and {self._claims} checks", "bold"))
        for number, title in enumerate(self._titles, 1):
            self._print(Text.assemble(INDENT, ("✓ ", "bold green"), f"{number}. {title}"))

    def _print(self, line: Text) -> None:
        print_lines(self._console, [line])
