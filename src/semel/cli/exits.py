"""The exit codes of the console, and which error leads to which. Knows nothing of commands."""

import enum

from semel.errors import CallError, ClusterError, LogUnavailable, SemelError, UsageError


class Exit(enum.IntEnum):
    """What a script learns from `$?`."""

    OK = 0
    TOOL = 1
    """The tool ran and said error; also a check of the demo that did not hold."""
    USAGE = 2
    """An option or argument makes no sense."""
    REFUSED = 3
    """The request was refused, and nothing was run under it."""
    UNAVAILABLE = 4
    """The cluster or its log cannot be had just now; retrying with the same key is safe."""
    IN_DOUBT = 5
    """The executor died while the tool ran: it may have acted or not, and it is not run again."""
    NODE = 6
    """A node cannot start or go on: its target, log, replica or address."""
    MISTAKE = 70
    """A mistake in semel itself."""
    OUTPUT = 74
    """What was to be written could not be, to a full disk for one."""
    INTERRUPTED = 130
    """Ctrl-C."""
    BROKEN_PIPE = 141
    """Whoever read the output went away."""


def exit_of(error: SemelError) -> Exit:
    """Return the exit code for an error that ends a command."""
    match error:
        case UsageError():
            return Exit.USAGE
        case CallError():
            return Exit.REFUSED
        case ClusterError() | LogUnavailable():
            return Exit.UNAVAILABLE
        case _:
            return Exit.NODE
