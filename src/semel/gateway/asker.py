"""Who asks, as an upstream's connection sees it: what that client can take and wants, and the way to it.

What a request says of its client stands in `_meta`, as MCP 2026-07-28 has it; for clients of the handshake eras the
door writes there what their handshake said. So it travels with the call to whichever node runs it.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)

from semel.gateway import meta

QUESTIONS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
"""What a server of the handshake eras may ask its client, and the capability that the client must have said it has."""

_ASKABLE = frozenset(QUESTIONS.values())

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

_KEPT_BACK = (
    *(CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY),
    *("progressToken", meta.PARTY, meta.LOGS_UNASKED),
)
"""Of these names in `_meta`, what is to be said is said anew by the connection to the server."""


class Way(Protocol):
    """The way to a client, for as long as its request lasts; from any thread."""

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Pass a notification on."""
        ...

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the client's answer to a question; raises `Unanswered`."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Asker:
    """The client behind one request.

    `modern` is false if it is of the handshake eras; `capabilities` is what it said of itself; `log_level` is the
    lowest level of log lines that it wants, None if it said none, and then `logs_unasked` is true if it takes what
    comes; `progress` is true if it wants to hear of progress. `party` names the client, None if nobody knows whether
    another request is of the same one.
    `meta` is what of its `_meta` goes along.
    """

    way: Way | None = None
    modern: bool = True
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    log_level: str | None = None
    logs_unasked: bool = False
    progress: bool = False
    party: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Mapping[str, Any], way: Way | None) -> "Asker":
        """Return who asked with this `_meta`."""
        capabilities, level = said.get(CLIENT_CAPABILITIES_META_KEY), said.get(LOG_LEVEL_META_KEY)
        modern = said.get(PROTOCOL_VERSION_META_KEY, MODERN_PROTOCOL_VERSIONS[-1]) in MODERN_PROTOCOL_VERSIONS
        return cls(
            way=way,
            modern=modern,
            capabilities=capabilities if isinstance(capabilities, dict) else {},
            log_level=level if level in LEVELS else None,
            logs_unasked=not modern or said.get(meta.LOGS_UNASKED) is True,
            progress="progressToken" in said,
            party=said.get(meta.PARTY),
            meta={name: value for name, value in said.items() if name not in _KEPT_BACK},
        )

    @property
    def can_be_asked(self) -> bool:
        """True if a server may ask it anything in the middle of a request."""
        return not _ASKABLE.isdisjoint(self.capabilities)

    def takes(self, method: str) -> bool:
        """Return whether it can be asked this."""
        return self.way is not None and QUESTIONS.get(method) in self.capabilities

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Pass a notification on to it, if it wants such."""
        if self.way is None:
            return
        if method == "notifications/message" and not self._wants(params.get("level")):
            return
        self.way.tell(method, params)

    def _wants(self, level: object) -> bool:
        """Return whether it wants log lines of a level."""
        if self.log_level is None or level not in LEVELS:
            return self.logs_unasked
        return LEVELS.index(str(level)) >= LEVELS.index(self.log_level)


def can_answer(said: Mapping[str, Any]) -> bool:
    """Return whether a client whose request says this in `_meta` can answer any question."""
    capabilities = said.get(CLIENT_CAPABILITIES_META_KEY)
    return isinstance(capabilities, dict) and not _ASKABLE.isdisjoint(capabilities)


NOBODY = Asker()
"""For what semel asks on its own."""

ASKER: ContextVar[Asker] = ContextVar("semel_asker", default=NOBODY)
"""Who asked for the request that is made in this context; in-process and over HTTP, the SDK carries the context to
whatever a server says in the course of it."""
