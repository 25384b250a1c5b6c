"""A stream of etcd's answers: what has come is taken together, and its end is told after all that came before it."""

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from semel.log.etcd.member import ANSWERS_WAITING_MOST, Stream

pytestmark = pytest.mark.anyio

WAIT_S = 20.0


class Call:
    """gRPC's end of a stream: an iterator of what is put into it; None ends it, an error breaks it."""

    def __init__(self) -> None:
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.taken = 0

    def __call__(self, _requests: Iterator[Any], *, metadata: Any) -> "Call":
        return self

    def __iter__(self) -> "Call":
        return self

    def __next__(self) -> Any:
        answer = self.answers.get()
        if answer is None:
            raise StopIteration
        if isinstance(answer, Exception):
            raise answer
        self.taken += 1
        return answer

    def cancel(self) -> None:
        """End it."""
        self.answers.put(None)


@asynccontextmanager
async def streaming() -> AsyncIterator[tuple[Call, Stream]]:
    call = Call()
    stream = Stream(call, "request", ())
    try:
        yield call, stream
    finally:
        stream.close()


async def have_come(stream: Stream, number: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(stream._answers) < number:
            await asyncio.sleep(0.001)


async def test_who_waits_is_woken_and_what_has_come_is_taken_together() -> None:
    async with streaming() as (call, stream):
        waiting = asyncio.create_task(stream.next(WAIT_S))
        await asyncio.sleep(0)
        call.answers.put("a")
        assert await waiting == ["a"]
        call.answers.put("b")
        call.answers.put("c")
        await have_come(stream, 2)
        assert await stream.next(WAIT_S) == ["b", "c"]


async def test_nothing_comes_in_time() -> None:
    async with streaming() as (call, stream):
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await stream.next(0.001)
        call.answers.put("late")
        assert await stream.next(WAIT_S) == ["late"]


async def test_no_more_is_read_than_there_is_room_for() -> None:
    async with streaming() as (call, stream):
        for number in range(3 * ANSWERS_WAITING_MOST):
            call.answers.put(number)
        came: list[int] = []
        while len(came) < 3 * ANSWERS_WAITING_MOST:
            came += await stream.next(WAIT_S)
            assert call.taken <= len(came) + ANSWERS_WAITING_MOST + 1
        assert came == list(range(3 * ANSWERS_WAITING_MOST))


@pytest.mark.parametrize("broken", [False, True])
async def test_the_end_is_told_after_what_came_before_it(broken: bool) -> None:
    async with streaming() as (call, stream):
        call.answers.put("last")
        call.answers.put(grpc.RpcError("broken") if broken else None)
        await have_come(stream, 2)
        assert await stream.next(WAIT_S) == ["last"]
        if broken:
            with pytest.raises(grpc.RpcError):
                await stream.next(WAIT_S)
        else:
            assert await stream.next(WAIT_S) == []
