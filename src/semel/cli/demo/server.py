"""The tools of `semel demo`, as anybody would write them: typed functions with a word on what a second run would do.

The two slow ones write a line to a file when they start, so that their starts can be counted outside semel.
"""

import asyncio
import os
from pathlib import Path

import semel

STARTS = Path(os.environ["SEMEL_DEMO_STARTS"])
"""The file of starts."""
SLOW_S = 1.0
"""Long enough to be killed in the middle, short enough to be watched."""


@semel.tool(effect="repeatable")
def add(a: int | float, b: int | float) -> int | float:
    """Add two numbers."""
    return a + b


@semel.tool(effect="repeatable")
def multiply(x: int | float, y: int | float) -> int | float:
    """Multiply two numbers."""
    return x * y


@semel.tool(effect="repeatable")
def divide(a: int | float, b: int | float) -> int | float:
    """Divide a by b."""
    return a / b


@semel.tool(effect="repeatable")
def subtract(a: int | float, b: int | float) -> int | float:
    """Subtract b from a."""
    return a - b


@semel.tool(effect="repeatable")
def concat(s1: str, s2: str) -> str:
    """Join two texts by a space."""
    return f"{s1} {s2}"


@semel.tool(effect="repeatable")
async def render_report(month: str) -> str:
    """Render a month's report, slowly; doing it again gives the same report."""
    return await _slowly("render_report", month)


@semel.tool(effect="once")
async def charge_card(order: str) -> str:
    """Charge the card of an order, slowly; doing it again would charge twice."""
    return await _slowly("charge_card", order)


async def _slowly(tool: str, subject: str) -> str:
    _note_start(tool, subject)
    await asyncio.sleep(SLOW_S)
    return f"{tool} {subject}: done"


def _note_start(tool: str, subject: str) -> None:
    with STARTS.open("a") as starts:
        starts.write(f"{tool} {subject}\n")
