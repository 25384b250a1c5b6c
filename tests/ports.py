"""Ports on loopback for what tests start; no two processes that run tests are given the same.

Each such process has a block of ports to itself for as long as it lives: it holds the block's first port, and whoever
cannot have that one takes another block. Nothing is left behind, however a process ends.
"""

import atexit
import functools
import itertools
import socket
from collections.abc import Iterator

PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections, one of which could else have a node's port when it restarts."""
BLOCK = 100
"""More than a test and all that it starts have at once: a port has long been let go when it comes again."""


def free_port() -> int:
    """Return a port that is free; where a row of ports is wanted from there on, the ones behind it are."""
    for port in itertools.islice(_own(), BLOCK):
        if held := _hold(port):
            held.close()
            return port
    raise AssertionError("none of this process's ports is free")


@functools.cache
def _own() -> Iterator[int]:
    for first in PORTS[::BLOCK]:
        if held := _hold(first):
            atexit.register(held.close)
            return itertools.cycle(range(first + 1, first + BLOCK))
    raise AssertionError(f"each block of ports from {PORTS.start} to {PORTS.stop} is held by a process")


def _hold(port: int) -> socket.socket | None:
    """Return a socket that keeps the port from others, at every address, or nothing if somebody has it."""
    held = socket.socket()
    try:
        held.bind(("", port))
    except OSError:
        held.close()
        return None
    return held
