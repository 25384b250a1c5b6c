"""Keeps processes running: starts those that die again, ever more slowly, and says so. Decides no order among them."""

import asyncio
import time
from collections.abc import Callable, Iterable

from semel.errors import ChildFailed
from semel.local.child import Child, how_it_ended

AGAIN_S = 0.2
"""So long after its first death a process is started again: at once, to a person, and not in a tight loop."""
AGAIN_S_MAX = 10.0
"""A process that dies again and again is started so often: soon after somebody has mended what ails it."""
STEADY_S = 30.0
"""A process that has run so long has not died of its start: the next delay is a first one."""
BOUND_LOGS_S = 5.0

Say = Callable[[str], None]


class Supervisor:
    """Children that it has started, most of them with a task that starts them again."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._children: list[Child] = []
        self._keepers: dict[Child, asyncio.Task[None]] = {}

    async def start(self, child: Child) -> None:
        """Start a child, whose death is its end as long as it is not to be kept.

        Raises:
            ChildFailed: the system refuses.
        """
        child.bound_log()
        self._children.append(child)
        await child.start()

    def keep(self, child: Child) -> None:
        """Start this child, which has been started, again whenever it dies."""
        assert child in self._children
        assert child not in self._keepers
        self._keepers[child] = asyncio.create_task(self._keep(child), name=f"keep {child.name}")

    async def end(self, children: Iterable[Child], *, patience_s: float) -> dict[str, int]:
        """End these children, all at once, and return their exit codes by name; those kill which take longer."""
        children = list(children)
        await self._let_go(children)
        codes = await asyncio.gather(*(child.end(patience_s) for child in children))
        return {child.name: code for child, code in zip(children, codes, strict=True)}

    async def kill(self) -> None:
        """Kill whatever runs, and keep nothing any more."""
        await self._let_go(self._children)
        await asyncio.gather(*(child.kill() for child in self._children if child.runs))

    async def _let_go(self, children: Iterable[Child]) -> None:
        keepers = [self._keepers[child] for child in children if child in self._keepers]
        for keeper in keepers:
            keeper.cancel()
        if keepers:
            await asyncio.wait(keepers)

    async def _keep(self, child: Child) -> None:
        delay_s, started_s = AGAIN_S, time.monotonic()
        while True:
            code = await child.ended()
            if time.monotonic() - started_s > STEADY_S:
                delay_s = AGAIN_S
            self._say(f"{child.name} {how_it_ended(code)}; it is started again in {delay_s:g} s{_why(child, code)}")
            await asyncio.sleep(delay_s)
            delay_s, started_s = min(delay_s * 2, AGAIN_S_MAX), time.monotonic()
            if await self._start(child):
                self._say(f"{child.name} runs again, as process {child.pid}")

    async def _start(self, child: Child) -> bool:
        """Start a child, or say why that cannot be; then its next death comes at once."""
        try:
            await child.start()
        except ChildFailed as error:
            self._say(str(error))
            return False
        return True

    async def bound_logs(self) -> None:
        """Keep what all children write within its bounds, until cancelled."""
        while True:
            await asyncio.sleep(BOUND_LOGS_S)
            for child in self._children:
                child.bound_log()


def _why(child: Child, code: int) -> str:
    """Return what a process said last that ended by itself; one that was ended by a signal cannot know."""
    last = child.last_words(1).strip() if code > 0 else ""
    return f" (its last words: {last[:300]})" if last else ""
