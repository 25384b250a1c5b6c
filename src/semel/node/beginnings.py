"""Who waits for a call to stand in the log, and for no more: its outcome may take long."""

import asyncio
from collections.abc import Container

from semel.core.call import CallId


class Beginnings:
    """The calls that somebody here waits for to begin."""

    def __init__(self) -> None:
        self._awaited: dict[CallId, list[asyncio.Future[None]]] = {}

    async def wait(self, call: CallId, begun: Container[CallId]) -> None:
        """Wait until a call has begun and has no outcome yet; `begun` holds those of which that is so.

        One that comes to its outcome before anybody looks is waited for in vain.
        """
        if call in begun:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(call, []).append(waiting)
        try:
            await waiting
        finally:
            if waiting in (others := self._awaited.get(call, [])):
                others.remove(waiting)
                if not others:
                    del self._awaited[call]

    def look(self, begun: Container[CallId]) -> None:
        """Wake those whose calls have begun."""
        for call in [call for call in self._awaited if call in begun]:
            for waiting in self._awaited.pop(call):
                if not waiting.done():
                    waiting.set_result(None)
