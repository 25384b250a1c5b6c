"""Small programs as children, and lines that a supervisor says."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from semel.local.child import Child
from semel.local.supervisor import Supervisor

PATIENCE_S = 20

Program = Callable[..., Child]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Make a child of a Python program, which gets the folder as its argument."""

    def make(text: str, name: str = "child") -> Child:
        return Child(name, [sys.executable, "-I", "-S", "-c", text, str(tmp_path)], log=tmp_path / f"{name}.log")

    return make


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
async def supervisor(said: list[str]) -> AsyncIterator[Supervisor]:
    one = Supervisor(said.append)
    yield one
    await one.kill()


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Return the first true value of `condition()`, asked again and again, within a bound."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (value := condition()):
                await asyncio.sleep(0.01)
            return value
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None
