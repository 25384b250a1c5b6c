"""What arrives in one turn is taken together and in order, and what alone is asked for at once."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from semel.core.call import Call, CallId, Effect, Spec
from semel.core.message import Submitted
from semel.node.arrivals import Arrivals

pytestmark = pytest.mark.anyio


class Node:
    """What arrivals know of a node."""

    def __init__(self) -> None:
        self.stepped: list[str] = []
        self.looked_up: list[list[str]] = []
        self.told: list[Exception] = []
        self.ledger: Any = SimpleNamespace(open={})
        replica: Any = SimpleNamespace(look_up=lambda calls: self.looked_up.append([call.key for call in calls]))
        self.arrivals = Arrivals(replica, self.ledger, self.step, self.told.append)

    def step(self, given: Any) -> None:
        if given.call.id.key == "bad":
            raise AssertionError("a mistake")
        self.stepped.append(given.call.id.key)

    def ask(self, *keys: str) -> None:
        for key in keys:
            call = Call(id=CallId("shop", key), tool="work", arguments=msgspec.Raw(b"{}"), digest="d", request="r")
            self.arrivals.arrive(call.id, Submitted(1, call, Spec(effect=Effect.ONCE), keyed=True))


async def test_what_is_asked_of_a_node_with_nothing_to_do_is_taken_at_once() -> None:
    node = Node()
    node.ask("a")
    assert node.stepped == ["a"]
    assert node.looked_up == []


async def test_what_arrives_in_one_turn_is_looked_up_together_and_taken_in_its_order() -> None:
    node = Node()
    node.ledger.open["other"] = None
    node.ask("c", "a", "b")
    assert node.stepped == []
    await asyncio.sleep(0)
    assert node.stepped == ["c", "a", "b"]
    assert node.looked_up == [["c", "a", "b"]]
    node.ask("d")
    node.ledger.open.clear()
    node.ask("e")  # not before the one before it
    node.arrivals.take()
    assert node.stepped == ["c", "a", "b", "d", "e"]
    await asyncio.sleep(0)
    assert node.stepped == ["c", "a", "b", "d", "e"]


async def test_a_mistake_with_what_arrived_is_told() -> None:
    node = Node()
    node.ledger.open["other"] = None
    node.ask("a", "bad", "b")
    await asyncio.sleep(0)
    assert [str(error) for error in node.told] == ["a mistake"]
