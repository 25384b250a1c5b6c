"""Tells a node's MCP clients what has changed, as far as their protocol version lets a node tell them.

In 2026-07-28 a client asks for that with `subscriptions/listen`, on any transport. In the handshake eras a server may
just say of a list that it changed, and says of a resource what a client subscribed to, where a connection stands.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from mcp import MCPError, types
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.subscriptions import event_to_notification
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

_LISTS: dict[str, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}

WATCHED_MAX = 4096
URI_CHARS_MAX = 2048
"""So many resources are watched for the clients of a node, and their URIs may be so long: each server behind it and
each other node is told of all of them."""

TELL_S = 2.0
"""A client that listens takes a line at once; one that has stopped reading must not hold what is told to others."""

Context = ServerRequestContext[Any, Any]


class _Listener:
    """A connection of the handshake eras: the newest request's session, and the resources it subscribed to."""

    def __init__(self, session: ServerSession) -> None:
        self.session = session
        self.uris: set[str] = set()

    async def tell(self, event: ServerEvent) -> None:
        """Tell its client, unless that has left, or does not read what it is told."""
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, TimeoutError):
            async with asyncio.timeout(TELL_S):
                await self.session.send_notification(event_to_notification(event, {}))


class Announcer:
    """What all doors of a node have in common; lives in the node's event loop.

    `on_watch` is told which resources clients here want to hear of, whenever that changes.
    """

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._handler = ListenHandler(self._bus)
        self._listeners: dict[Connection, _Listener] = {}
        self._watched: Counter[str] = Counter()
        self._telling: set[asyncio.Task[None]] = set()
        self.on_watch: Callable[[frozenset[str]], None] = lambda _uris: None

    async def listen(self, context: Context, params: types.SubscriptionsListenRequestParams) -> Any:
        """Serve `subscriptions/listen`."""
        uris = set(params.notifications.resource_subscriptions or ())
        self._check(uris)
        with self._watching(uris):
            return await self._handler(context, params)

    def met(self, context: Context) -> None:
        """Remember who has asked for something that may change, if it can be told without having asked for that."""
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            self._listener(context)

    def subscribe(self, context: Context, uri: str) -> None:
        """Tell a client of the handshake eras of changes of a resource."""
        listener = self._listener(context)
        if uri not in listener.uris:
            self._check({uri})
            listener.uris.add(uri)
            self._watch([uri], 1)

    def unsubscribe(self, context: Context, uri: str) -> None:
        """Tell it no more."""
        listener = self._listener(context)
        if uri in listener.uris:
            listener.uris.remove(uri)
            self._watch([uri], -1)

    def happened(self, kind: str, uri: str) -> None:
        """Tell everybody who can be told: the list of a kind has changed, or the resource at `uri`."""
        event = _LISTS[kind] if kind in _LISTS else ResourceUpdated(uri)
        telling = asyncio.get_running_loop().create_task(self._tell(event), name=f"announce {kind}")
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    def close(self) -> None:
        """End the streams of those who listen; they listen elsewhere."""
        self._handler.close()

    async def _tell(self, event: ServerEvent) -> None:
        await self._bus.publish(event)
        told = [
            listener
            for listener in self._listeners.values()
            if not isinstance(event, ResourceUpdated) or event.uri in listener.uris
        ]
        await asyncio.gather(*(listener.tell(event) for listener in told))

    def _listener(self, context: Context) -> _Listener:
        connection = context.session._connection  # the SDK's own `Context` shows it; the one that handlers get, not yet
        listener = self._listeners.get(connection)
        if listener is None:
            listener = self._listeners[connection] = _Listener(context.session)
            connection.exit_stack.callback(self._forget, connection)
        return listener

    def _forget(self, connection: Connection) -> None:
        self._watch(self._listeners.pop(connection).uris, -1)

    @contextmanager
    def _watching(self, uris: set[str]) -> Iterator[None]:
        self._watch(uris, 1)
        try:
            yield
        finally:
            self._watch(uris, -1)

    def _check(self, uris: set[str]) -> None:
        if any(len(uri) > URI_CHARS_MAX for uri in uris):
            raise MCPError(types.INVALID_PARAMS, f"a resource's URI has more than {URI_CHARS_MAX} characters")
        if not all(uri.isprintable() for uri in uris):
            raise MCPError(types.INVALID_PARAMS, "a resource's URI has characters that cannot be printed")
        if len(uris | self._watched.keys()) > WATCHED_MAX:
            raise MCPError(
                types.INTERNAL_ERROR,
                f"the clients of this node hear of {WATCHED_MAX} resources, and no more: ask another",
            )

    def _watch(self, uris: Iterable[str], times: int) -> None:
        before = frozenset(self._watched)
        for uri in uris:
            self._watched[uri] += times
            if not self._watched[uri]:
                del self._watched[uri]
        if frozenset(self._watched) != before:
            self.on_watch(frozenset(self._watched))
