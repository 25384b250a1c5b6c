"""A node's clock that can be moved while it runs; run as a program it is semel, with a clock as far off as a file says.

The kernel has one clock for all. What would tell a program another time, libfaketime, makes `time.sleep` fail in Python
3.11 and later (Debian's 0.9.10 does: EINVAL), so that the node's own calls of `time` are told here. etcd's members are
written in Go, which asks the kernel past any library: their clock cannot be moved alone.
"""

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Clock:
    """How far a node's clock is off, in seconds, as a file says; time spans stay as they are."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.off_s = 0
        self.move(0)

    def move(self, off_s: int) -> None:
        """Let it be so many seconds off from now on."""
        self.off_s = off_s
        fresh = self.file.with_suffix(".fresh")
        fresh.write_text(f"{off_s}")
        fresh.rename(self.file)  # whole or not at all


def tell(file: Path) -> None:
    """Let `time` in this process be as far off as the file says, whenever it is asked."""
    true_ns: Callable[[], int] = time.time_ns

    def off_ns() -> int:
        return int(file.read_text()) * 10**9

    time.time_ns = lambda: true_ns() + off_ns()
    time.time = lambda: (true_ns() + off_ns()) / 10**9


if __name__ == "__main__":
    tell(Path(sys.argv.pop(1)))
    sys.path.pop(0)  # this folder, which is none of semel's
    runpy.run_module("semel", run_name="__main__", alter_sys=True)
