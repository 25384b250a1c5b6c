"""The HTTP routes beside MCP: status, the audit, the requests to stop a tool and to leave, and the way in for peers.

Knows the shapes of requests and responses; what they say comes from the node and its replica.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from semel.audit.query import PAGE_ROWS, Filter, history, news
from semel.core.call import CallId, Status
from semel.errors import SemelError
from semel.gateway.doors.asked import ANONYMOUS
from semel.gateway.doors.asof import AsOf

_DIGITS_MAX = 9
_SWITCHES = {"": False, "0": False, "false": False, "1": True, "true": True}


class Observed(Protocol):
    """A node that can be looked at, and asked to leave."""

    @property
    def changed(self) -> asyncio.Event:
        """Set and replaced whenever the node has folded something new."""
        ...

    @property
    def position(self) -> int:
        """The last log position that the node has folded."""
        ...

    def commit(self) -> None:
        """Let the replica's file hold all of it."""
        ...

    @property
    def log_age_s(self) -> float:
        """How long ago the node last heard from the log."""
        ...

    def status(self) -> dict[str, Any]:
        """Return how the cluster stands."""
        ...

    async def read_to_tail(self) -> int:
        """Wait until the replica holds all that is in the log as this is asked; raises `Unconfirmed`."""
        ...

    def cancel(self, call: CallId) -> None:
        """Have the tool of a call told to stop, wherever it runs; best effort."""
        ...

    def leave(self, within_s: float | None) -> dict[str, Any]:
        """Take no new calls from now on, and go down once what runs has ended; return what there is to wait for."""
        ...


def api_routes(node: Observed, replica: Path, peers: ASGIApp) -> list[BaseRoute]:
    """Return the routes under /v1 for a node and its replica's file, and the one where `peers` knock."""

    async def status(request: Request) -> Response:
        linearizable = await _read_to_tail(node, request)
        return JSONResponse({**node.status(), "linearizable": linearizable})

    async def audit(request: Request) -> Response:
        wanted = _filter(request)
        follow = request.query_params.get("follow") == "1"
        await _read_to_tail(node, request)
        node.commit()
        told = AsOf(node.position, node.log_age_s).headers()
        lines = _lines(node, replica, wanted, follow=follow)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=told)

    async def drain(request: Request) -> Response:
        if "origin" in request.headers:
            return JSONResponse({"error": "no web page may ask a node to leave"}, status_code=403)
        return JSONResponse(node.leave(_seconds(request, "timeout")), status_code=202)

    async def cancel(request: Request) -> Response:
        if "origin" in request.headers:
            return JSONResponse({"error": "no web page may have a tool stopped"}, status_code=403)
        node.cancel(_call(request))
        return JSONResponse({}, status_code=202)

    return [
        Route("/v1/status", _telling(status)),
        Route("/v1/audit", _telling(audit)),
        Route("/v1/drain", _telling(drain), methods=["POST"]),
        Route("/v1/cancel", _telling(cancel), methods=["POST"]),
        WebSocketRoute("/peer", peers),
    ]


def _telling(route: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return a route that answers with what is wrong with a request, or with the node, in a form that clients read."""

    async def told(request: Request) -> Response:
        try:
            return await route(request)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except SemelError as error:
            return JSONResponse({"source": "semel", "code": error.code, "error": str(error)}, status_code=503)

    return told


async def _read_to_tail(node: Observed, request: Request) -> bool:
    """Make what is read next linearizable, if the request asks for that; return whether it does."""
    linearizable = _switch(request, "linearizable")
    if linearizable:
        await node.read_to_tail()
    return linearizable


def _switch(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "")
    if value.lower() not in _SWITCHES:
        raise ValueError(f"{name} is true or false, not {value!r}")
    return _SWITCHES[value.lower()]


def _seconds(request: Request, name: str) -> float | None:
    value = request.query_params.get(name)
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{name} is a number of seconds, 0 or more, not {value!r}")
    return seconds


def _call(request: Request) -> CallId:
    """Return the call, and its round, that a request names by key, caller and round."""
    given = request.query_params
    key, number = given.get("key", ""), given.get("round", "1")
    if not key:
        raise ValueError("a call is named by its key: send key=")
    if not number.isdecimal() or len(number) > _DIGITS_MAX:
        raise ValueError(f"round is a whole number, not {number[:100]!r}")
    return CallId(given.get("caller", ANONYMOUS), key, int(number))


def _filter(request: Request) -> Filter:
    given = {name: value for name, value in request.query_params.items() if name not in ("follow", "linearizable")}
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
        node.commit()
        page, after = await asyncio.to_thread(news, replica, wanted, after)
        if page:
            yield _encode(page)
        else:
            await changed.wait()


def _encode(page: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in page).encode()
