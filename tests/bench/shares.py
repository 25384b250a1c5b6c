"""`make bench PART=shares`: where a call's CPU goes in one node, by thread and by room; py-spy looks, `/proc` counts.

What a sample belongs to is the innermost frame that is not Python's own library.
"""

import asyncio
import os
import re
from asyncio.subprocess import DEVNULL
from collections import Counter, defaultdict
from pathlib import Path

from tests.bench import teams
from tests.bench.contest import Contestant
from tests.bench.page import measured
from tests.bench.teams import team
from tests.peers.install import venv

PY_SPY = "py-spy==0.4.1"
FULL_S, QUICK_S = 10.0, 3.0
IDLE_S = 2.0
CALLERS = (1, 64)
RATE = 250
ROOM = re.compile(r"\((semel/\w+/?\w*|mcp|mcp_types|pydantic|uvicorn|starlette|anyio|jsonschema|asyncio|selectors)\b")
WAITS = ("_worker (concurrent/futures/thread.py", "EpollSelector.select (selectors.py")
SMALLEST = 0.03
"""Rooms with less of their thread are not named."""


def thread_cpu_s(pid: int) -> dict[int, float]:
    """Return the CPU time of a process's threads so far, by number."""
    found: dict[int, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[int(task.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


async def look(one: Contestant, callers: int, duration_s: float, folder: Path) -> str:
    """Return the table of one load."""
    pid, said = one.sessions[0], folder / f"stacks-{callers}"
    await one.load(callers, 1.0)
    resting = thread_cpu_s(pid)
    await asyncio.sleep(IDLE_S)  # what is measured is a time in which nothing happens
    idle = {task: (cpu_s - resting.get(task, 0.0)) / IDLE_S for task, cpu_s in thread_cpu_s(pid).items()}
    spy = [venv("py-spy", PY_SPY) / "py-spy", "record", "--threads", "--format", "raw", "--rate", RATE, "--pid", pid]
    command = map(str, [*spy, "--duration", round(duration_s), "--output", said])
    looking = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    await asyncio.sleep(0.5)  # it has to find its way into the process
    before, own_s = thread_cpu_s(pid), duration_s - 1.0
    latencies_ms, took_s = await one.load(callers, own_s)
    after = thread_cpu_s(pid)
    await looking.wait()
    names, rooms = samples(said.read_text())
    spent_us: dict[str, float] = defaultdict(float)
    for task, cpu_s in after.items():
        own = cpu_s - before.get(task, 0.0) - idle.get(task, 0.0) * took_s
        spent_us[names.get(task, "others")] += own / len(latencies_ms) * 1e6
    lines = [f"| {callers} caller{'s' * (callers > 1)}: thread | CPU a call | of that, by room |", "|---|---|---|"]
    for name, us in sorted(spent_us.items(), key=lambda item: -item[1]):
        counted = rooms.get(name, Counter())
        parts = [
            f"{room} {number / counted.total():.0%}"
            for room, number in counted.most_common()
            if number >= SMALLEST * counted.total()
        ]
        if us >= 1:
            lines.append(f"| {name} | {us:,.0f} µs | {', '.join(parts)} |")
    lines.append(f"| all | {sum(spent_us.values()):,.0f} µs | |")
    return "\n".join(lines)


def samples(raw: str) -> tuple[dict[int, str], dict[str, Counter[str]]]:
    """Return the names of threads, and what each was found in, without what only waits."""
    names: dict[int, str] = {}
    rooms: dict[str, Counter[str]] = defaultdict(Counter)
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        thread, *frames = stack.split(";")
        found = re.fullmatch(r"thread \((\d+)\): (.*)", thread)
        assert found, thread
        names[int(found[1])] = found[2]
        if not frames or frames[-1].startswith(WAITS):
            continue
        room = next((match[1] for frame in reversed(frames) if (match := ROOM.search(frame))), "else")
        rooms[found[2]][room] += int(number)
    return names, rooms


async def shares(folder: Path, duration_s: float) -> str:
    """Measure; return the part of the page."""
    begun = os.getloadavg()[0]
    async with team(folder / "shares", {teams.SEMEL: teams.semel_sqlite}) as made:
        assert not made.missing, made.missing
        tables = [await look(made.found[teams.SEMEL], callers, duration_s, folder) for callers in CALLERS]
    text = "\n\n".join([f"{measured('the node, the callers, py-spy')}. The load average was {begun:.0f}.", *tables])
    print(text, flush=True)
    return text
