"""Functions that block run in threads that come and go."""

import asyncio
import threading
import time
from contextvars import ContextVar

import anyio
import pytest

from semel.gateway.upstreams import threads as module
from semel.gateway.upstreams.threads import Threads

pytestmark = pytest.mark.anyio

VARIABLE: ContextVar[str] = ContextVar("variable")


def there(name: str) -> int:
    """Return how many threads of that name there are."""
    return sum(thread.name == name for thread in threading.enumerate())


async def test_a_function_gives_or_raises_what_it_will_in_the_context_of_its_caller() -> None:
    threads = Threads("test-1")

    def fails(error: BaseException) -> None:
        raise error

    VARIABLE.set("mine")
    assert await threads.run(VARIABLE.get) == "mine"
    assert await threads.run(lambda: threading.current_thread().daemon) is True
    for error in (ValueError("x"), SystemExit(3), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            await threads.run(lambda error=error: fails(error))  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(lambda: fails(StopIteration()))


async def test_there_are_as_many_threads_as_functions_run_at_a_time_and_they_are_used_again() -> None:
    threads, gate = Threads("test-2"), threading.Barrier(20)
    seen = set(await asyncio.gather(*(threads.run(lambda: gate.wait() and threading.get_ident()) for _ in range(20))))
    assert there("test-2") == 20
    for _ in range(50):
        await threads.run(lambda: None)
    assert there("test-2") == 20
    assert len(seen) >= 19  # the barrier gives one of them 0


async def test_threads_without_anything_to_do_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    threads = Threads("test-3")
    for _ in range(3):
        results = await asyncio.gather(*(threads.run(lambda: time.sleep(0.01)) for _ in range(10)))
        assert results == [None] * 10
        async with asyncio.timeout(10):
            while there("test-3"):
                await asyncio.sleep(0.02)
    assert threads._idle == 0


async def test_work_and_retirement_that_meet_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.001)
    threads = Threads("test-4")
    async with asyncio.timeout(30):
        for number in range(300):
            assert await threads.run(lambda number=number: number) == number  # type: ignore[misc]
            await asyncio.sleep(0.001)


async def test_a_scope_that_is_cancelled_waits_for_the_function() -> None:
    threads, gate = Threads("test-5"), threading.Event()
    ended = False

    async def run() -> None:
        nonlocal ended
        await threads.run(gate.wait)
        ended = True

    async with asyncio.timeout(10), anyio.create_task_group() as group:
        group.start_soon(run)
        await asyncio.sleep(0)
        group.cancel_scope.cancel()
        asyncio.get_running_loop().call_later(0.05, gate.set)
    assert ended


def test_a_loop_that_is_closed_ends_the_threads() -> None:
    threads = Threads("test-6")
    release = threading.Event()

    async def leave() -> None:
        with anyio.move_on_after(0.05):
            task = asyncio.create_task(threads.run(release.wait))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(leave())
    assert there("test-6") == 1
    release.set()
    limit_s = time.monotonic() + 10
    while there("test-6"):
        assert time.monotonic() < limit_s
        time.sleep(0.01)
    assert asyncio.run(threads.run(lambda: "anew")) == "anew"
