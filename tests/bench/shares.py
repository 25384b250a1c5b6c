"""`make bench PART=shares`: where a call's CPU goes, by thread, by room and by step; py-spy looks, `/proc` counts.

The room of a sample is that of the innermost frame that is not Python's own library; its step is the first of `STEPS`
that shows anywhere in its stack.
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
CALLERS, CALLERS_LEADER = (1, 64), (256,)
LEADER = "the leader of three nodes on etcd, asked through a follower"
RATE = 250
ROOM = re.compile(r"\((semel/\w+/?\w*|mcp|mcp_types|pydantic|uvicorn|starlette|anyio|jsonschema|asyncio|selectors)\b")
WAITS = (
    "_worker (concurrent/futures/thread.py",
    "EpollSelector.select (selectors.py",
    "_work (semel/crossing.py",
    "_until (semel/gateway/loopthread.py",
)
STEPS = {
    "replica: write what was folded": r"commit \(semel/node/(replica|runtime)\.py",
    "apply: fold the log's entries": r"apply \(semel/core/ledger\.py",
    "dedupe: name, digest and look up the call": (
        r"(submit|receive) \(semel/core/requests\.py|call_of \(semel/node/desk\.py"
        r"|(find|look_up) \(semel/node/replica\.py"
    ),
    "encode: entries for the log": r"encode \(semel/core/codec\.py",
    "decide: all else of the core": r"step \(semel/core/decider\.py",
    "append: to the log, and what it gives back": r"semel/log/|_append \(semel/node|_follow \(semel/node|grpc/",
    "run: to the tool and back": r"thread \(\d+\): semel-tools|_run \(semel/node|upstreams/toolbox|gateway/loopthread",
    "peers: what other nodes forward": r"semel/node/peers|websockets/",
    "answer: to the client": (
        r"_write \(semel/gateway/doors/fastpath|_answer \(semel/gateway/doors/heads|send \(uvicorn"
        r"|gateway/wireform|gateway/answers"
    ),
    "receive: HTTP and MCP": r"uvicorn/protocols|run_asgi|semel/gateway/doors/",
}
"""What is done for a call, and how a stack shows it."""
REST = "the event loop, and what else there is"
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
    """Return the tables of one load."""
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
    names, stacks = samples(said.read_text())
    spent_us: dict[str, float] = defaultdict(float)
    for task, cpu_s in after.items():
        own = cpu_s - before.get(task, 0.0) - idle.get(task, 0.0) * took_s
        spent_us[names.get(task, "others")] += own / len(latencies_ms) * 1e6
    who = f"{one.name}, {callers} caller{'s' * (callers > 1)}"
    return f"{by_thread(who, spent_us, stacks)}\n\n{by_step(who, spent_us, stacks)}"


def by_thread(who: str, spent_us: dict[str, float], stacks: dict[str, Counter[str]]) -> str:
    """Return what each thread spends on a call, and in which rooms."""
    lines = [f"| {who}: thread | CPU a call | of that, by room |", "|---|---|---|"]
    for name, us in sorted(spent_us.items(), key=lambda item: -item[1]):
        rooms: Counter[str] = Counter()
        for stack, number in stacks.get(name, Counter()).items():
            frames = reversed(stack.split(";"))
            rooms[next((match[1] for frame in frames if (match := ROOM.search(frame))), "else")] += number
        parts = [
            f"{room} {number / rooms.total():.0%}"
            for room, number in rooms.most_common()
            if number >= SMALLEST * rooms.total()
        ]
        if us >= 1:
            lines.append(f"| {name} | {us:,.0f} µs | {', '.join(parts)} |")
    lines.append(f"| all | {sum(spent_us.values()):,.0f} µs | |")
    return "\n".join(lines)


def by_step(who: str, spent_us: dict[str, float], stacks: dict[str, Counter[str]]) -> str:
    """Return what each step of a call takes, on all threads together."""
    steps: dict[str, float] = defaultdict(float)
    for name, us in spent_us.items():
        of_thread = stacks.get(name, Counter())
        for stack, number in of_thread.items():
            step = next((step for step, sign in STEPS.items() if re.search(sign, stack)), REST)
            steps[step] += us * number / of_thread.total()
    lines = [f"| {who}: step | CPU a call |", "|---|---|"]
    lines += (f"| {step} | {steps[step]:,.0f} µs |" for step in (*STEPS, REST) if steps[step] >= 1)
    return "\n".join(lines)


def samples(raw: str) -> tuple[dict[int, str], dict[str, Counter[str]]]:
    """Return the names of threads, and the stacks that each was found in, without those that only wait."""
    names: dict[int, str] = {}
    stacks: dict[str, Counter[str]] = defaultdict(Counter)
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        thread, *frames = stack.split(";")
        found = re.fullmatch(r"thread \((\d+)\): (.*)", thread)
        assert found, thread
        names[int(found[1])] = found[2]
        if frames and not frames[-1].startswith(WAITS):
            stacks[found[2]][stack] += int(number)
    return names, stacks


async def leader(made: teams.Team) -> None:
    """Start three nodes; the leader is looked at, and another one asked."""
    _members, cluster = await teams.on_etcd(made, "n1", "n2", "n3")
    load = await made.http(cluster.listen("n2"))
    made.found[LEADER] = Contestant(LEADER, load, [cluster.processes["n1"].pid])


async def shares(folder: Path, duration_s: float) -> str:
    """Measure; return the part of the page."""
    begun = os.getloadavg()[0]
    tables = []
    for name, (start, loads) in {teams.SEMEL: (teams.semel_sqlite, CALLERS), LEADER: (leader, CALLERS_LEADER)}.items():
        async with team(folder / f"shares-{len(tables)}", {name: start}) as made:
            assert not made.missing, made.missing
            tables += [await look(made.found[name], callers, duration_s, folder) for callers in loads]
    text = "\n\n".join([f"{measured('the nodes, the callers, py-spy')}. The load average was {begun:.0f}.", *tables])
    print(text, flush=True)
    return text
