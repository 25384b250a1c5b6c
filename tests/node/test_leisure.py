"""An idle node reads at leisure, and ends its pause as soon as anybody waits for what is in the log."""

import asyncio

import pytest

from semel.node import leisure
from semel.node.leisure import Leisure

pytestmark = pytest.mark.anyio

WAIT_S = 20.0


class Node:
    """A node that is idle or not."""

    idle = True

    def __init__(self) -> None:
        self.leisure = Leisure(lambda: self.idle)

    async def pausing(self) -> asyncio.Task[None]:
        """Begin a pause."""
        task = asyncio.create_task(self.leisure.pause())
        await asyncio.sleep(0)
        return task


async def ends(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(WAIT_S):
        await task


async def test_a_pause_ends_by_itself() -> None:
    node = Node()
    await ends(await node.pausing())
    await ends(await node.pausing())


async def test_a_node_that_owes_something_makes_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leisure, "LEISURE_S", 3600.0)
    node = Node()
    node.idle = False
    await ends(await node.pausing())


async def test_a_pause_ends_when_the_node_owes_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leisure, "LEISURE_S", 3600.0)
    node = Node()
    task = await node.pausing()
    node.leisure.look()
    await asyncio.sleep(0)
    assert not task.done()
    node.idle = False
    node.leisure.look()
    await ends(task)


async def test_nobody_who_waits_for_the_log_waits_for_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leisure, "LEISURE_S", 3600.0)
    node = Node()
    task = await node.pausing()
    with node.leisure.hurried(), node.leisure.hurried():
        await ends(task)
        await ends(await node.pausing())
    task = await node.pausing()
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    node.leisure.look()
