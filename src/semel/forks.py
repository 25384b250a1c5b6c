"""Keeps locks, ports and pipes out of the children that a tool forks: they would outlive a killed node, or rob it.

A fork without exec (the habit of `multiprocessing` on Linux) shares every open file. The kernel gives a lock back, and
frees a port, only when the last process that has them is gone; and a byte that wakes a thread is read by whoever comes
first. Knows descriptors, and not what they are for.
"""

import os
from contextlib import suppress

_ours: set[int] = set()


def keep_from_children(descriptor: int) -> None:
    """Have children that are forked from now on lose this descriptor."""
    _ours.add(descriptor)


def closes(descriptor: int) -> None:
    """Note that this descriptor is about to be closed, and its number free for others."""
    _ours.discard(descriptor)


def _lose() -> None:
    """Let each number stand for nothing, and not for what another file of the child may be: hence no close."""
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for descriptor in _ours:
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
    _ours.clear()


os.register_at_fork(after_in_child=_lose)
