"""A lookout on the nodes of a cluster: what they offer, and what changes there, told to the clients on this side.

Knows a `Client`, with which it listens to the node that answers, and to the next one when that is gone, and an
`Announcer`. What changes while nobody can be listened to is not heard: after that, everything is said to have changed.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from mcp import MCPError
from mcp.shared.subscriptions import event_from_wire

from semel.errors import SemelError
from semel.gateway.clients.client import Client
from semel.gateway.doors.announcing import Announcer

_LISTEN_AGAIN_FIRST_S = 0.1
_LISTEN_AGAIN_MAX_S = 30.0
"""The pause before nodes that let nobody listen are asked again; it doubles until one is listened to for longer."""

_MOVE_ON_S = 10.0
"""A node is listened to for so long at least before another is preferred because it answers the calls."""


class Lookout:
    """What is known of the nodes; it is kept true for as long as `keep` runs."""

    def __init__(self, client: Client, announcer: Announcer) -> None:
        self.offers: Mapping[str, Any] = {}
        """What the nodes offer, as MCP's ServerCapabilities has it; nothing until a node has said so."""
        self.instructions: str | None = None
        """What the served server says of itself to models."""
        self._client = client
        self._announcer = announcer
        self._met = False
        self._watched: frozenset[str] = frozenset()
        self._anew = asyncio.Event()
        self._changed = asyncio.Event()
        self._listening: tuple[str, float] | None = None
        announcer.on_watch = self._watch

    async def meet(self, within_s: float) -> bool:
        """Learn what the nodes offer; return whether one has said so in time."""
        with contextlib.suppress(TimeoutError, SemelError):
            async with asyncio.timeout(within_s):
                said = await self._client.discover()
                self.offers, self.instructions = said["capabilities"], said.get("instructions")
                self._met = True
        return self._met

    def answered(self, url: str) -> None:
        """Note which node has answered a call: it is the one to listen to, if the other does not."""
        now = asyncio.get_running_loop().time()
        if self._listening is not None and url != self._listening[0] and now - self._listening[1] > _MOVE_ON_S:
            self._anew.set()

    async def keep(self) -> None:
        """Listen, and tell what changes, until cancelled."""
        now = asyncio.get_running_loop().time
        pause_s = _LISTEN_AGAIN_FIRST_S
        missed = not self._met
        stream: asyncio.Task[None] | None = None
        try:
            while True:
                self._anew.clear()
                with contextlib.suppress(SemelError, MCPError):
                    following = await self._client.listen(self._heard, resources=self._watched)
                    if stream is not None:  # until now, so that nothing is missed in between
                        missed |= stream.done()
                        stream.cancel()
                    stream, self._listening = following, (self._client.urls[0], now())
                    await self._look(missed=missed)
                    missed = await self._while_it_lasts(stream)
                    if not missed:
                        continue
                    if now() - self._listening[1] > _LISTEN_AGAIN_MAX_S:
                        pause_s = _LISTEN_AGAIN_FIRST_S
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LISTEN_AGAIN_MAX_S)
        finally:
            if stream is not None:
                stream.cancel()

    async def _while_it_lasts(self, stream: "asyncio.Task[None]") -> bool:
        """Wait for the end of a stream, or for a reason to listen anew; return whether it has ended."""
        while not stream.done() and not self._anew.is_set():
            waits = [asyncio.create_task(each.wait()) for each in (self._anew, self._changed)]
            try:
                await asyncio.wait([stream, *waits], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()
            if self._changed.is_set():
                self._changed.clear()
                await self._look(missed=False)
        return stream.done()

    async def _look(self, *, missed: bool) -> None:
        """Learn what is offered now; if something may have been `missed`, say that everything has changed."""
        await self.meet(_MOVE_ON_S)
        if missed:
            for kind in ("tools", "prompts", "resources"):
                if kind in self.offers:
                    self._announcer.happened(kind, "")
            for uri in self._watched:
                self._announcer.happened("resource", uri)

    def _heard(self, method: str, params: dict[str, Any]) -> None:
        """Take a node's notification."""
        if (event := event_from_wire(method, params)) is None:
            return
        if method.endswith("list_changed"):
            self._announcer.happened(method.split("/")[1], "")
            self._changed.set()
        else:
            self._announcer.happened("resource", getattr(event, "uri", ""))

    def _watch(self, uris: frozenset[str]) -> None:
        self._watched = uris
        self._anew.set()
