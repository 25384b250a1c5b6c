"""The recorder: follows a log from its first entry on, through the engine itself, for a judge who wants all of it.

A log that is kept small forgets what every node holds; who has followed it all along still has it.
"""

import asyncio
import contextlib

from semel.log.engines import open_log
from semel.log.protocol import Log
from tests.processes.cluster import until

LEVEL_S = 30.0


class Recorder:
    """All entries of one log, from when it was empty; in the running event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._log: Log | None = None
        self._following: asyncio.Task[None] | None = None
        self.entries: list[bytes] = []

    async def start(self) -> None:
        """Begin to follow."""
        self._log = await open_log(self._url)
        self._following = asyncio.create_task(self._follow(self._log), name="recorder")

    async def _follow(self, log: Log) -> None:
        async for batch in log.follow(0):
            assert batch.first == len(self.entries) + 1, f"follow goes on at {batch.first} after {len(self.entries)}"
            self.entries += batch.entries

    async def be_level(self) -> None:
        """Wait until it holds all that the log holds; what went wrong while it followed is raised."""
        assert self._log is not None
        assert self._following is not None
        tail = await self._log.tail()
        following = self._following

        def level() -> bool:
            return following.done() or len(self.entries) >= tail

        await until(level, limit_s=LEVEL_S, what=f"the recorder to come from {len(self.entries)} to {tail}")
        if following.done():
            following.result()
        assert await self._log.first() == (self.entries[0] if self.entries else None)

    async def close(self) -> None:
        """Stop following; harmless when repeated."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._following
        if self._log is not None:
            await self._log.close()
