"""Under which name and at which URL other nodes know this one: what is true of this machine, and what cannot be.

Knows host names, addresses and pulses; nothing of what nodes say to each other.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from semel.errors import LogUnavailable, NameTaken, UsageError
from semel.log.protocol import Log
from semel.node.status import Beat, decode_beats

NAME_CHARS_MAX = 58
"""A node's name has 64 at most; the rest is for the number of a further node on the same machine."""
RESOLVE_S = 5.0
"""A machine knows its own name at once, or asks a name server that is slow or gone."""
LOOK_EVERY_S = 0.25
"""As often as a node shows a pulse."""
SILENT_LOOKS = 4
"""A node that lives shows a new beat within one or two; one that is dead costs a second, and only here."""


def machine_name() -> str:
    """Return this machine's host name as a node's name: what cannot be in one becomes a '-'."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).lstrip("._-")
    return name[:NAME_CHARS_MAX] or "node"


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address leads to the machine itself, whoever uses it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


async def url_for_peers(host: str, port: int, *, local: bool) -> str:
    """Return the URL at which other nodes reach one that listens on `host`; `local` if they are on this machine, too.

    A node that listens on all addresses is found by the machine's name, or on one machine at the loopback.

    Raises:
        UsageError: the machine has no name by which others could find it.
    """
    everywhere = _is_any(host)
    if everywhere and local:
        host = "::1" if ":" in host else "127.0.0.1"
    elif everywhere:
        name = socket.gethostname()
        if is_loopback(name) or not await _is_known(name, port):
            raise UsageError(
                f"this node listens on {host}, and other machines would look for it as {name!r}, this machine's name, "
                f"which leads nowhere: say where they reach it, with --advertise http://HOST:{port}"
            )
        host = name
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def unreachable(url: str, log_hosts: Collection[str]) -> str | None:
    """Return what to say of a node at `url` that other machines cannot reach, though they may share its log."""
    if not is_loopback(urlsplit(url).hostname or "") or all(map(is_loopback, log_hosts)):
        return None
    return (
        f"nodes on other machines cannot reach this one at {url}: listen on an address of this machine (--listen), or "
        "say where they reach it (--advertise)"
    )


async def refuse_namesake(log: Log, name: str, url: str) -> None:
    """Return if no other live node shows itself under `name`; one that shows `url` is this one's predecessor.

    Raises:
        NameTaken: its beat keeps changing: it lives.
    """
    last = await _beat_of(log, name)
    changes = silence = 0
    while last is not None and last.url != url and silence < SILENT_LOOKS:
        await asyncio.sleep(LOOK_EVERY_S)
        beat = await _beat_of(log, name)
        changed = beat != last
        changes, silence = changes + changed, 0 if changed else silence + 1
        if beat is not None and changes > 1:  # one may be a dead node's last, which came late
            raise NameTaken(
                f"a live node at {beat.url} is already node {name!r} on this log: choose another --node, or stop that "
                "one (semel drain). If it is this very node, and only its address has changed, wait until it has gone"
            )
        last = beat


async def _beat_of(log: Log, name: str) -> Beat | None:
    try:
        return decode_beats(await log.pulses()).get(name)
    except LogUnavailable:
        return None  # a name is a courtesy, and no promise hangs on it


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


async def _is_known(name: str, port: int) -> bool:
    try:
        async with asyncio.timeout(RESOLVE_S):
            return bool(await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError, TimeoutError):
        return False
