"""The tools that chaos serves. All that they do is in files outside semel, in the folder that EFFECTS names.

Each run leaves one line in `lines`; registers and counters are a file each, read and changed under its lock.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import semel

FOLDER = Path(os.environ["EFFECTS"])


def leave_line(tool: str, line: str) -> None:
    """Append to `lines` with a single write, which the kernel keeps whole."""
    call = semel.current_call()
    said = {"tool": tool, "line": line, "key": call.key, "attempt": call.attempt, "term": call.term}
    descriptor = os.open(FOLDER / "lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(said).encode() + b"\n")
    finally:
        os.close(descriptor)


@contextmanager
def held(name: str) -> Iterator[int]:
    """Open and lock the file of a register or counter."""
    descriptor = os.open(FOLDER / f"{name}.value", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def get(descriptor: int) -> int:
    return int(os.pread(descriptor, 20, 0) or b"0")


def put(descriptor: int, value: int) -> None:
    os.pwrite(descriptor, b"%20d" % value, 0)  # one write of one width: never half there


@semel.tool
async def append(line: str, before_s: float = 0.0, after_s: float = 0.0, fail: bool = False) -> str:
    """Append a line, once."""
    await asyncio.sleep(before_s)
    leave_line("append", line)
    await asyncio.sleep(after_s)
    if fail:
        raise ValueError(f"failed after {line}")
    return f"append {line}"


@semel.tool(effect="repeatable")
async def store(line: str, before_s: float = 0.0, after_s: float = 0.0) -> str:
    """Append a line; again is harmless."""
    await asyncio.sleep(before_s)
    leave_line("store", line)
    await asyncio.sleep(after_s)
    return f"store {line}"


@semel.tool(effect="read")
async def look(line: str) -> str:
    """Leave a line for the judge, and change nothing else."""
    leave_line("look", line)
    return f"look {line}"


@semel.tool(timeout_s=0.3)
async def hang(line: str) -> str:
    """Append a line, and take longer than allowed."""
    leave_line("hang", line)
    await asyncio.sleep(60)
    return f"hang {line}"


@semel.tool(effect="read")
def read(name: str) -> int:
    """Return what a register or a counter holds."""
    with held(name) as descriptor:
        return get(descriptor)


@semel.tool
def write(name: str, value: int) -> str:
    """Set a register."""
    leave_line("write", f"{name} {value}")
    with held(name) as descriptor:
        put(descriptor, value)
    return "written"


@semel.tool
def swap(name: str, expected: int, new: int) -> bool:
    """Set a register to `new` if it holds `expected`; return whether it did."""
    leave_line("swap", f"{name} {expected} {new}")
    with held(name) as descriptor:
        if get(descriptor) != expected:
            return False
        put(descriptor, new)
        return True


@semel.tool
def add(name: str, amount: int) -> int:
    """Add to a counter; return the sum."""
    leave_line("add", f"{name} {amount}")
    with held(name) as descriptor:
        total = get(descriptor) + amount
        put(descriptor, total)
        return total
