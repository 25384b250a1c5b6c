"""The heads of requests that were found to be plain calls', byte for byte: they are not read again, but recognized.

A client sends the same head with each call of a tool, unless it changes in length. What a head is depends on nothing
but its bytes, so what was found of it once holds for the next that is the same.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

_REMEMBERED_MAX = 256
_HEAD_BYTES_MAX = 2048
"""So many are remembered, if they are no longer than so; if there are more, it begins again."""

_END = b"\r\n\r\n"

_ALWAYS_NEW = frozenset({b"idempotency-key", b"traceparent"})
"""A head with one of these will not come again."""


_OF_ONE_REQUEST = frozenset({"server", "client", "state", "extensions"})
"""What is in a scope beside the head."""


Answer = Callable[[bytes, Scope, Receive, Send], Awaitable[None]]
"""An ASGI app for requests with one head, which is given the body, too."""


class KnownHead(msgspec.Struct, frozen=True):
    """What a head says, as ASGI's `scope` has it; how long the body is, and who answers."""

    scope: Mapping[str, Any]
    body_bytes: int
    answer: Answer


class KnownHeads:
    """What is known of heads, for all connections of one server."""

    def __init__(self) -> None:
        self._known: dict[bytes, KnownHead] = {}

    def find(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """Return what is known of a head, and the body, if the data is that head with its whole body and no more."""
        end = data.find(_END) + len(_END)
        known = self._known.get(data[:end])
        if known is None or len(data) - end != known.body_bytes:
            return None
        return known, data[end:]

    def remember(self, data: bytes, scope: Mapping[str, Any], answer: Answer) -> None:
        """Remember the head that `data` begins with, if it may come again, and no blank lines are before it."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        end = data.find(_END) + len(_END)
        if not len(_END) <= end <= _HEAD_BYTES_MAX or any(name in _ALWAYS_NEW for name, _ in headers):
            return
        if data.startswith((b"\r", b"\n")):
            return
        length = next(int(value) for name, value in headers if name == b"content-length")
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        said = {name: value for name, value in scope.items() if name not in _OF_ONE_REQUEST}
        self._known[data[:end]] = KnownHead(said, length, answer)
