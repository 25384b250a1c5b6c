"""The sessions that live on this node: opened by `initialize`, ended by their clients, by idleness or for want of room.

Knows the SDK's transport of one session; not which node a request is for. The SDK's own keeper of sessions is not
asked: it knows no events by session and no ids that tell a node, and refuses everybody when it is full.
"""

import asyncio
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.server import Server
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, AuthorizationContext, authorization_context
from mcp.server.runner import serve_loop
from mcp.server.streamable_http import StreamableHTTPServerTransport
from starlette.types import Message, Receive, Scope, Send

from semel.core.call import NodeId
from semel.gateway.doors.events import Events, SessionEvents

SESSIONS_MAX = 4096
"""So many at once; each costs some 40 KiB. For a further one, the one that was unused for longest goes: most clients
never say that they have left, and one that comes back begins anew."""

IDLE_S = 30 * 60.0
"""A session without any request for so long ends. A stream that its client holds open is a request."""

DELIVER_S = 1.0
"""How long the end of a session, asked for by its client, waits for what that said before: a cancellation, say."""

RETRY_MS = 500
"""When a client should ask for the rest of a stream that broke or was closed (SEP-1699)."""

_ID = re.compile(r"[0-9a-f]{32}\.([0-9a-f]{8})\.([A-Za-z0-9][A-Za-z0-9._-]{0,63})")

_log = logging.getLogger(__name__)


def owner_of(session_id: str) -> NodeId | None:
    """Return the node that gave out a session's id, None if no node did."""
    match = _ID.fullmatch(session_id)
    return None if match is None else NodeId(match[2], match[1])


@dataclass(eq=False)
class Session:
    """One client's session, from its `initialize` to its end."""

    id: str
    transport: StreamableHTTPServerTransport
    events: SessionEvents
    credential: AuthorizationContext | None
    """Who opened it; nobody else may use it."""
    requests: int = 0
    """Under way, open streams among them."""
    undelivered: int = 0
    """Messages that were acknowledged (202) and not taken yet."""
    delivered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever there is none of them left."""


class HeldSessions:
    """All sessions of one node, in the order of their last use; an asynchronous context while it serves."""

    def __init__(self, me: NodeId, *, sessions_max: int = SESSIONS_MAX, idle_s: float = IDLE_S) -> None:
        self._me = me
        self._sessions_max = sessions_max
        self._idle_s = idle_s
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._events = Events()
        self._server: Server[Any]
        self._state: Any = None
        self._group: TaskGroup

    def __len__(self) -> int:
        return len(self._sessions)

    @asynccontextmanager
    async def run(self, server: Server[Any]) -> AsyncIterator[None]:
        """Serve sessions of `server` while the context is open; then end them."""
        async with server.lifespan(server) as self._state, anyio.create_task_group() as self._group:
            self._server = server
            try:
                yield
            finally:
                self._group.cancel_scope.cancel()

    async def open(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serve an `initialize`, which opens a session; return False if there is no room for one."""
        if len(self._sessions) >= self._sessions_max and not await self._make_room():
            return False
        session = self._begin(_credential(scope))
        opened = False

        async def watched(message: Message) -> None:
            nonlocal opened
            opened = opened or (message["type"] == "http.response.start" and message["status"] < 400)
            await send(message)

        try:
            await self._group.start(self._live, session)
            await self._serve(session, scope, receive, watched)
        finally:
            if not opened:
                await self._end(session)
        return True

    async def serve(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serve a request of a session; return False if there is none, or it is somebody else's."""
        session = self._sessions.get(session_id)
        if session is None or session.credential != _credential(scope):
            return False
        self._sessions.move_to_end(session_id)
        if scope["method"] == "DELETE" and session.undelivered:
            with anyio.move_on_after(DELIVER_S):
                await session.delivered.wait()
        await self._serve(session, scope, receive, send)
        if session.transport.is_terminated:
            await self._end(session)
        return True

    def can_resume(self, session_id: str, last_event_id: str) -> bool:
        """Return whether a session still has all that it sent after an event; True if there is no such session."""
        session = self._sessions.get(session_id)
        return session is None or session.events.can_resume(last_event_id)

    def hang_up(self) -> None:
        """End the streams on which clients only listen; answers that are under way go on."""
        for session in self._sessions.values():
            session.transport.close_standalone_sse_stream()

    def _begin(self, credential: AuthorizationContext | None) -> Session:
        session_id = f"{secrets.token_hex(16)}.{self._me.incarnation}.{self._me.name}"
        events = SessionEvents(self._events)
        transport = StreamableHTTPServerTransport(
            session_id, event_store=events, retry_interval=RETRY_MS, idle_timeout=self._idle_s
        )
        session = self._sessions[session_id] = Session(session_id, transport, events, credential)
        return session

    async def _live(self, session: Session, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve a session from its first request to its end."""
        async with session.transport.connect() as (read, write):
            task_status.started()
            try:
                assert session.transport.idle_scope is not None  # because there is an idle time
                with session.transport.idle_scope:
                    await serve_loop(self._server, read, write, lifespan_state=self._state, session_id=session.id)
            except Exception:
                _log.exception("a session has broken down")
            finally:
                await self._end(session)

    async def _serve(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        acknowledged = False

        async def watched(message: Message) -> None:
            nonlocal acknowledged
            if message["type"] == "http.response.start" and message["status"] == 202:
                acknowledged = True
                session.undelivered += 1
                session.delivered.clear()
            await send(message)

        session.requests += 1
        try:
            await session.transport.handle_request(scope, receive, watched)
        finally:
            session.requests -= 1
            session.undelivered -= acknowledged
            if not session.undelivered:
                session.delivered.set()

    async def _make_room(self) -> bool:
        """End the session that was unused for longest; return False if all are in use."""
        unused = next((session for session in self._sessions.values() if not session.requests), None)
        if unused is not None:
            await self._end(unused)
        return unused is not None

    async def _end(self, session: Session) -> None:
        """Forget a session at once, and end what goes on in it, also while the caller is being cancelled."""
        self._sessions.pop(session.id, None)
        session.events.forget()
        if not session.transport.is_terminated:
            with anyio.CancelScope(shield=True):
                await session.transport.terminate()


def _credential(scope: Scope) -> AuthorizationContext | None:
    user = scope.get("user")
    return authorization_context(user) if isinstance(user, AuthenticatedUser) else None
