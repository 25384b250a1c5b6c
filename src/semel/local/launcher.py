"""Becomes the program that its arguments name, and has the kernel kill it when the process that started it dies.

Knows no more than that: it is run as a file, before any of semel is imported, and is gone within milliseconds. Without
it, a supervisor that is killed with -9 would leave etcd members and nodes behind, which nobody ends. Only Linux can
promise that; elsewhere the program is started as it is.

    python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT...
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>: "send this signal to me when my parent dies"; it outlives exec."""


def main(arguments: list[str]) -> None:
    """Tie this process to its parent's life, and become the program."""
    parent, *command = arguments
    if sys.platform == "linux":
        # SIGKILL, since only that is certain; what is lost is what a power cut loses, and semel is made for those.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it died before the kernel was told
            os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"error: {command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
