"""A fake node on stdio: claims stdin and stdout, prints where it should not, and serves until EOF."""

import asyncio
import os
import sys

from semel.gateway.doors.server import make_server
from semel.gateway.doors.stdio import claim_stdio, serve_stdio
from tests.gateway.fakes import FakeBackend


class Printing(FakeBackend):
    """Prints during a call, to the stream and to the file descriptor; `cancel` cancels the whole server."""

    serving: "asyncio.Task[None] | None" = None

    async def call(self, tool, arguments, **who):  # type: ignore[no-untyped-def]  # as FakeBackend.call
        print("printed by a tool")
        os.write(1, b"written by a tool\n")
        if arguments.get("a") == 13:
            assert self.serving is not None
            asyncio.get_running_loop().call_later(0.05, self.serving.cancel)
        return await super().call(tool, arguments, **who)


async def main() -> None:
    with claim_stdio() as wire:
        print("printed by the user's file")
        backend = Printing()
        backend.serving = asyncio.create_task(serve_stdio(make_server(backend), wire))
        await asyncio.wait([backend.serving])
    print("cancelled" if backend.serving.cancelled() else "EOF", file=sys.stderr)


asyncio.run(main())
