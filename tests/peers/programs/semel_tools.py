"""The tool on semel, in both of the effect classes that write."""

import asyncio

from effect import TAKES_S, append

import semel


@semel.tool
async def charge(key: str, amount: int) -> str:
    """Charge: once is the default."""
    append(key, amount)
    await asyncio.sleep(TAKES_S)
    return f"charged {key} {amount}"


@semel.tool(effect="repeatable")
async def store(key: str, amount: int) -> str:
    """Do the same, declared to be harmless when run again."""
    append(key, amount)
    await asyncio.sleep(TAKES_S)
    return f"charged {key} {amount}"
