"""What a gateway costs: one `once` tool behind a stdio upstream, called directly, through FastMCP's proxy, by semel.

All stand side by side and take turns in short windows, so that what else the machine does hits them alike.
"""

import asyncio
import contextlib
import json
import os
import socket
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.bench.load import LINE_BYTES_MAX, Add, HttpCaller, StdioCaller, load
from tests.bench.page import measured
from tests.ports import free_port
from tests.processes.cluster import until

ADDER, BARE_ADDER = (Path(__file__).with_name(name) for name in ("adder.py", "bare_adder.py"))
UPSTREAMS = {
    ADDER: "An upstream of the SDK's, as servers in Python are",
    BARE_ADDER: "An upstream that does nothing but answer, so that what is measured is the gateway",
}
CALLERS = (1, 16, 64)
FULL, QUICK = (7, 1.5), (2, 0.7)
"""How many rounds, and how long each of them gives each of the ways, in seconds."""
WARM_S = 0.5

DIRECT, SDK = "the upstream itself", "the upstream itself, by the SDK's client"
PROXY_STDIO, PROXY_HTTP = "FastMCP's proxy, stdio", "FastMCP's proxy, HTTP"
SEMEL_STDIO, SEMEL_HTTP = "semel, stdio", "semel, HTTP"
AGAINST = {SEMEL_STDIO: PROXY_STDIO, SEMEL_HTTP: PROXY_HTTP}


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


@dataclass(slots=True)
class Contestant:
    """One way to the tool: callers by number, and the process that is measured."""

    name: str
    callers: Callable[[int], Sequence[Add]]
    pid: int
    windows: dict[int, list[Window]] = field(default_factory=dict)

    def cpu_s(self) -> float:
        """Return the CPU time of the measured process so far; what its children took is theirs."""
        if not self.pid:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def run(self, callers: int, duration_s: float) -> Window:
        """Load it for a while."""
        before_s = self.cpu_s()
        try:
            latencies_ms, took_s = await load(self.callers(callers), duration_s)
        except Exception as error:
            raise AssertionError(f"{self.name} broke down under {callers} callers") from error
        return Window(latencies_ms, took_s, self.cpu_s() - before_s)


async def gateway(folder: Path, rounds: int, window_s: float) -> str:
    """Measure before both upstreams; return the part of the page."""
    parts = [
        f"{measured('the gateway, the upstream, the callers')}, FastMCP {version('fastmcp')}, mcp {version('mcp')}."
    ]
    for upstream, what in UPSTREAMS.items():
        print(f"{what}:", flush=True)
        place = folder / upstream.stem
        place.mkdir()
        parts.append(f"{what}:\n\n{await table(place, upstream, rounds, window_s)}")
    return "\n\n".join(parts)


async def table(folder: Path, upstream: Path, rounds: int, window_s: float) -> str:
    """Measure before one upstream."""
    async with contestants(folder, upstream) as found:
        for callers in CALLERS:
            for each in found.values():
                await each.run(callers, min(WARM_S, window_s))
            for _ in range(rounds):
                for each in found.values():
                    each.windows.setdefault(callers, []).append(await each.run(callers, window_s))
            print(lines(found, callers), flush=True)
    return "\n".join([HEAD, *(lines(found, callers) for callers in CALLERS)])


HEAD = (
    "| callers | called | calls/s | of the upstream's | against the proxy | p50 | p99 | CPU a call |\n"
    "|---|---|---|---|---|---|---|---|"
)


def lines(found: dict[str, Contestant], callers: int) -> str:
    """Return the rows of so many callers. Ratios are medians of each round's, as are the rates."""
    rows = []
    for name, each in found.items():
        windows = each.windows[callers]
        latencies_ms = sorted(each for window in windows for each in window.latencies_ms)
        cpu_us = statistics.median(window.cpu_s / len(window.latencies_ms) * 1e6 for window in windows)
        cells = (
            str(callers),
            name,
            f"{statistics.median(window.rate for window in windows):,.0f}",
            f"{ratio(each, found[DIRECT], callers):.2f}",
            f"**{ratio(each, found[AGAINST[name]], callers):.1f} times**" if name in AGAINST else "",
            f"{statistics.median(latencies_ms):.2f} ms",
            f"{latencies_ms[int(len(latencies_ms) * 0.99)]:.2f} ms",
            f"{cpu_us:,.0f} µs" if each.pid else "",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def ratio(one: Contestant, other: Contestant, callers: int) -> float:
    """Return how often as fast one is as the other: the median over the rounds."""
    pairs = zip(one.windows[callers], other.windows[callers], strict=True)
    return statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)


@asynccontextmanager
async def contestants(folder: Path, upstream: Path) -> AsyncIterator[dict[str, Contestant]]:
    """Start all; yield them by name."""
    config = folder / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"adder": {"command": sys.executable, "args": [str(upstream)]}}}))
    serve = (sys.executable, "-m", "semel", "serve", str(config), "--log-level", "warning")
    proxy = (sys.executable, "-m", "tests.bench.proxy", str(upstream))
    async with AsyncExitStack() as stack:

        async def over_stdio(name: str, *command: str) -> Contestant:
            process = await stack.enter_async_context(running(folder, name, command))
            caller = StdioCaller(process)
            stack.callback(caller.close)
            return Contestant(name, lambda callers: [caller.add] * callers, process.pid)

        async def over_http(name: str, *command: str, authority: str) -> Contestant:
            process = await stack.enter_async_context(running(folder, name, command))
            await until(lambda: listens(authority), limit_s=60, what=f"{name} to listen")
            kept = [await HttpCaller.connect(authority) for _ in range(max(CALLERS))]
            for caller in kept:
                stack.callback(caller.close)
            return Contestant(name, lambda callers: [caller.add for caller in kept[:callers]], process.pid)

        places = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        yield {
            DIRECT: await over_stdio("adder", sys.executable, str(upstream)),
            SDK: await by_the_sdk(stack, upstream),
            PROXY_STDIO: await over_stdio("proxy-stdio", *proxy, "stdio"),
            SEMEL_STDIO: await over_stdio(
                "semel-stdio", *serve, "--stdio", "--log", f"sqlite://{folder}/a/log.db", "--listen", places[0]
            ),
            PROXY_HTTP: await over_http(
                "proxy-http", *proxy, "http", places[1].rpartition(":")[2], authority=places[1]
            ),
            SEMEL_HTTP: await over_http(
                "semel-http", *serve, "--log", f"sqlite://{folder}/b/log.db", "--listen", places[2], authority=places[2]
            ),
        }


async def by_the_sdk(stack: AsyncExitStack, upstream: Path) -> Contestant:
    """Return the upstream as the SDK's own client calls it."""
    client = Client(stdio_client(StdioServerParameters(command=sys.executable, args=[str(upstream)])))
    await stack.enter_async_context(client)

    async def add(a: int, b: int) -> int:
        total: int = (await client.call_tool("add", {"a": a, "b": b})).structured_content["result"]
        return total

    return Contestant("sdk", lambda callers: [add] * callers, 0)


@asynccontextmanager
async def running(folder: Path, name: str, command: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process until the context is left; what it says on stderr goes into a file."""
    with (folder / f"{name}.err").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=LINE_BYTES_MAX,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()


def listens(authority: str) -> bool:
    """Return whether somebody answers at `host:port`; OSError if not."""
    host, _, port = authority.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=1):
        return True
