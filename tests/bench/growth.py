"""`make bench PART=growth`: what a longer log, more nodes, larger payloads and slower tools do to one semel.

The sizes of one kind stand side by side and take turns, so that what else the machine does hits them alike.
"""

import os
import random
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.contest import Contestant, compete, rows
from tests.bench.load import ENVELOPE, HttpCaller, next_key
from tests.bench.page import measured
from tests.bench.remembered import key_of, remember
from tests.bench.teams import PROGRAMS, Team, serve_tuned, team
from tests.processes.cluster import ClusterProcesses
from tests.processes.etcd import Members, Place

FULL, QUICK = (4, 1.5), (1, 0.7)
"""How many rounds, and how long each of them gives each size, in seconds."""
CALLS, QUICK_CALLS = (1_000, 100_000, 10_000_000), (1_000, 10_000)
NODES, QUICK_NODES = (1, 3, 5), (1, 3)
PAYLOADS = {"100 B": 100, "10 kB": 10_000, "1 MB": 1_000_000}
TOOLS_MS = (0, 10, 1000)
IN_FLIGHT = 1000
SLOW_WINDOW_S = 6.0
START_S = 900.0


class ToolCaller(HttpCaller):
    """One connection that is kept, and one request on it at a time, to any tool that gives back a sum or a text."""

    tool = "add"
    text = ""
    ms: int | None = None

    def __init__(self, authority: str) -> None:
        super().__init__(authority)
        self._expected = 0

    async def add(self, a: int, b: int) -> int:
        """Call the tool; a text that comes back whole stands for the sum."""
        arguments: dict[str, Any] = {"text": self.text} if self.text else {"a": a, "b": b}
        if self.ms is not None:
            arguments["ms"] = self.ms
        result = await self.ask(next_key(), arguments)
        if self.text:
            assert result == self.text
            return a + b
        return int(result)

    async def ask(self, key: str, arguments: dict[str, Any]) -> Any:
        """Call the tool under a key; return what it gives."""
        meta = {**ENVELOPE, "dev.semel/idempotency-key": key}
        params = {"name": self.tool, "arguments": arguments, "_meta": meta}
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        head = self._head.replace(b"Mcp-Name: add", b"Mcp-Name: %s" % self.tool.encode())
        answer = msgspec.json.decode(await self._ask(b"%s%d\r\n\r\n%s" % (head, len(body), body)))
        return answer["result"]["structuredContent"]["result"]

    def data_received(self, data: bytes) -> None:
        """Give the answer on once it is whole: only a head is looked for until then."""
        self._arrived += data
        if not self._expected:
            end = self._arrived.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._arrived[:end]).lower()
            assert head.startswith(b"http/1.1 200"), bytes(self._arrived[:500])
            size = int(head[head.index(b"content-length: ") + 16 :].split(b"\r\n", 1)[0])
            del self._arrived[: end + 4]
            self._expected = size
        if len(self._arrived) >= self._expected:
            body = bytes(self._arrived)
            self._arrived.clear()
            self._expected = 0
            assert self._answer is not None
            self._answer.set_result(body)


def caller(tool: str, *, text: str = "", ms: int | None = None) -> type[ToolCaller]:
    """Return a kind of caller that calls this tool with these arguments."""
    return type("Caller", (ToolCaller,), {"tool": tool, "text": text, "ms": ms})


def retrier(calls: int) -> type[ToolCaller]:
    """Return a kind of caller that asks for calls again which were made long ago, here and there among so many."""

    class Retrier(ToolCaller):
        async def add(self, a: int, b: int) -> int:
            """Ask for one of them; its own sum stands for the one that is wanted."""
            number = random.randrange(calls) + 1
            assert await self.ask(key_of(number), {"a": number, "b": 1}) == number + 1
            return a + b

    return Retrier


async def semel(made: Team, name: str, *, log: str = "") -> ClusterProcesses:
    """Return a cluster of nodes to be, with a folder of its own."""
    folder = made.folder / name
    folder.mkdir()
    extra = ("--data", str(folder / "replicas")) if log else ()
    cluster = ClusterProcesses(folder, target=PROGRAMS / "semel_tools.py", log=log, extra=extra)
    made.stack.push_async_callback(cluster.stop)
    return cluster


