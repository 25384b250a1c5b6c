"""Help that teaches: a command whose help ends with text that is shown as it was written, line by line."""

from typing import Any

import click


def _write_as_it_is(text: str, formatter: click.HelpFormatter) -> None:
    for line in text.strip("\n").splitlines():
        formatter.write(f"{line}\n" if line else "\n")


class Lesson(click.Command):
    """A command with `lesson`, which is above all real examples, at the end of its help."""

    def __init__(self, *arguments: Any, lesson: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lesson = lesson

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lesson below the options."""
        formatter.write("\n")
        _write_as_it_is(self._lesson, formatter)


class Lessons(click.Group):
    """A group with a lesson, whose commands are listed in the order in which they were added."""

    def __init__(self, *arguments: Any, lesson: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lesson = lesson

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they are needed."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lesson below the commands."""
        formatter.write("\n")
        _write_as_it_is(self._lesson, formatter)
