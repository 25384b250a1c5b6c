"""Connections for single clients: so many in all, and those without a name do not take the place of those with one."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

import pytest

from semel.gateway.upstreams import spares
from semel.gateway.upstreams.connection import Manner
from semel.gateway.upstreams.spares import Spares

pytestmark = pytest.mark.anyio


class Open:
    """A connection that opens at once."""

    async def __aenter__(self) -> "Open":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def kept() -> Spares:
    def make(_manner: Manner, _on_lost: Callable[[], object]) -> Any:
        return Open()

    return Spares(make, handshake_s=5)


def of(party: str) -> Manner:
    return Manner(True, b"{}", party)


async def test_clients_without_a_name_leave_room_for_those_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "SPARES_MAX", 3)
    monkeypatch.setattr(spares, "ONCE_MAX", 2)
    all_of_them = kept()
    async with asyncio.timeout(5), AsyncExitStack() as named:
        unnamed = await named.enter_async_context(AsyncExitStack())
        for number in range(2):
            await unnamed.enter_async_context(all_of_them.lease(of(f"request {number}"), once=True))
        third = asyncio.create_task(_use(all_of_them, of("request 2"), once=True))
        for _ in range(2):  # one connection, for all of its requests
            await named.enter_async_context(all_of_them.lease(of("caller ann")))
        fourth = asyncio.create_task(_use(all_of_them, of("caller ben")))
        assert not (await asyncio.wait([third, fourth], timeout=0.05))[0]
        await unnamed.aclose()
        await asyncio.gather(third, fourth)
    await all_of_them.close()


async def test_the_idle_connection_of_a_named_client_does_not_end_for_one_without_a_name_that_may_have_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spares, "SPARES_MAX", 3)
    monkeypatch.setattr(spares, "ONCE_MAX", 1)
    all_of_them = kept()
    await _use(all_of_them, of("caller ann"))
    async with asyncio.timeout(5), all_of_them.lease(of("request 0"), once=True):
        waiting = asyncio.create_task(_use(all_of_them, of("request 1"), once=True))
        assert not (await asyncio.wait([waiting], timeout=0.05))[0]
        assert len(all_of_them.connections()) == 2
    async with asyncio.timeout(5):
        await waiting
    await all_of_them.close()


async def _use(all_of_them: Spares, manner: Manner, *, once: bool = False) -> None:
    async with all_of_them.lease(manner, once=once):
        pass
