"""The console's front door: the group of all commands, and the one place where errors become words and exit codes.

No traceback ever reaches a user: what semel raises on purpose becomes a line or two on stderr, and a mistake in
semel is written to a file, with a request to report it.
"""

import errno
import gc
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.metadata import version

import click

from semel.cli.audit import audit
from semel.cli.backup import backup, restore
from semel.cli.call import call, tools
from semel.cli.connect import connect
from semel.cli.demo.command import demo
from semel.cli.drain import drain
from semel.cli.exits import Exit, exit_of
from semel.cli.lesson import Lessons
from semel.cli.output import forgive_encodings, note
from semel.cli.serve import serve
from semel.cli.status import status
from semel.cli.up import up
from semel.errors import SemelError, UsageError

LESSON = """\
Get going:
  semel serve server.py                 # serve the tools of a Python file, or of an mcp.json
  semel call add '{"a": 1, "b": 2}'     # in another terminal
  semel audit                           # what ran, where, and what came of it
  semel up server.py                    # the same on a quorum: three etcd members, three nodes
  semel demo                            # watch three nodes survive the death of their leader

Exit codes:
  0   done
  1   the tool said error (semel demo: a line of the story did not hold)
  2   an option or argument makes no sense
  3   the request was refused, and nothing was run under it
  4   the cluster or its log cannot be had; retrying with the same key is safe
  5   in doubt: the tool may have acted or not, and is not run again
  6   a node cannot start or go on: its target, log, replica or address
  70  a mistake in semel
  74  the output cannot be written
  130 Ctrl-C
"""


@click.group(
    cls=Lessons,
    lesson=LESSON,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("semel"), message="semel %(version)s")
def console() -> None:
    """MCP tool calls that happen once: on a cluster, through crashes, with a log that proves it."""


for _command in (serve, up, call, connect, tools, status, audit, drain, backup, restore, demo):
    console.add_command(_command)


def run() -> None:
    """Run the console with this process's arguments, and end the process with its exit code."""
    _open_what_is_closed()
    forgive_encodings()
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = Exit.BROKEN_PIPE
    except OSError as error:
        note(_unwritten(error), label="error: ", style="red")
        code = Exit.OUTPUT
    if code in (Exit.BROKEN_PIPE, Exit.OUTPUT):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python flushes once more as it ends
    gc.freeze()  # else Python goes once more through all that the SDK has loaded, which takes longer than a call
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Put the null device in the place of stdin, stdout and stderr where the process was started without.

    Else the next file that is opened would take the place, and what is printed would go into that.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _unwritten(error: OSError) -> str:
    return f"the output cannot be written: {error.strerror}"


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what went wrong is on stderr."""
    try:
        _check_text(arguments)
        return console.main(list(arguments), prog_name="semel", standalone_mode=False) or Exit.OK
    except SemelError as error:
        note(_text_of(error), label="error: ", style="red")
        return exit_of(error)
    except click.ClickException as error:
        _show_misuse(error)
        return Exit.USAGE
    except click.Abort:
        return Exit.INTERRUPTED
    except SystemExit as ending:  # click's own end: 1 for a closed pipe, 0 after completing a word for a shell
        return Exit.BROKEN_PIPE if ending.code else Exit.OK
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            note(_unwritten(error), label="error: ", style="red")
            return Exit.OUTPUT
        note(_mistake(error), label="a mistake in semel: ", style="red")
        return Exit.MISTAKE


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse words that are bytes of another encoding: no name or value that semel knows could be meant."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{argument!a} on the command line is not UTF-8 text") from error


def _text_of(error: SemelError) -> str:
    return "\n".join([str(error) or type(error).__name__, *getattr(error, "__notes__", ())])


def _show_misuse(error: click.ClickException) -> None:
    """Say what is wrong with the command line, and where help is."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return
    note(error.format_message(), label="error: ", style="red")
    context = getattr(error, "ctx", None)
    if context is not None:
        note(f"See `{context.command_path} --help`.")


def _mistake(error: Exception) -> str:
    """Write the traceback to a file, and return what the user is told."""
    details = "".join(traceback.format_exception(error))
    told = f"{type(error).__name__}: {error}\nPlease report it"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="semel-mistake-", suffix=".txt", delete=False) as file:
            file.write(
                f"semel {version('semel')}, Python {platform.python_version()}, {platform.platform()}\n{details}"
            )
    except OSError:
        return f"{told} with this:\n{details}"
    return f"{told}, with the file {file.name}"


if __name__ == "__main__":
    run()
