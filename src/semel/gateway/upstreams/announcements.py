"""What a server announces: that its lists have changed, and the resources that somebody watches.

Knows how each version is asked for that; what is announced is heard by the connection, with all else that the server
says.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from mcp import ClientSession, MCPError, types
from mcp.client.subscriptions import SubscriptionLost, listen
from pydantic import ValidationError

_SUBSCRIBE_S = 2.0
"""How long a server may take to be subscribed to something; with one that takes longer it is given up."""

_LISTEN_AGAIN_FIRST_S = 1.0
_LISTEN_AGAIN_MAX_S = 60.0
"""The pause before a lost stream of announcements is asked for again; proxies cut those where nothing flows."""


class Announcements:
    """What is to be announced over one connection; `on_event` is called for what may have been missed, of each kind."""

    def __init__(self, on_event: Callable[[str, str], object]) -> None:
        self._on_event = on_event
        self._watched: frozenset[str] = frozenset()
        self._anew = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._subscribed.set()
        self._over = False

    def watch(self, uris: frozenset[str]) -> None:
        """Hear of changes of these resources from now on, and of no others; best effort."""
        if self._watched != uris:
            self._watched = uris
            self._subscribed.clear()
            self._anew.set()

    async def watching(self) -> None:
        """Wait until a server of the handshake eras knows what is to be watched, but for no long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), _SUBSCRIBE_S)

    def end(self) -> None:
        """Ask for nothing any more."""
        self._over = True
        self._anew.set()

    async def listen(self, session: ClientSession, offers: types.ServerCapabilities, *, modern: bool) -> None:
        """Have the server announce changes for as long as the connection lasts; older versions do so unasked."""
        watchable = bool(offers.resources and offers.resources.subscribe)
        if not modern:
            if watchable:
                await self._subscribe(session)
            self._subscribed.set()
            return
        lists: dict[str, Any] = {
            "tools_list_changed": bool(offers.tools and offers.tools.list_changed),
            "prompts_list_changed": bool(offers.prompts and offers.prompts.list_changed),
            "resources_list_changed": bool(offers.resources and offers.resources.list_changed),
        }
        pause_s = _LISTEN_AGAIN_FIRST_S
        while not self._over:
            self._anew.clear()
            watched = self._watched if watchable else frozenset[str]()
            if not any(lists.values()) and not watched:
                await self._anew.wait()
                continue
            with contextlib.suppress(MCPError, SubscriptionLost, TimeoutError):
                async with listen(session, **lists, resource_subscriptions=sorted(watched)) as announcements:
                    for kind in (name.split("_")[0] for name, wanted in lists.items() if wanted):
                        self._on_event(kind, "")  # whatever changed before it was there
                    pause_s = _LISTEN_AGAIN_FIRST_S
                    if await _ends(announcements, self._anew):
                        continue
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LISTEN_AGAIN_MAX_S)

    async def _subscribe(self, session: ClientSession) -> None:
        """Keep a server of the handshake eras subscribed to what is watched."""
        told: frozenset[str] = frozenset()
        while True:
            await self._anew.wait()
            self._anew.clear()
            with contextlib.suppress(TimeoutError):
                while told != (wanted := self._watched):
                    for uri in told - wanted:
                        async with asyncio.timeout(_SUBSCRIBE_S):
                            unsubscribe = types.UnsubscribeRequestParams(uri=uri)
                            await try_to(session, types.UnsubscribeRequest(params=unsubscribe))
                    for uri in wanted - told:
                        async with asyncio.timeout(_SUBSCRIBE_S):
                            await try_to(session, types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri)))
                    told = wanted
            told = self._watched  # a server that does not answer is not asked again
            self._subscribed.set()


async def try_to(session: ClientSession, request: types.ClientRequest) -> None:
    """Send a request that may as well be refused: to subscribe to a resource, say, that this server does not have."""
    with contextlib.suppress(MCPError, ValidationError):
        await session.send_request(request, types.EmptyResult)


async def _ends(announcements: Any, anew: asyncio.Event) -> bool:
    """Wait until a stream of announcements ends; return True if it is to be asked for anew, for other things."""

    async def drain() -> None:
        async for _ in announcements:
            pass  # each was heard on its way in

    waits = [asyncio.create_task(drain()), asyncio.create_task(anew.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return anew.is_set()
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
