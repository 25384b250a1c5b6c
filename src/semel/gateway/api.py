"""The HTTP routes beside MCP: a node's status, the audit as a stream of JSON lines, and the way in for peers.

Knows the shapes of requests and responses; what they say comes from the node and its replica.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from semel.audit.query import PAGE_ROWS, Filter, history, news
from semel.core.call import Status


class Observed(Protocol):
    """A node that can be looked at."""

    @property
    def changed(self) -> asyncio.Event:
        """Set and replaced whenever the replica has committed something new."""
        ...

    @property
    def position(self) -> int:
        """The last log position that the replica holds."""
        ...

    def status(self) -> dict[str, Any]:
        """Return how the cluster stands."""
        ...


def api_routes(node: Observed, replica: Path, peers: ASGIApp) -> list[BaseRoute]:
    """Return the routes under /v1 for a node and its replica's file, and the one where `peers` knock."""

    async def status(_: Request) -> Response:
        return JSONResponse(node.status())

    async def audit(request: Request) -> Response:
        try:
            wanted = _filter(request)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        follow = request.query_params.get("follow") == "1"
        lines = _lines(node, replica, wanted, follow=follow)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    return [Route("/v1/status", status), Route("/v1/audit", audit), WebSocketRoute("/peer", peers)]


def _filter(request: Request) -> Filter:
    given = {name: value for name, value in request.query_params.items() if name != "follow"}
    unknown = given.keys() - set(Filter.__struct_fields__)
    if unknown:
        raise ValueError(f"no such filter: {', '.join(sorted(unknown))}; there are {Filter.__struct_fields__}")
    numbers: dict[str, int] = {}
    for name in ("since_ms", "limit"):
        if (value := given.pop(name, None)) is not None:
            if not value.isdecimal():
                raise ValueError(f"{name} is a whole number, not {value!r}")
            numbers[name] = int(value)
    if given.get("outcome", "ok") not in set(Status):
        raise ValueError(f"outcome is one of {', '.join(Status)}, not {given['outcome']!r}")
    return Filter(**given, **numbers)  # type: ignore[arg-type]  # the names were checked above, the rest are texts


async def _lines(node: Observed, replica: Path, wanted: Filter, *, follow: bool) -> AsyncIterator[bytes]:
    """Yield one JSON object a line: the history, then, if asked, what comes until the client goes away."""
    after = node.position
    rows = history(replica, wanted, upto=after if follow else None)
    while page := await asyncio.to_thread(lambda: list(islice(rows, PAGE_ROWS))):
        yield _encode(page)
    while follow:
        changed = node.changed
        page, after = await asyncio.to_thread(news, replica, wanted, after)
        if page:
            yield _encode(page)
        else:
            await changed.wait()


def _encode(page: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in page).encode()
