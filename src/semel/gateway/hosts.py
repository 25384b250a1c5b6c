"""Keeps web pages of other sites out (DNS rebinding, cross-site requests): an ASGI middleware for all routes.

A browser sends the name that the page was opened with as Host, and the page's site as Origin. An IP address as Host
cannot be rebound, so it is let in; a name is let in if the node was told of it.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class KnownHosts:
    """Answers requests to known hosts, from their own pages or from no page at all, and no others."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = _LOOPBACK | {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in; 421 for a foreign host, 403 for a foreign page."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = _host(f"//{headers.get('host', '')}"), headers.get("origin")
        if host not in self._names and not _is_address(host):
            await _refuse(
                421, f"this node does not answer to the host {host!r}: use its IP address", scope, receive, send
            )
        elif origin is not None and _host(origin) not in self._names | {host}:
            await _refuse(403, f"pages of {origin} may not talk to this node", scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _refuse(status: int, text: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocketClose(code=1008, reason=text)(scope, receive, send)
    else:
        await PlainTextResponse(f"{text}\n", status_code=status)(scope, receive, send)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
