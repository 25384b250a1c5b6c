"""Contestants that take turns in short windows under the same load; what they did, what it cost, what reached the disk.

Knows processes and windows; not who the contestants are, nor what is to come out.
"""

import asyncio
import json
import os
import re
import signal
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.load import HttpCaller, load

ALL = (1, 16, 64)
"""How many callers at once."""
WARM_S, IDLE_S = 0.5, 3.0
SYNCS_S = 1.5
"""For so long the calls that reach the disk are counted, under one caller and under the most."""
SETTLE_S = 0.3
SYNC_CALLS = "fsync,fdatasync,sync_file_range,msync,syncfs"


@dataclass(frozen=True, slots=True)
class Window:
    """What one contestant did in one window."""

    latencies_ms: list[float]
    took_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.latencies_ms) / self.took_s


Load = Callable[[int, float], Any]
"""Loads with so many callers for so many seconds; comes to the latencies in ms, and the seconds it took."""


@dataclass(slots=True)
class Contestant:
    """One system under load: how it is loaded, the sessions of its processes, and what is said of its promises."""

    name: str
    load: Load
    sessions: Sequence[int]
    """Each process that was started for it, which is the first of a session: all others are found by that."""
    durable: str = ""
    callers: tuple[int, ...] = ALL
    windows: dict[int, list[Window]] = field(default_factory=dict)
    memory_mb: float = 0.0
    """The largest proportional set seen at the end of a window, of all its processes together."""
    idle_cpu: float = 0.0
    """Seconds of CPU a second that it takes when nobody calls."""
    syncs: dict[int, float] = field(default_factory=dict)
    """Syncs a call, by the number of callers."""

    async def run(self, callers: int, duration_s: float) -> Window:
        """Load it for a while."""
        before_s = self.cpu_s()
        latencies_ms, took_s = await self.load(callers, duration_s)
        window = Window(latencies_ms, took_s, max(0.0, self.cpu_s() - before_s - self.idle_cpu * took_s))
        self.memory_mb = max(self.memory_mb, sum(map(_proportional_mb, self.processes())))
        return window

    async def idle(self) -> None:
        """Note what it takes when nobody calls; it is not counted as the calls'."""
        before_s, begun_s = self.cpu_s(), time.perf_counter()
        await asyncio.sleep(IDLE_S)  # what is measured is a time in which nothing happens
        self.idle_cpu = (self.cpu_s() - before_s) / (time.perf_counter() - begun_s)

    def processes(self) -> list[int]:
        """Return all its processes, as they are now."""
        return list(self._stats())

    def cpu_s(self) -> float:
        """Return the CPU time so far of all its processes, those that have ended and were waited for included."""
        return sum(sum(map(int, fields[11:15])) for fields in self._stats().values()) / os.sysconf("SC_CLK_TCK")

    def _stats(self) -> dict[int, list[str]]:
        """Return what is in its sessions, and what that has started in sessions of its own, as PostgreSQL does."""
        everything = _stats()
        found = {pid: fields for pid, fields in everything.items() if int(fields[3]) in self.sessions}
        while more := {
            pid: fields for pid, fields in everything.items() if int(fields[1]) in found and pid not in found
        }:
            found |= more
        return found

    async def count_syncs(self, strace: Path, folder: Path) -> None:
        """Load it once more, and count what it asks the disk to keep beyond what it does when it idles."""

        async def idle(_: int, duration_s: float) -> tuple[list[float], float]:
            await asyncio.sleep(duration_s)
            return [], duration_s

        idling, took_s, _ = await self._syncs(strace, folder, idle, 0)
        for callers in sorted({self.callers[0], self.callers[-1]}):
            counted, loaded_s, calls = await self._syncs(strace, folder, self.load, callers)
            self.syncs[callers] = max(0.0, counted - idling * loaded_s / took_s) / calls

    async def _syncs(self, strace: Path, folder: Path, load: Load, callers: int) -> tuple[int, float, int]:
        """Return the syncs under a load, the seconds that it took, and its calls."""
        said = folder / "syncs"
        command = [str(strace), "-c", "-f", "-o", str(said), "-e", f"trace={SYNC_CALLS}"]
        command += [word for pid in self.processes() for word in ("-p", str(pid))]
        tracing = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await asyncio.sleep(SETTLE_S)  # strace attaches to each thread, and says nothing when it has
        latencies_ms, took_s = await load(callers, SYNCS_S)
        with suppress(ProcessLookupError):
            tracing.send_signal(signal.SIGINT)
        await tracing.wait()
        counted = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) .*(?<!total)$", said.read_text(), re.MULTILINE)
        return sum(map(int, counted)), took_s, len(latencies_ms)


