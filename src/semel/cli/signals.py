"""The signals with which an operator ends a process: once to ask, twice to hurry. Knows nothing of what is ended."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator


class Signals:
    """What the operator wants: the first signal asks the process to go, the next one hurries it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Take SIGINT, SIGTERM and SIGHUP while the context is open; a signal that is ignored (nohup) stays so."""
        loop = asyncio.get_running_loop()
        caught = [
            number
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN
        ]
        for number in caught:
            loop.add_signal_handler(number, self._take)
        try:
            yield
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    def _take(self) -> None:
        (self.hurried if self.asked.is_set() else self.asked).set()
