"""Ways between threads: what crosses arrives once and in order, and nothing is left of what has gone."""

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import uvloop

from semel.crossing import Worker, way_to

WAIT_S = 30.0

pytestmark = pytest.mark.anyio


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("test-worker")
    yield worker
    worker.end()


async def test_callbacks_of_many_threads_arrive_each_once_and_each_threads_in_order() -> None:
    arrived: list[tuple[int, int]] = []
    way = way_to(asyncio.get_running_loop())

    def call(thread: int) -> None:
        for number in range(1000):
            way.call(partial(arrived.append, (thread, number)))

    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(asyncio.to_thread(call, thread) for thread in range(4)))
        while len(arrived) < 4000:
            await asyncio.sleep(0)
    for thread in range(4):
        assert [number for whose, number in arrived if whose == thread] == list(range(1000))


async def test_a_callback_that_fails_is_logged_and_those_after_it_are_called(caplog: pytest.LogCaptureFixture) -> None:
    called = asyncio.Event()

    def fail() -> None:
        raise ValueError("this one")

    way = way_to(asyncio.get_running_loop())
    with caplog.at_level(logging.ERROR, "semel"):
        way.call(fail)
        way.call(called.set)
        async with asyncio.timeout(WAIT_S):
            await called.wait()
    assert "a callback from another thread failed" in caplog.text


async def test_a_loop_has_one_way_to_it() -> None:
    loop = asyncio.get_running_loop()
    assert way_to(loop) is way_to(loop)


def test_a_loop_that_is_closed_says_so_and_leaves_no_file_open() -> None:
    before = _open_files()
    loop = asyncio.new_event_loop()
    way = way_to(loop)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        way.call(print)
    way.close()
    assert _open_files() == before


def test_a_loop_that_is_gone_leaves_no_file_open() -> None:
    before = _open_files()
    asyncio.run(_cross())
    assert _open_files() == before


def test_what_came_too_late_for_a_loop_does_not_keep_it() -> None:
    before = _open_files()
    loop = asyncio.new_event_loop()
    late = loop.create_future()
    way_to(loop).call(partial(late.set_result, None))
    loop.close()
    del loop, late
    assert _open_files() == before


def test_a_forked_child_that_goes_on_with_its_copy_of_the_loop_takes_no_wake_up_of_its_parent() -> None:
    """As one does that a tool forks and that ends by an exception: it passes through all that its parent awaits."""

    async def fork() -> None:
        worker = Worker("test-worker")
        assert await worker.run(int, "1") == 1
        if (child := os.fork()) == 0:
            threading.Timer(WAIT_S, os._exit, (1,)).start()
            sys.exit()
        os.waitpid(child, 0)  # noqa: ASYNC222  # it runs for a moment
        assert await asyncio.wait_for(worker.run(int, "2"), WAIT_S) == 2
        worker.end()

    parent = os.getpid()
    try:
        uvloop.run(fork())
    finally:
        if os.getpid() != parent:
            os._exit(0)


async def _cross() -> None:
    crossed = asyncio.Event()
    way_to(asyncio.get_running_loop()).call(crossed.set)
    async with asyncio.timeout(WAIT_S):
        await crossed.wait()


async def test_a_worker_does_one_thing_after_the_other_and_hands_back_what_comes_of_it(worker: Worker) -> None:
    begun: list[int] = []

    def work(number: int) -> tuple[int, str]:
        begun.append(number)
        return number, threading.current_thread().name

    async with asyncio.timeout(WAIT_S):
        given = [worker.run(work, number) for number in range(100)]
        assert await asyncio.gather(*given) == [(number, "test-worker") for number in range(100)]
    assert begun == list(range(100))


async def test_an_error_in_a_worker_is_handed_back_and_the_worker_goes_on(worker: Worker) -> None:
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(ValueError, match="invalid literal"):
            await worker.run(int, "no number")
        assert await worker.run(int, "1") == 1


async def test_what_a_worker_was_given_is_done_though_nobody_waits_for_it_any_more(worker: Worker) -> None:
    done = threading.Event()
    worker.run(done.set).cancel()
    async with asyncio.timeout(WAIT_S):
        assert await worker.run(done.is_set)


def test_a_worker_outlives_the_loop_that_gave_it_work() -> None:
    worker, goes_on = Worker("test-worker"), threading.Event()

    async def give() -> None:
        worker.run(goes_on.wait, WAIT_S)

    async def ask() -> int:
        return await asyncio.wait_for(worker.run(int, "7"), WAIT_S)

    asyncio.run(give())
    goes_on.set()
    assert asyncio.run(ask()) == 7
    worker.end()


async def test_an_ended_worker_does_what_it_was_given_and_leaves_neither_thread_nor_file() -> None:
    way_to(asyncio.get_running_loop())
    before, threads = _open_files(), set(threading.enumerate())
    worker = Worker("test-worker")
    last = worker.run(time.sleep, 0.01)
    (thread,) = set(threading.enumerate()) - threads
    worker.end()
    async with asyncio.timeout(WAIT_S):
        await last
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert _open_files() == before


async def test_a_worker_that_is_forgotten_leaves_neither_thread_nor_file() -> None:
    way_to(asyncio.get_running_loop())
    before, threads = _open_files(), set(threading.enumerate())
    worker, idle = Worker("test-worker"), Worker("another")
    async with asyncio.timeout(WAIT_S):
        assert await worker.run(int, "7") == 7
    (thread,) = set(threading.enumerate()) - threads
    del worker, idle
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert _open_files() == before


def _open_files() -> int:
    """Return how many files this process has open, where the system tells, but for those of what nobody has."""
    gc.collect()
    files = Path("/proc/self/fd")
    return len(list(files.iterdir())) if files.is_dir() else 0
