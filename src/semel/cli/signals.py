"""The signals with which an operator ends a process: once to ask, twice to hurry. Knows nothing of what is ended."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator


def heeded(*numbers: signal.Signals) -> list[signal.Signals]:
    """Return those of these signals that the process was not started to ignore, as nohup has it."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


class Signals:
    """What the operator wants: the first signal asks the process to go, the next one hurries it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Take SIGINT, SIGTERM and SIGHUP while the context is open; a signal that is ignored (nohup) stays so."""
        loop = asyncio.get_running_loop()
        caught = heeded(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in caught:
            loop.add_signal_handler(number, self._take)
        try:
            yield
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    def _take(self) -> None:
        (self.hurried if self.asked.is_set() else self.asked).set()
