"""Contestants that take turns in short windows under the same load; what they did, what it cost, what reached the disk.

Knows processes and windows; not who the contestants are, nor what is to come out.
"""

import asyncio
import json
import os
import re
import signal
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.load import HttpCaller, load

ALL = (1, 16, 64)
"""How many callers at once."""
WARM_S = 0.5
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
    syncs: dict[int, float] = field(default_factory=dict)
    """Syncs a call, by the number of callers."""

    async def run(self, callers: int, duration_s: float) -> Window:
        """Load it for a while."""
        before_s = self.cpu_s()
        latencies_ms, took_s = await self.load(callers, duration_s)
        window = Window(latencies_ms, took_s, self.cpu_s() - before_s)
        self.memory_mb = max(self.memory_mb, sum(map(_proportional_mb, self.processes())))
        return window

    def processes(self) -> list[int]:
        """Return all its processes, as they are now."""
        return [pid for pid, fields in _stats() if int(fields[3]) in self.sessions]

    def cpu_s(self) -> float:
        """Return the CPU time so far of all its processes, those that have ended and were waited for included."""
        ticks = [sum(map(int, fields[11:15])) for _, fields in _stats() if int(fields[3]) in self.sessions]
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

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


def _stats() -> list[tuple[int, list[str]]]:
    """Return every process's number and the fields of its `stat` after the name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found.append((int(path.parent.name), path.read_text().rpartition(")")[2].split()))
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
            said = json.loads(await process.stdout.readline())
        return said["latencies_ms"], said["took_s"]

    return run


async def compete(found: Mapping[str, Contestant], rounds: int, window_s: float) -> None:
    """Let all take turns, with few callers first."""
    for callers in _numbers(found):
        able = [each for each in found.values() if callers in each.callers]
        for each in able:
            await each.run(callers, min(WARM_S, window_s))
        for _ in range(rounds):
            for each in able:
                each.windows.setdefault(callers, []).append(await each.run(callers, window_s))
        for each in able:
            print(f"  {callers:2} callers, {each.name}: {rate(each, callers):,.0f}/s", flush=True)


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


HEAD = "| | callers | calls/s | p50 | p99 | CPU a call | memory | syncs a call |\n|---|---|---|---|---|---|---|---|"


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
                    f"{each.memory_mb:,.0f} MB",
                    syncs,
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
