"""Where the console writes: results and tables to stdout, everything about them to stderr.

Knows terminals and pipes: colours and a width only where people look. Knows nothing of calls or nodes.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console
from rich.text import Text


def stdout_console() -> Console:
    """Return the console that writes what a command was asked for."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """Return the console that writes notes."""
    return _console(stderr=True)


def width_of(console: Console) -> int | None:
    """Return the width of the terminal, or None for a pipe, where nothing needs to be left out."""
    return console.width if console.is_terminal else None


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print lines as they are, however wide."""
    for line in lines:
        console.print(line, soft_wrap=True)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print one JSON value to stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def note(text: str, *, label: str = "", style: str = "yellow") -> None:
    """Print a line about the output, not of it, to stderr."""
    click.echo((styled(label, fg=style, bold=True) if label else "") + text, err=True)


def styled(text: str, **style: Any) -> str:
    """Return `text` with what makes it stand out in a terminal, unless the user wants none of that."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)


def forgive_encodings() -> None:
    """Let a terminal that knows few characters show the others as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class _QuietConsole(Console):
    """A console that leaves a closed pipe to whoever called it."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that rich would make an exit code of its own."""
        raise


def _console(*, stderr: bool) -> Console:
    return _QuietConsole(stderr=stderr, highlight=False, markup=False, emoji=False)
