"""An idle node reads at leisure, unless it is behind, and ends its pause when anybody waits for what is in the log."""

import asyncio
from types import SimpleNamespace

import pytest

from semel.node import leisure
from semel.node.leisure import Leisure

pytestmark = pytest.mark.anyio

WAIT_S = 20.0


class Reader:
    """The reader of a node that is idle or not, with a clock of its own."""

    idle = True
    now_s = 0.0

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(leisure, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.leisure = Leisure(lambda: self.idle)

    async def pausing(self, *, waited_s: float = 0.01) -> asyncio.Task[None]:
        """Begin the pause after a batch that came so late."""
        self.now_s += waited_s
        self.leisure.read()
        task = asyncio.create_task(self.leisure.pause())
        await asyncio.sleep(0)
        return task


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(monkeypatch)


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that nobody would see the end of."""
    monkeypatch.setattr(leisure, "LEISURE_S", 3600.0)


async def ends(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(WAIT_S):
        await task


async def test_a_pause_ends_by_itself(reader: Reader) -> None:
    await ends(await reader.pausing())
    await ends(await reader.pausing())


@pytest.mark.usefixtures("long")
async def test_a_node_that_owes_something_makes_no_pause(reader: Reader) -> None:
    reader.idle = False
    await ends(await reader.pausing())


@pytest.mark.usefixtures("long")
async def test_a_node_that_is_behind_makes_no_pause(reader: Reader) -> None:
    await ends(await reader.pausing(waited_s=0.0))


@pytest.mark.usefixtures("long")
async def test_what_was_waited_for_before_a_batch_without_a_pause_does_not_count_for_the_next(reader: Reader) -> None:
    reader.now_s += 1.0
    reader.leisure.read()
    await ends(await reader.pausing(waited_s=0.0))


@pytest.mark.usefixtures("long")
async def test_a_pause_ends_when_the_node_owes_something(reader: Reader) -> None:
    task = await reader.pausing()
    reader.leisure.look()
    await asyncio.sleep(0)
    assert not task.done()
    reader.idle = False
    reader.leisure.look()
    await ends(task)


@pytest.mark.usefixtures("long")
async def test_nobody_who_waits_for_the_log_waits_for_a_pause(reader: Reader) -> None:
    task = await reader.pausing()
    with reader.leisure.hurried(), reader.leisure.hurried():
        await ends(task)
        await ends(await reader.pausing())
    task = await reader.pausing()
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    reader.leisure.look()
