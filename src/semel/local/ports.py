"""Which ports are free here, and who has one that is not. Opens none for longer than it takes to see."""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing

from semel.errors import ListenError
from semel.gateway.doors.listening import by_whom

PORT_MAX = 65535
FREED_S = 2.0
"""So long the port of a process that has just been killed may still be taken."""
LOOK_S = 0.05


def free_ports(host: str, first: int, *, but: Iterable[int] = ()) -> Iterator[int]:
    """Yield the ports from `first` on that are free at `host`, except `but`; a port that was yielded stays free.

    Raises:
        ListenError: there are no more.
    """
    passed = set(but)
    for port in range(first, PORT_MAX + 1):
        if port not in passed and is_free(host, port):
            yield port
    raise ListenError(f"no port from {first} on is free at {host}: choose another first one")


def is_free(host: str, port: int) -> bool:
    """Return whether a process could listen at this address now.

    Raises:
        ListenError: nobody could, for it is no address of this machine, or not allowed.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ListenError(f"nobody can listen at {host}, port {port}, on this machine: {error.strerror}") from error
    return True


async def becomes_free(host: str, port: int) -> bool:
    """Return whether the port is free, at once or as soon as a process that was killed a moment ago is gone."""
    for _ in range(int(FREED_S / LOOK_S)):
        if is_free(host, port):
            return True
        await asyncio.sleep(LOOK_S)
    return False


async def until_free(host: str, port: int, *, what: str) -> None:
    """Wait until nobody listens at this address, for a process that was killed a moment ago.

    Raises:
        ListenError: it stays taken; the text says by whom, and that `what` needs it.
    """
    if not await becomes_free(host, port):
        raise ListenError(f"{what} needs port {port} at {host}, which is in use{by_whom(port)}: end that program first")


def address_of(host: str) -> str:
    """Return the IP address of a host by its name or address.

    Raises:
        ListenError: it is not known here.
    """
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(f"{host!r} is no host that is known here ({error})") from error