def _stats() -> dict[int, list[str]]:
    """Return the fields of each process's `stat` after its name."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    return found


def _proportional_mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def http_load(authority: str, kind: type[HttpCaller] = HttpCaller) -> Load:
    """Return the load of connections to `host:port`: new ones in each window, since servers close those that idle."""

    async def run(number: int, duration_s: float) -> tuple[list[float], float]:
        callers = [await kind.connect(authority) for _ in range(number)]
        try:
            return await load([caller.add for caller in callers], duration_s)
        finally:
            for caller in callers:
                caller.close()

    return run


def program_load(process: asyncio.subprocess.Process) -> Load:
    """Return the load of a program that has its callers in it: a line `CALLERS SECONDS` in, its latencies out."""

    async def run(number: int, duration_s: float) -> tuple[list[float], float]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"%d %.3f\n" % (number, duration_s))
        async with asyncio.timeout(duration_s + 60):
            line = await process.stdout.readline()
        if not line:
            raise ConnectionError("the program with its callers ended")
        said = json.loads(line)
        return said["latencies_ms"], said["took_s"]

    return run


async def compete(found: dict[str, Contestant], rounds: int, window_s: float) -> dict[str, str]:
    """Let all take turns, with few callers first; return who fell over, and is out, with what was said of it."""
    fallen: dict[str, str] = {}

    async def turn(each: Contestant, callers: int, duration_s: float) -> Window | None:
        try:
            return await each.run(callers, duration_s)
        except (OSError, TimeoutError, AssertionError, ExceptionGroup) as error:
            fallen[each.name] = f"fell over under {callers} callers: {error!r}"
            print(f"  {each.name} {fallen[each.name]}", flush=True)
            found.pop(each.name)
            return None

    await asyncio.gather(*(each.idle() for each in found.values()))
    for callers in _numbers(found):
        for each in list(found.values()):
            if callers in each.callers:
                await turn(each, callers, min(WARM_S, window_s))
        for _ in range(rounds):
            for each in list(found.values()):
                if callers in each.callers and (window := await turn(each, callers, window_s)):
                    each.windows.setdefault(callers, []).append(window)
        for each in found.values():
            if callers in each.callers:
                print(f"  {callers:2} callers, {each.name}: {rate(each, callers):,.0f}/s", flush=True)
    return fallen


def _numbers(found: Mapping[str, Contestant]) -> list[int]:
    return sorted({callers for each in found.values() for callers in each.callers})


def rate(one: Contestant, callers: int) -> float:
    """Return calls a second, the median of the rounds."""
    return statistics.median(window.rate for window in one.windows[callers])


def ratio(one: Contestant, other: Contestant, callers: int) -> float:
    """Return how often as fast one is as the other: the median over the rounds."""
    pairs = zip(one.windows[callers], other.windows[callers], strict=True)
    return statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)


def quantile_ms(one: Contestant, callers: int, part: float) -> float:
    """Return the latency that so large a part of all calls is below."""
    latencies_ms = sorted(each for window in one.windows[callers] for each in window.latencies_ms)
    return latencies_ms[int(len(latencies_ms) * part)]


def cpu_us(one: Contestant, callers: int) -> float:
    """Return the CPU time of a call over all its processes, the median of the rounds."""
    return statistics.median(window.cpu_s / len(window.latencies_ms) * 1e6 for window in one.windows[callers])


COLUMNS = ("", "callers", "calls/s", "p50", "p99", "CPU a call", "CPU idle", "memory", "syncs a call")
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def rows(found: Mapping[str, Contestant]) -> str:
    """Return the table of all."""
    lines = [HEAD]
    for callers in _numbers(found):
        for each in found.values():
            if callers in each.callers:
                syncs = f"{each.syncs[callers]:.2f}" if callers in each.syncs else ""
                cells = (
                    each.name,
                    str(callers),
                    f"{rate(each, callers):,.0f}",
                    f"{quantile_ms(each, callers, 0.5):.2f} ms",
                    f"{quantile_ms(each, callers, 0.99):.2f} ms",
                    f"{cpu_us(each, callers):,.0f} µs",
                    f"{each.idle_cpu * 100:.1f} %",
                    f"{each.memory_mb:,.0f} MB",
                    syncs,
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
