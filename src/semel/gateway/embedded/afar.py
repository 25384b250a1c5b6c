"""A node in another thread's event loop, as a door sees it that lives in this one.

Knows which of the two loops each method is for, of a node's and of whoever waits at the door; not what they do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from typing import Any, TypeVar

from semel.core.call import CallId, Record
from semel.errors import NoLeader
from semel.gateway.loopthread import LoopThread
from semel.node.asides import Hub, Party, Question
from semel.node.backend import Reply, Witness

_Result = TypeVar("_Result")


class Afar:
    """A `Witness` in front of one in `thread`.

    `near` is that one while it is there, for what any thread may ask; `there`, which runs in the thread, waits for it.
    """

    near: Witness | None = None

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self.asides: Any = _Asides(self)

    async def there(self) -> Witness:
        """Wait for the node, in its thread; raises SemelError if it is known not to come."""
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
        return await self.have(lambda node: node.call(tool, arguments, party=far, **given))

    async def ask(self, method: str, params: Mapping[str, Any], party: Party) -> dict[str, Any]:
        """Return what the servers behind the node answer to a request that is no call; raises `Unanswered`."""
        far = _FarParty(party, self)
        return await self.have(lambda node: node.ask(method, params, far))

    # How calls stand.

    @property
    def cluster_id(self) -> str:
        """What the log calls its cluster."""
        return self._here().cluster_id

    @property
    def retention_ms(self) -> int:
        """How long the result of a call is kept."""
        return self._here().retention_ms

    async def stand(self, call: CallId) -> Record | None:
        """Return how a call stands in the log, None if it does not."""
        return await self.have(lambda node: node.stand(call))

    async def questions(self, call: CallId) -> Mapping[str, Question]:
        """Return what the tool that runs for a call asks just now; it is answered by way of `asides`."""
        return await self.have(lambda node: node.questions(call))

    async def watch(self, call: CallId, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called, in the door's loop, whenever a call comes to stand otherwise."""
        loop = asyncio.get_running_loop()

        def far() -> None:
            with suppress(RuntimeError):  # the door's loop is closed
                loop.call_soon_threadsafe(changed)

        end_far = await self.have(lambda node: node.watch(call, far))

        def end() -> None:
            with suppress(RuntimeError):  # the node's loop is closed
                self._thread.call_soon(end_far)

        return end

    async def begun(self, call: CallId) -> None:
        """Wait until a call has begun."""
        await self.have(lambda node: node.begun(call))

    def _here(self) -> Witness:
        if self.near is None:
            raise NoLeader("this node is not up")
        return self.near

    def have(self, do: Callable[[Witness], Awaitable[_Result]]) -> "asyncio.Future[_Result]":
        """Have the node do something, in its thread, once it is there."""

        async def work() -> _Result:
            return await do(await self.there())

        return self.across(work())

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

        async def answered(node: Witness) -> None:
            (self._hub or node.asides).answer(call, key, **answer)

        self._afar.have(answered)

    def cancel(self, call: CallId) -> None:
        """Have the tool of a call stopped."""

        async def cancel(node: Witness) -> None:
            node.asides.cancel(call)

        self._afar.have(cancel)


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
