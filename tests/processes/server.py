"""The tools that the process tests serve; each leaves a line in the file that EFFECTS names, outside semel."""

import asyncio
import os
import time

import semel


def effect(tool: str, name: str) -> None:
    """Append one line with a single write, which the kernel keeps whole."""
    line = f"{tool} {name}\n".encode()
    descriptor = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


@semel.tool
async def charge(name: str, wait_s: float = 0.0) -> str:
    """Charge once."""
    effect("charge", name)
    await asyncio.sleep(wait_s)
    return f"charged {name}"


def was_ordered(name: str) -> str | None:
    """Look for the line that `order` leaves under its key."""
    key = semel.current_call().key
    with open(os.environ["EFFECTS"], encoding="utf-8") as lines:  # noqa: PTH123 - as a provider's own record
        return f"ordered {name}" if f"order {name} {key}\n" in lines else None


@semel.tool(reconcile=was_ordered)
async def order(name: str, wait_s: float = 0.0, *, lazy: bool = False) -> str:
    """Order once; a lazy one acts after its wait."""
    effect("order" if not lazy else "lazy", f"{name} {semel.current_call().key}")
    await asyncio.sleep(wait_s)
    return f"ordered {name}"


@semel.tool(effect="repeatable")
async def store(name: str, wait_s: float = 0.0) -> str:
    """Store; again is harmless."""
    effect("store", name)
    await asyncio.sleep(wait_s)
    return f"stored {name}"


@semel.tool(effect="read")
def look(name: str) -> str:
    """Look, and change nothing."""
    effect("look", name)
    return f"saw {name}"


@semel.tool(timeout_s=0.5)
def hang(name: str) -> str:
    """Take longer than allowed."""
    effect("hang", name)
    time.sleep(2)
    return "late"


@semel.tool
def leave(name: str) -> str:
    """Exit the process, as no tool should."""
    effect("leave", name)
    os._exit(3)
