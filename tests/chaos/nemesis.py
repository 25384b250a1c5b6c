"""The nemesis: draws from one seed what is done, to whom, for how long, and how much of it at once.

The seed fixes what is wanted; when exactly a process gets it, and what it is doing then, is the machine's affair.
"""

import asyncio
import contextlib
import random
import time

from tests.chaos.field import Field

AT_ONCE_MAX = 3
PAUSE_S = (0.1, 1.2)
SHARES = {"kill": 4, "stop": 3}
"""How often a kind is in the bag that is drawn from; once if not said."""


async def storm(field: Field, dice: random.Random, seconds: float) -> None:
    """Do harm for so long; when this returns, all of it is undone."""
    ends_s = time.monotonic() + seconds
    bag: list[str] = []
    under_way: set[asyncio.Task[None]] = set()
    try:
        while time.monotonic() < ends_s:
            if not bag:
                bag = [kind for kind in sorted(field.kinds) for _ in range(SHARES.get(kind, 1))]
                dice.shuffle(bag)
            kind, seconds_of_it = bag.pop(), 0.0
            seconds_of_it = dice.uniform(*field.kinds[kind])
            victim = await field.choose(dice)
            under_way.add(asyncio.create_task(_harm(field, kind, victim, seconds_of_it), name=f"{kind} {victim}"))
            await asyncio.sleep(dice.uniform(*PAUSE_S))
            while len(under_way) >= AT_ONCE_MAX:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                under_way = _kept(under_way)
    finally:
        if under_way:
            await asyncio.wait(under_way)
            _kept(under_way)


def _kept(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Return the tasks that still run; a mistake in one that has ended is raised."""
    for task in tasks:
        if task.done():
            task.result()
    return {task for task in tasks if not task.done()}


async def _harm(field: Field, kind: str, victim: str, seconds: float) -> None:
    async with contextlib.AsyncExitStack() as done:
        await done.enter_async_context(field.do(kind, victim))
        await asyncio.sleep(seconds)
