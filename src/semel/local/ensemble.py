"""Etcd members and nodes that run here together: up in order, watched, down in order.

Knows that nodes need a log that answers; does not know how the members came to be one cluster.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from semel.errors import ChildFailed
from semel.local.child import Child, how_it_ended
from semel.local.http import NoAnswer, get_json
from semel.local.members import healthy
from semel.local.supervisor import Say, Supervisor

LOOK_S = 0.05
REMIND_AFTER_S = 3.0
REMIND_S = 10.0
"""Whoever waits is told what for, as soon as that is not over in a moment, and then so often."""
MEMBER_END_S = 5.0
"""An etcd member that is told to go hands over and is gone within a second; one that is not is killed, which etcd
stands. They go one after the other, since a leader that hands over to members that go, too, waits for six seconds."""
NODE_END_S = 5.0
"""What a node may take beyond the time for its running tools."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Served:
    """A process and the URL at which it answers: a member's clients, or a node's."""

    child: Child
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """What runs on this machine, and the cluster that it is part of."""

    members: Sequence[Served]
    nodes: Sequence[Served]
    etcd: Mapping[str, str]
    """The names of all etcd members by their client URLs, also those of other machines."""
    log: str
    """The log's URL."""
    on_quorum: Callable[[], None] = lambda: None
    """Called when the members have a quorum, before any node starts."""

    async def up(self, supervisor: Supervisor, say: Say) -> None:
        """Start the members, wait for their quorum, start the nodes, wait until each is ready, and keep all.

        Waits as long as it takes, since a quorum may need machines that are still off and a long log takes its time
        to be read; says every few seconds what it waits for.

        Raises:
            ChildFailed: a process ended before it was ready.
        """
        others = f" ({len(self.etcd)} members; a majority must run)" if len(self.etcd) > 1 else ""
        await _up(self.members, healthy, f"waits for a quorum of etcd members{others}", supervisor, say)
        self.on_quorum()
        await _up(self.nodes, _is_ready, "is not ready yet: it reads the log, or waits for a leader", supervisor, say)

    async def down(self, supervisor: Supervisor, *, drain_s: float) -> dict[str, int]:
        """Drain and end the nodes, then the members, and return all exit codes by name."""
        nodes = await supervisor.end([one.child for one in self.nodes], patience_s=drain_s + NODE_END_S)
        codes = [await supervisor.end([one.child], patience_s=MEMBER_END_S) for one in self.members]
        return nodes | {name: code for member in codes for name, code in member.items()}


async def _up(
    them: Sequence[Served], ready: Callable[[str], Awaitable[bool]], still: str, supervisor: Supervisor, say: Say
) -> None:
    for one in them:
        await supervisor.start(one.child)
    waits = [asyncio.create_task(_until_ready(one, ready, still, say)) for one in them]
    try:
        await asyncio.gather(*waits)
    finally:
        for wait in waits:
            wait.cancel()
    for one in them:
        supervisor.keep(one.child)


async def _until_ready(one: Served, ready: Callable[[str], Awaitable[bool]], still: str, say: Say) -> None:
    async def look() -> None:
        while not await ready(one.url):  # noqa: ASYNC110  # another process's state: there is nothing to wait on
            await asyncio.sleep(LOOK_S)

    code = await reminded(_first(look(), one.child.ended()), f"{one.child.name} {still}", say)
    if code is not None:
        raise ChildFailed(
            f"{one.child.name} {how_it_ended(code)} before it was ready. Its last words, in {one.child.log}:\n"
            f"{one.child.last_words() or '(none)'}"
        )


async def reminded(work: Coroutine[Any, Any, Result], waiting: str, say: Say) -> Result:
    """Return what the work returns; say every few seconds that somebody waits for it."""

    async def remind() -> None:
        await asyncio.sleep(REMIND_AFTER_S)
        while True:
            say(waiting)
            await asyncio.sleep(REMIND_S)

    reminder = asyncio.create_task(remind())
    try:
        return await work
    finally:
        reminder.cancel()


async def _first(look: Coroutine[Any, Any, None], end: Coroutine[Any, Any, int]) -> int | None:
    """Return None when `look` is done, or the exit code when `end` is done first."""
    looking, ending = asyncio.create_task(look), asyncio.create_task(end)
    try:
        await asyncio.wait([looking, ending], return_when=asyncio.FIRST_COMPLETED)
        return ending.result() if ending.done() else looking.result()
    finally:
        looking.cancel()
        ending.cancel()


async def _is_ready(url: str) -> bool:
    try:
        await get_json(f"{url}/readyz")
    except NoAnswer:
        return False
    return True
