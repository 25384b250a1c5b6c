"""A network namespace that this process holds by a descriptor; knows nothing of what is in it.

It has no name and no mount: it is gone with its last process once the descriptor is closed, even after a `kill -9`.
"""

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
COMMAND_S = 20.0

_libc = ctypes.CDLL(None, use_errno=True)
_Found = TypeVar("_Found")


class Refused(Exception):
    """This machine does not let us make what we need; the text says what it said."""


class Namespace:
    """A network of its own, with a loopback interface that is up.

    Raises:
        Refused: namespaces cannot be made here.
    """

    def __init__(self) -> None:
        self._descriptor = in_a_thread(_unshared)
        try:
            self.run("ip", "link", "set", "lo", "up")
        except Refused:
            self.close()
            raise

    @property
    def path(self) -> str:
        """Where other processes find it, for as long as it is held here."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @property
    def name(self) -> str:
        """What the kernel calls it; only one that is open has one."""
        return str(Path(self.path).readlink())

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command for it to run in here, under the same process id."""
        return ("nsenter", f"--net={self.path}", "--")

    def run(self, *command: str) -> str:
        """Run a command in here to its end; return what it printed.

        Raises:
            Refused: it failed, or there is no such command.
        """
        try:
            ended = subprocess.run(
                [*self.prefix, *command], capture_output=True, text=True, timeout=COMMAND_S, check=False
            )
        except OSError as error:
            raise Refused(f"{' '.join(command)}: {error}") from error
        if ended.returncode:
            raise Refused(f"{' '.join(command)}: {ended.stderr.strip()}")
        return ended.stdout

    def enter(self) -> None:
        """Move the calling thread in here, with the threads and the processes that it starts from now on."""
        _checked(_libc.setns(self._descriptor, CLONE_NEWNET), "setns")

    def close(self) -> None:
        """Let go of it; harmless when repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def inhabited(names: set[str]) -> set[str]:
    """Return those of the namespaces of these names that some process is in."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.add(str(process.readlink()))
    return found & names


def own_mounts() -> None:
    """Let what the calling thread mounts from now on be seen by it alone, and by what it starts; it goes with them.

    Raises:
        Refused: this machine does not allow it.
    """
    _checked(_libc.unshare(CLONE_NEWNS), "unshare")
    _checked(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount")


def in_a_thread(work: Callable[[], _Found]) -> _Found:
    """Return what `work` returns in a thread of its own, which may move to wherever it likes."""
    found: list[_Found] = []
    trouble: list[BaseException] = []

    def body() -> None:
        try:
            found.append(work())
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return found[0]


def _unshared() -> int:
    _checked(_libc.unshare(CLONE_NEWNET), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _checked(result: int, what: str) -> None:
    if result:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")
