"""The tool that every peer runs: append a line to a file outside, take a second, return."""

import os
import time
from collections.abc import Callable

TAKES_S = 1.0


def append(key: str, amount: int) -> None:
    """Leave one line, with a single write, which the kernel keeps whole."""
    line = f"{key} {amount} {os.getpgrp()} {time.time():.4f}\n".encode()
    descriptor = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def charge(key: str, amount: int, beat: Callable[[], None] = lambda: None) -> str:
    """Charge; `beat` is called ten times, for engines that want a sign of life."""
    append(key, amount)
    for _ in range(10):
        time.sleep(TAKES_S / 10)
        beat()
    return f"charged {key} {amount}"