async def logs(made: Team, sizes: tuple[int, ...]) -> None:
    """Start a node that remembers so many calls, for each size; new calls come to it, and retries of old ones."""
    for calls in sizes:
        cluster = await semel(made, f"log-{calls}")
        await remember(f"sqlite://{cluster.folder}/log.db", cluster.folder / "log.db.nodes/n1/replica.db", calls)
        await cluster.start("n1", limit_s=START_S)
        print(f"  a node that remembers {calls:,} calls is up", flush=True)
        pids = [cluster.processes["n1"].pid]
        for what, kind in {"new calls": HttpCaller, "retries": retrier(calls)}.items():
            load = await made.http(cluster.listen("n1"), kind)
            name = f"{calls:,} calls remembered, {what}"
            made.found[name] = Contestant(name, load, pids, callers=(1, 64))


async def nodes(made: Team, sizes: tuple[int, ...]) -> None:
    """Start clusters of each size on the same three members of etcd, each in a log of its own."""
    members = Members(made.folder / "etcd", {name: Place() for name in ("m1", "m2", "m3")})
    made.stack.push_async_callback(members.stop)
    await members.start()
    for size in sizes:
        cluster = await semel(made, f"nodes-{size}", log=members.url(f"log{size}"))
        names = [f"n{number + 1}" for number in range(size)]
        for name in names:
            await cluster.start(name)  # one by one, so that the first leads
        sessions = [process.pid for process in (*members.processes.values(), *cluster.processes.values())]
        for asked in sorted({names[0], names[-1]}):
            name = f"{size} node{'s' * (size > 1)}, {'the leader' if asked == names[0] else 'a follower'} asked"
            load = await made.http(cluster.listen(asked))
            made.found[name] = Contestant(name, load, sessions, callers=(1, 64))


async def payloads(made: Team) -> None:
    """Start a node for texts of each size, and the SDK's tuned server beside it."""
    sdk, sdk_pid = await serve_tuned(made)
    cluster = await semel(made, "payloads")
    await cluster.start("n1")
    for name, size in PAYLOADS.items():
        kind = caller("echo", text="x" * size)
        for whose, authority, pid in (
            ("the SDK, tuned", sdk, sdk_pid),
            ("semel", cluster.listen("n1"), cluster.processes["n1"].pid),
        ):
            load = await made.http(authority, kind)
            made.found[f"{name}, {whose}"] = Contestant(f"{name} there and back, {whose}", load, [pid], callers=(1, 16))


async def tools(made: Team) -> None:
    """Start a node for each kind of tool."""
    for ms in TOOLS_MS:
        cluster = await semel(made, f"tools-{ms}")
        await cluster.start("n1")
        load = await made.http(cluster.listen("n1"), caller("wait", ms=ms))
        name = f"a tool of {ms} ms"
        made.found[name] = Contestant(name, load, [cluster.processes["n1"].pid], callers=(IN_FLIGHT,))


async def growth(folder: Path, rounds: int, window_s: float, *, quick: bool) -> str:
    """Measure; return the part of the page."""
    begun = os.getloadavg()[0]
    kinds = {
        "payloads": (payloads, window_s),
        "tools": (tools, window_s if quick else SLOW_WINDOW_S),
        "nodes": (lambda made: nodes(made, QUICK_NODES if quick else NODES), window_s),
        "logs": (lambda made: logs(made, QUICK_CALLS if quick else CALLS), window_s),
    }
    texts = []
    for name, (start, each_s) in kinds.items():
        async with team(folder / name, {name: start}) as made:
            assert not made.missing, made.missing
            fallen = await compete(made.found, rounds, each_s)
            texts.append("\n".join([rows(made.found), *(f"- {who}: {what}" for who, what in fallen.items())]))
            print(texts[-1], flush=True)
    loads = f"The load average was {begun:.0f} when it began and {os.getloadavg()[0]:.0f} when it ended."
    return "\n\n".join([f"{measured('the nodes, the members, the callers')}; {rounds} rounds. {loads}", *texts])
