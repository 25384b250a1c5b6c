"""The node's stdio door: one client at the other end of stdin and stdout, until it closes its end.

Stdout is the client's alone: `claim_stdio` takes it away before the user's file is imported, so that nothing that
prints can corrupt the protocol, and gives it back in the end. Knows file descriptors, and no MCP but the SDK's.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp.server import NotificationOptions, Server
from mcp.types.version import LATEST_MODERN_VERSION

from semel.gateway.doors.fastlines import Arriving, Leaving
from semel.gateway.doors.lines import Inlet, Outlet

LAST_WORDS_S = 1.0
"""How long a client that is left may take to take what it is told last: as long as the SDK gives it."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Private duplicates of what were stdin and stdout."""

    incoming: int
    outgoing: int


@contextmanager
def claim_stdio() -> Iterator[Wire]:
    """Take stdin and stdout for the protocol: whatever else reads gets nothing, whatever prints goes to stderr."""
    sys.stdout.flush()
    wire = Wire(os.dup(0), os.dup(1))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    try:
        yield wire
    finally:
        sys.stdout.flush()
        os.dup2(wire.incoming, 0)
        os.dup2(wire.outgoing, 1)
        # The duplicates stay open: a thread may still be blocked on one of them.


async def serve_stdio(server: Server[Any], wire: Wire) -> None:
    """Serve one client until it closes stdin; may be cancelled at any time, even while it waits for input."""
    inlet = Inlet(wire.incoming)
    outlet = Outlet(wire.outgoing, gone=inlet.end)
    leaving = Leaving(outlet)
    modern = server.get_capabilities(protocol_version=LATEST_MODERN_VERSION).tools
    announced = NotificationOptions(tools_changed=modern is not None and bool(modern.list_changed))
    try:
        options = server.create_initialization_options(announced)
        await server.run(Arriving(server, inlet, leaving), leaving, options)
        await outlet.empty()
    except BaseException:
        with anyio.move_on_after(LAST_WORDS_S, shield=True):
            await outlet.empty()
        raise
    finally:
        inlet.end()
        outlet.close()
