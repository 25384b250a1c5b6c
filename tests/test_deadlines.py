"""Deadlines: each comes once, none that was called off, and a mistake in one keeps no other."""

import asyncio
from typing import Any

import pytest

from semel.deadlines import Deadlines

pytestmark = pytest.mark.anyio

WAIT_S = 20.0
LONG_S = 3600.0


async def until(come: list[str], wanted: list[str]) -> None:
    async with asyncio.timeout(WAIT_S):
        while come != wanted:
            await asyncio.sleep(0.001)


async def test_they_come_in_their_order_whatever_the_order_in_which_they_are_set() -> None:
    deadlines, come = Deadlines(), []
    deadlines.set("never", LONG_S, lambda: come.append("never"))
    for name, after_s in (("c", 0.03), ("a", 0.001), ("b", 0.015)):
        deadlines.set(name, after_s, lambda name=name: come.append(name))  # type: ignore[misc]
    await until(come, ["a", "b", "c"])
    deadlines.set("d", 0.0, lambda: come.append("d"))
    await until(come, ["a", "b", "c", "d"])


async def test_what_is_called_off_does_not_come_and_what_is_set_anew_comes_then() -> None:
    deadlines, come = Deadlines(), []
    deadlines.set("off", 0.001, lambda: come.append("off"))
    deadlines.set("anew", 0.001, lambda: come.append("too soon"))
    deadlines.call_off("off")
    deadlines.call_off("unknown")
    deadlines.set("anew", 0.02, lambda: come.append("anew"))
    await until(come, ["anew"])


async def test_one_that_comes_may_call_off_another_that_is_due() -> None:
    deadlines, come = Deadlines(), []

    def first() -> None:
        come.append("first")
        deadlines.call_off("second")
        deadlines.set("third", 0.001, lambda: come.append("third"))

    for name, due in (("first", first), ("second", lambda: come.append("second")), ("third", lambda: come.append("?"))):
        deadlines.set(name, 0.0, due)
    await until(come, ["first", "third"])


async def test_a_mistake_in_one_is_told_and_keeps_no_other() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    deadlines, come = Deadlines(), []
    deadlines.set("broken", 0.0, lambda: 1 // 0)
    deadlines.set("whole", 0.0, lambda: come.append("whole"))
    await until(come, ["whole"])
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]
