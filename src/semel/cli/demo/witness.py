"""What the nodes say when each is asked for itself: how the cluster stands, and the audit. Waits until they agree."""

import asyncio
from collections.abc import Sequence
from typing import Any

from semel.cli.demo.stage import Actor, until

Standing = dict[str, Any]
Call = dict[str, Any]


async def standings(actors: Sequence[Actor]) -> list[Standing]:
    """Return what each node says of the cluster, once all are ready and agree on leader, term and position."""

    async def look() -> list[Standing] | None:
        found = await asyncio.gather(*map(_standing, actors))
        views = {(standing["leader"], standing["term"], standing["position"]) for standing in found}
        ready = all(standing["ready"] for standing in found)
        return found if ready and len(views) == 1 and found[0]["leader"] else None

    return await until(f"{_names(actors)} agree on who leads", look)


async def same_history(actors: Sequence[Actor], *, calls: int) -> list[Call]:
    """Return the audit of each node once all have the same, of so many calls, none of which is still running."""

    async def look() -> list[Call] | None:
        first, *others = await asyncio.gather(*map(_history, actors))
        settled = len(first) == calls and all(call["outcome"] != "running" for call in first)
        return first if settled and all(other == first for other in others) else None

    return await until(f"{_names(actors)} have the same audit, of {calls} calls", look)


async def seen_gone(actors: Sequence[Actor], name: str) -> None:
    """Wait until each node says that the node `name` is not alive."""

    async def look() -> bool | None:
        found = await asyncio.gather(*map(_standing, actors))
        beats = [node for standing in found for node in standing["nodes"] if node["node"] == name]
        return True if all(not node["alive"] for node in beats) else None

    await until(f"{_names(actors)} see that {name} is gone", look)


async def _standing(actor: Actor) -> Standing:
    return await actor.client.status()


async def _history(actor: Actor) -> list[Call]:
    return [dict(call) async for call in actor.client.audit()]


def _names(actors: Sequence[Actor]) -> str:
    return " and ".join(actor.name for actor in actors)
