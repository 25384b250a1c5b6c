"""Machines without data find each other before they found a cluster, and are not fooled by strangers."""

import asyncio

import pytest

from semel.local.assembly import PATH, Assembly
from semel.local.http import NoAnswer, post_json
from tests.local.conftest import PATIENCE_S
from tests.ports import free_port

pytestmark = pytest.mark.anyio


def urls(count: int) -> list[str]:
    """Return peer URLs at as many addresses, with one port that is free at all of them."""
    port = free_port()
    return [f"http://127.0.0.{number}:{port}" for number in range(1, count + 1)]


def assembly(all_urls: list[str], me: str, token: str = "t") -> Assembly:
    address = me.removeprefix("http://").partition(":")[0]
    return Assembly(token, me=me, address=address, others=[url for url in all_urls if url != me])


async def complete(one: Assembly) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await one.is_complete():
            await asyncio.sleep(0.01)


async def test_three_find_each_other_and_each_may_leave_at_once(anyio_backend: str) -> None:
    three = urls(3)

    async def take_part(me: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        async with assembly(three, me) as one:
            await complete(one)

    await asyncio.gather(*(take_part(me, number * 0.05) for number, me in enumerate(three)))


async def test_two_of_three_wait_for_the_third() -> None:
    three = urls(3)
    async with assembly(three, three[0]) as first, assembly(three, three[1]) as second:
        for _ in range(3):
            assert not await first.is_complete()
            assert not await second.is_complete()
        async with assembly(three, three[2]) as third:
            assert await third.is_complete()
        assert await first.is_complete()  # it has left, and was heard
        assert await second.is_complete()


async def test_a_machine_of_another_cluster_is_not_counted() -> None:
    two = urls(2)
    async with assembly(two, two[0], "mine") as mine, assembly(two, two[1], "theirs") as theirs:
        assert not await mine.is_complete()
        assert not await theirs.is_complete()


async def test_other_requests_get_no_answer_and_do_no_harm() -> None:
    two = urls(2)
    async with assembly(two, two[0]) as one:
        for path, body in (("/members", {}), (PATH, {}), (PATH, "text"), (PATH, {"token": "t" * 9000})):
            with pytest.raises(NoAnswer):
                await post_json(f"{two[0]}{path}", body)
        assert not await one.is_complete()
