"""Looks at an mcp.json again and again, and hands over what it lists once that has changed.

It reads the file instead of asking the kernel for news of it: editors write another file and rename it, orchestrators
turn a symbolic link, and network disks have no news to give. A read of a few kilobytes a second costs nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import anyio.to_thread

from semel.errors import TargetError
from semel.gateway.upstreams.mcpjson import read_mcp_json
from semel.gateway.upstreams.servers import Served

_log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the file is read."""


class Watch:
    """Watches one file; `on_change` takes the servers that it lists."""

    def __init__(self, file: Path, on_change: Callable[[Mapping[str, Served]], None]) -> None:
        self.trouble: str | None = None
        """What is wrong with the file as it is now, if so."""
        self._file = file
        self._on_change = on_change
        self._content: bytes | None = None
        self._limiter = anyio.CapacityLimiter(1)  # a disk that hangs takes one thread, and none of the tools'

    async def look_for_ever(self) -> None:
        """Look at the file until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once. What cannot be read or understood changes nothing but `trouble`."""
        try:
            content = await anyio.to_thread.run_sync(self._file.read_bytes, limiter=self._limiter)
            if content == self._content and self.trouble is None:
                return
            served = await anyio.to_thread.run_sync(read_mcp_json, self._file, limiter=self._limiter)
        except (TargetError, OSError) as error:
            said = str(error) if isinstance(error, TargetError) else f"{self._file}: cannot be read: {error.strerror}"
            self._note(f"{said}. Its servers are served as they were before")
            return
        if self.trouble is not None or self._content is not None:
            _log.info("%s has changed, and is taken up", self._file)
        self.trouble, self._content = None, content
        self._on_change(served)

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s", trouble)
            self.trouble = trouble
