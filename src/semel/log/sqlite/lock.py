"""A lock between processes, on a file of its own; it knows nothing of what it guards.

The kernel takes the lock back when its holder dies, however it dies.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semel.errors import LogUnavailable
from semel.forks import closes, keep_from_children

_PAUSE_FIRST_S = 0.0001
_PAUSE_MAX_S = 0.002


class FileLock:
    """An advisory lock that at most one `FileLock` on `path` holds, in this process or any other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def _open(self) -> int:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        keep_from_children(file)
        return file

    @contextmanager
    def held(self, patience_s: float) -> Iterator[None]:
        """Hold the lock for the length of the block; raises what `take` does."""
        self.take(patience_s)
        try:
            yield
        finally:
            self.give_back()

    def take(self, patience_s: float) -> None:
        """Take the lock, which nobody of this process may hold.

        Raises:
            LogUnavailable: another process held it for longer than `patience_s`.
            OSError: its file was deleted and cannot be made again.
        """
        # Never a blocking wait: a stopped process may hold the lock, and would hang our thread with it.
        give_up = time.monotonic() + patience_s
        pause_s = _PAUSE_FIRST_S
        while not self._taken():
            if time.monotonic() >= give_up:
                raise LogUnavailable(f"{self._holder()} has held the log's lock {self._path} for over {patience_s:g} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)

    def give_back(self) -> None:
        """Let others take the lock."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if self._in_place():
            return True
        # Someone deleted the file: the others lock the one that took its place, and so must we.
        replacement = self._open()
        closes(self._file)
        os.close(self._file)
        self._file = replacement
        return False

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    def _holder(self) -> str:
        """Return who has the lock, and what to do if that process is stopped; as far as /proc tells."""
        with suppress(OSError, ValueError, IndexError):
            inode = os.fstat(self._file).st_ino
            for line in Path("/proc/locks").read_text().splitlines():
                fields = line.split()
                if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == inode:
                    process = Path("/proc", fields[4])
                    name, state = (process / "stat").read_text().partition("(")[2].rpartition(")")[::2]
                    stopped = state.split()[0] in "Tt"
                    advice = (
                        ", which is stopped (let it go on with kill -CONT, or end it with kill -9)," if stopped else ""
                    )
                    return f"process {fields[4]} ({name}){advice}"
        return "another process"

    def close(self) -> None:
        """Give back the file."""
        closes(self._file)
        os.close(self._file)
