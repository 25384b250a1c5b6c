"""One process of ours: started with its words going into a file, asked to go, killed, and read after its end.

Knows processes and files; does not know what a program does, nor when it is to run.
"""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from semel.errors import ChildFailed

LAUNCHER = Path(__file__).with_name("launcher.py")
LOG_BYTES_MAX = 8 * 2**20
"""A file of words that is longer becomes the older half of what is kept; a day of a busy node's warnings fits in."""
LINES_SHOWN = 12
WORDS_BYTES_READ = 16 * 2**10
"""Of a long file of words only its end is read."""


class Child:
    """One process, which can be started again after its end.

    Its stdout and stderr go into the file `log`, which the process writes by itself: a supervisor that is stopped
    stops nobody. The process is a session of its own, so that Ctrl-C is for the supervisor alone, and dies with it.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self._environment = dict(environment or {})
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The id of the process that was started last."""
        return self._started.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended, as far as this process has seen."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the program.

        Raises:
            ChildFailed: the system refuses.
        """
        assert not self.runs, f"{self.name} runs already"
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as words:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *self.command),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=words,
                    stderr=words,
                    env=os.environ | self._environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise ChildFailed(f"{self.name} cannot be started: {error.strerror} ({error.filename})") from error

    async def ended(self) -> int:
        """Wait for its end, and return its exit code, or the negative number of the signal that ended it."""
        return await self._started.wait()

    async def end(self, patience_s: float) -> int:
        """Ask it to go, kill it if it has not gone after `patience_s`, and return its exit code."""
        if self._process is None:
            return 0
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.ended(), patience_s)
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it as a crash would: SIGKILL, and it is gone."""
        self.signal(signal.SIGKILL)
        return await self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal if it runs."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def last_words(self, lines: int = LINES_SHOWN) -> str:
        """Return the last lines that it wrote."""
        with suppress(OSError), self.log.open("rb") as words:
            words.seek(max(0, self.log.stat().st_size - WORDS_BYTES_READ))
            return "\n".join(words.read().decode(errors="replace").rstrip().splitlines()[-lines:])
        return ""

    def bound_log(self, bytes_max: int = LOG_BYTES_MAX) -> None:
        """Move what it wrote aside, into `<log>.1`, if that is more than `bytes_max`.

        The process goes on writing into the emptied file; a line that it writes at this very moment can be lost.
        """
        with suppress(OSError):  # a full disk is said by those who need it
            if self.log.stat().st_size > bytes_max:
                shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
                os.truncate(self.log, 0)

    @property
    def _started(self) -> Process:
        assert self._process is not None, f"{self.name} was never started"
        return self._process


def how_it_ended(code: int) -> str:
    """Return in words what an exit code says."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
