"""One request to one server, sent until it has reached it and no further; and what became of it there.

Knows when something may be sent again; not how a connection is opened and kept.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol

from mcp import MCPError

from semel.gateway.asker import Asker
from semel.gateway.upstreams.connection import Connection
from semel.gateway.upstreams.courier import Errand
from semel.gateway.upstreams.polling import ConnectionGone, Parted, Polling
from semel.gateway.upstreams.upstream import Dismissed, NotOpened, Upstream

_READS_MAX = 3
"""How often something is read again whose connection broke: it changes nothing."""

_AGAIN_FIRST_S = 0.1
_AGAIN_MAX_S = 5.0
"""The pause before a request is sent again that did not reach its server; it doubles."""


class Start(Protocol):
    """The beginning of a run, as far as a server has a say in it."""

    def begin(self) -> None:
        """Note that the request leaves now; raises CancelledError if its time is over."""
        ...

    def withdraw(self) -> None:
        """Note that the request did not reach the server, so that the run has not begun."""
        ...


class AtOnce:
    """The start of what may always begin."""

    def begin(self) -> None:
        """Begin."""

    def withdraw(self) -> None:
        """Take that back."""


async def request(
    upstream: Upstream, method: str, params: Mapping[str, Any], asker: Asker, start: Start
) -> dict[str, Any]:
    """Return a result as the server gave it, waiting first while the server cannot be reached.

    `params` are those of one of `requests.REQUESTS`; what the server says and asks meanwhile goes to `asker`.

    Raises:
        MCPError: the server answered with a protocol error.
        pydantic.ValidationError: it answered with something that is no result of such a request.
        ConnectionGone: it went away meanwhile, or the task did that it gave in the place of a result.
        TaskEnded: that task came to an end that is no result.
        Dismissed: it is not served any more, and was not reached.
    """
    with upstream.in_use():
        return await _insist(upstream, method, params, asker, start)


async def read(upstream: Upstream, method: str, params: Mapping[str, Any], asker: Asker) -> dict[str, Any]:
    """Return the result of a request that changes nothing, asking again if the connection breaks.

    Raises as `request` does.
    """
    for _ in range(_READS_MAX - 1):
        with contextlib.suppress(ConnectionGone):
            return await request(upstream, method, params, asker, AtOnce())
    return await request(upstream, method, params, asker, AtOnce())


async def _insist(
    upstream: Upstream, method: str, params: Mapping[str, Any], asker: Asker, start: Start
) -> dict[str, Any]:
    """Send a request until it has reached the server, and no further."""
    pause_s = _AGAIN_FIRST_S
    learnt = False
    while True:
        await upstream.usable()
        errand = Errand()
        try:
            async with upstream.connected(asker) as connection:
                start.begin()
                try:
                    result = await connection.send(method, params, asker, errand)
                except MCPError as error:
                    if connection.wants_headers(error) and not learnt:
                        learnt = True  # the session learns them by listing the tools
                        start.withdraw()
                        await connection.learn_headers()
                        continue
                    if errand.refused is None or errand.broken is not None:
                        raise await _fate(upstream, connection, errand, error) from error
                else:
                    upstream.clear()
                    if result.get("resultType") == "task":
                        return await _see_through(upstream, Polling(upstream.name, result), connection, asker)
                    return result
                start.withdraw()
                if errand.forgotten:
                    connection.lose()
        except NotOpened as error:
            errand.refused = str(error)
        upstream.note(f"the server {upstream.name!r} ({upstream.place}) cannot be reached: {errand.refused}")
        if upstream.dismissed.is_set():
            raise Dismissed
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _AGAIN_MAX_S)


async def _see_through(upstream: Upstream, task: Polling, connection: Connection, asker: Asker) -> dict[str, Any]:
    """Return what comes of a task that was given in the place of a result.

    One of a process ends with it; over HTTP it may outlive its connection, and is asked after over another.
    """
    try:
        async with AsyncExitStack() as further:
            while True:
                try:
                    return await task.over(connection, asker)
                except Parted:
                    if not connection.remote:
                        raise ConnectionGone(await _went_away(upstream, connection)) from None
                await further.aclose()
                connection = await _reconnected(upstream, task, asker, further)
    finally:
        task.withdraw()


async def _reconnected(upstream: Upstream, task: Polling, asker: Asker, stack: AsyncExitStack) -> Connection:
    """Return another connection over which a task is asked after, once there is one."""
    while True:
        try:
            async with asyncio.timeout(task.patience_s):
                await upstream.usable()
            return await stack.enter_async_context(upstream.connected(asker))
        except Dismissed:
            raise ConnectionGone(f"the server {upstream.name!r} is not served any more, and its task is lost") from None
        except (TimeoutError, NotOpened) as error:
            task.silent(str(error) or "it cannot be reached")
        await asyncio.sleep(_AGAIN_FIRST_S)


async def _fate(upstream: Upstream, connection: Connection, errand: Errand, error: MCPError) -> Exception:
    """Return what an error means for the call: that its server went away, or what the server said."""
    if errand.broken is not None:
        return ConnectionGone(f"the connection to the server {upstream.name!r} broke during the call: {errand.broken}")
    if errand.said is not None:
        return MCPError(error.code, errand.said)
    if connection.explains(error):
        return ConnectionGone(await _went_away(upstream, connection))
    return error


async def _went_away(upstream: Upstream, connection: Connection) -> str:
    return f"the server {upstream.name!r} went away during the call{await connection.ending()}"
