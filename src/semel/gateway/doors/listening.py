"""Binds the address to listen on; where it is taken, says by whom. Knows sockets and /proc, and no HTTP."""

import contextlib
import errno
import socket
from pathlib import Path

from semel.errors import ListenError


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host` and `port` (0 for any free one), not yet listening.

    Raises:
        ListenError: the address is taken, not of this machine, or not allowed; the text says which and what to do.
    """
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(f"cannot listen on {place}: {host!r} is no host that is known here ({error})") from error
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(2048)  # here and not later: until then another process may still take the port
    except (OSError, OverflowError) as error:
        bound.close()
        raise ListenError(_why_not(place, port, error)) from error
    return bound


def _why_not(place: str, port: int, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return f"{place} is in use{by_whom(port)}: choose another with --listen, or end the other program"
    if number == errno.EADDRNOTAVAIL:
        return f"cannot listen on {place}: it is no address of this machine. Choose another with --listen"
    if number == errno.EACCES:
        return f"cannot listen on {place}: this user may not. Choose a port over 1023 with --listen"
    return f"cannot listen on {place}: {error}"


def by_whom(port: int) -> str:
    """Return " by name (pid n)" of the process that listens on `port`, "" where that cannot be seen."""
    with contextlib.suppress(OSError, ValueError):
        sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):  # not ours to look at, or gone by now
                if str(link.readlink()) in sockets:
                    process = link.parent.parent
                    return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def _listening_inodes(port: int) -> list[str]:
    """Return the inodes of the sockets that listen on `port`, as /proc/net lists them."""
    listening = "0A"
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == listening and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.append(fields[9])
    return inodes
