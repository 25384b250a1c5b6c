"""The tools on semel; `once` is the default."""

import asyncio

import semel


@semel.tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@semel.tool
async def echo(text: str) -> str:
    """Give back what came."""
    return text


@semel.tool
async def wait(a: int, b: int, ms: int) -> int:
    """Add two numbers, slowly."""
    await asyncio.sleep(ms / 1000)
    return a + b
