"""The SDK's transports to a server of this process: each request for itself, or a stream with a handshake."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.server import Server
from mcp.server.runner import modern_on_request, serve_dual_era_loop
from mcp.shared.direct_dispatcher import create_direct_dispatcher_pair
from mcp.shared.dispatcher import Dispatcher
from mcp.shared.memory import create_client_server_memory_streams


@asynccontextmanager
async def direct_to(server: Server[Any], state: Any) -> AsyncIterator[Dispatcher[Any]]:
    """Call a server of this process directly, each request for itself (2026-07-28)."""
    mine, its = create_direct_dispatcher_pair()  # the errors of its handlers come with their text

    async def nothing(_context: Any, _method: str, _params: Mapping[str, Any] | None) -> None:
        """Take no notification: this version has none to a server."""

    async with anyio.create_task_group() as tasks:
        await tasks.start(its.run, modern_on_request(server, state), nothing)
        try:
            yield mine
        finally:
            its.close()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def streams_to(server: Server[Any], state: Any) -> AsyncIterator[Any]:
    """Talk to a server of this process as over a pipe, with a handshake."""
    async with create_client_server_memory_streams() as (mine, its), anyio.create_task_group() as tasks:

        async def serve() -> None:
            await serve_dual_era_loop(server, *its, lifespan_state=state)

        tasks.start_soon(serve)
        try:
            yield mine
        finally:
            tasks.cancel_scope.cancel()
