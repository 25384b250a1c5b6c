"""A node in another thread's event loop, as a door sees it that lives in this one.

Knows which of the two loops each method is for, of a node's and of whoever waits at the door; not what they do.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from typing import Any, TypeVar

from semel.core.call import CallId
from semel.gateway.loopthread import LoopThread
from semel.node.asides import Hub, Party, Question
from semel.node.backend import Backend, Reply

_Result = TypeVar("_Result")


class Afar:
    """A `Backend` in front of one in `thread`.

    `near` is that one while it is there, for what any thread may ask; `there`, which runs in the thread, waits for it.
    """

    near: Backend | None = None

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self.asides: Any = _Asides(self)

    async def there(self) -> Backend:
        """Wait for the backend, in its thread; raises SemelError if it is known not to come."""
        raise NotImplementedError

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools of the node; none while it is not up."""
        return () if self.near is None else self.near.tools()

    def offers(self) -> Mapping[str, Any]:
        """Return what else the node offers."""
        return {} if self.near is None else self.near.offers()

    def readiness(self) -> str | None:
        """Return None if the node can take calls, else why not."""
        return "this node is not up" if self.near is None else self.near.readiness()

    async def call(self, tool: str, arguments: Mapping[str, Any], *, party: Party | None = None, **given: Any) -> Reply:
        """Run a call once and return how it stands; `given` is what else `Backend.call` takes."""
        far = None if party is None else _FarParty(party, self)

        async def call() -> Reply:
            return await (await self.there()).call(tool, arguments, party=far, **given)

        return await self.across(call())

    async def ask(self, method: str, params: Mapping[str, Any], party: Party) -> dict[str, Any]:
        """Return what the servers behind the node answer to a request that is no call; raises `Unanswered`."""
        far = _FarParty(party, self)

        async def ask() -> dict[str, Any]:
            return await (await self.there()).ask(method, params, far)

        return await self.across(ask())

    def across(self, work: Coroutine[Any, Any, _Result]) -> "asyncio.Future[_Result]":
        """Begin `work` in the node's thread.

        In a context of its own: what follows from one request must not run as that request's user.
        """
        return Context().run(self._thread.submit, work)


class _Asides:
    """What passes beside the log, as far as a door has to do with it; in the door's loop.

    `hub` is who asks a question, if that is not the node for one of its calls.
    """

    def __init__(self, afar: Afar, hub: Hub | None = None) -> None:
        self._afar = afar
        self._hub = hub

    def answer(self, call: CallId, key: str, **answer: Any) -> None:
        """Answer a question."""

        async def answered() -> None:
            (self._hub or (await self._afar.there()).asides).answer(call, key, **answer)

        self._afar.across(answered())

    def cancel(self, call: CallId) -> None:
        """Have the tool of a call stopped."""

        async def cancel() -> None:
            (await self._afar.there()).asides.cancel(call)

        self._afar.across(cancel())


class _FarParty:
    """Somebody who waits in the door's loop, as the node sees them; in the node's loop."""

    def __init__(self, party: Party, afar: Afar) -> None:
        self._party = party
        self._afar = afar
        self._loop = asyncio.get_running_loop()

    def told(self, method: str, params: dict[str, Any]) -> None:
        """Pass a notification on."""
        self._soon(self._party.told, method, params)

    def asked(self, question: Question) -> None:
        """Pass a question on, whose answer comes back across."""
        self._soon(self._party.asked, replace(question, hub=_Asides(self._afar, question.hub)))

    def withdrawn(self, key: str) -> None:
        """Pass on that a question needs no answer any more."""
        self._soon(self._party.withdrawn, key)

    def _soon(self, method: Any, *arguments: Any) -> None:
        with suppress(RuntimeError):  # the door's loop is closed
            self._loop.call_soon_threadsafe(method, *arguments)
