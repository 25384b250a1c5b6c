"""Keeps web pages of other sites out (DNS rebinding, cross-site requests): an ASGI middleware for all routes.

A browser sends the name that the page was opened with as Host, and the page's site as Origin. An IP address as Host
cannot be rebound, so it is let in; a name is let in if the node was told of it.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_REMEMBERED_MAX = 256
"""How many pairs of Host and Origin are remembered with what is said to them; clients send the same again and again."""

_REMEMBERED_CHARS_MAX = 256

_Refusal = tuple[int, str]


class KnownHosts:
    """Answers requests to known hosts, from their own pages or from no page at all, and no others."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = _LOOPBACK | {name.lower() for name in names}
        self._judged: dict[tuple[str, str | None], _Refusal | None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in; 421 for a foreign host, 403 for a foreign page."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        host, origin = "", None
        for name, value in reversed(scope["headers"]):  # the first of its name counts
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
        refusal = self._refusal(host, origin)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await _refuse(*refusal, scope, receive, send)

    def _refusal(self, given: str, origin: str | None) -> _Refusal | None:
        """Return why a request to this Host, from this Origin, is kept out; None if it is not."""
        try:
            return self._judged[given, origin]
        except KeyError:
            refusal = self._judge(_host(f"//{given}"), origin)
            if len(given) + len(origin or "") <= _REMEMBERED_CHARS_MAX:
                if len(self._judged) >= _REMEMBERED_MAX:
                    self._judged.clear()
                self._judged[given, origin] = refusal
            return refusal

    def _judge(self, host: str, origin: str | None) -> _Refusal | None:
        if host not in self._names and not _is_address(host):
            return 421, f"this node does not answer to the host {host!r}: use its IP address"
        if origin is not None and _host(origin) not in self._names | {host}:
            return 403, f"pages of {origin} may not talk to this node"
        return None


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
