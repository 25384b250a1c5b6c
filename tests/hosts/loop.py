"""An event loop in a thread inside a namespace: its sockets are there, and so are the threads and processes it starts.

What they mount is seen by them alone. It knows nothing of what it runs.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable

from tests.hosts.namespace import Namespace, own_mounts

CLOSE_S = 60.0

Done = concurrent.futures.Future[None]


class Loop:
    """Runs from when it is made until `close`."""

    def __init__(self, room: Namespace) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        begun = Done()
        self._thread = threading.Thread(target=self._serve, args=(room, begun), name="in a room")
        self._thread.start()
        begun.result()

    def _serve(self, room: Namespace, begun: Done) -> None:
        try:
            room.enter()
            own_mounts()
        except BaseException as error:
            begun.set_exception(error)
            return
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            self._loop.call_soon(begun.set_result, None)
            runner.run(self._stopped.wait())

    def run(self, work: Awaitable[None]) -> None:
        """Run something to its end; if this thread is interrupted meanwhile, it is cancelled, and ends before that."""
        done = Done()

        async def whole() -> None:
            try:
                await work
            except BaseException as error:
                done.set_exception(error)
                if isinstance(error, asyncio.CancelledError):
                    raise
            else:
                done.set_result(None)

        task = asyncio.run_coroutine_threadsafe(whole(), self._loop)
        try:
            done.result()
        except BaseException:
            task.cancel()
            concurrent.futures.wait([done], CLOSE_S)
            raise

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(CLOSE_S)
