"""A cluster of real `semel serve` processes on loopback, for tests that kill them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ports import free_port

SERVER = Path(__file__).with_name("server.py")


async def until(condition: Any, *, limit_s: float = 15.0, what: str = "the condition") -> Any:
    """Return the first true value of `condition()`, asked again and again for up to `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            while True:
                with contextlib.suppress(OSError):
                    if value := await asyncio.to_thread(condition):
                        return value
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {limit_s:g} s in vain for {what}") from None


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=3) as response:
        return json.load(response)


def get_audit(url: str, *, key: str = "") -> list[dict[str, Any]]:
    wanted = f"?key={urllib.parse.quote(key)}" if key else ""
    with urllib.request.urlopen(f"{url}/v1/audit{wanted}", timeout=30) as response:
        return [json.loads(line) for line in response]


@dataclass
class ClusterProcesses:
    """Nodes by name; each keeps its port and its data over restarts."""

    folder: Path
    target: Path = SERVER
    extra: tuple[str, ...] = ()
    log: str = ""
    """The log's URL; empty for a SQLite file in the folder."""
    logs: dict[str, str] = field(default_factory=dict)
    """Where a node finds the log, if not where all do."""
    advertised: dict[str, str] = field(default_factory=dict)
    """Where peers are to reach a node, if not where it listens."""
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def effects(self) -> Path:
        return self.folder / "effects"

    @property
    def urls(self) -> list[str]:
        return [self.url(name) for name in self.ports]

    def url(self, name: str) -> str:
        return f"http://{self.listen(name)}"

    def listen(self, name: str) -> str:
        """Return where a node listens, as host:port."""
        return f"127.0.0.1:{self.ports.setdefault(name, free_port())}"

    def output(self, name: str) -> Path:
        """Return the file with all that a node has printed."""
        return self.folder / f"{name}.out"

    def effect_lines(self) -> list[str]:
        return self.effects.read_text().splitlines() if self.effects.exists() else []

    async def start(self, *names: str, limit_s: float = 15.0) -> None:
        """Start nodes and wait until each of them is ready."""
        for name in names:
            await self.launch(name)
        for name in names:
            await until(
                lambda name=name: get_json(f"{self.url(name)}/readyz"), limit_s=limit_s, what=f"{name} to be ready"
            )

    async def launch(self, name: str) -> None:
        with self.output(name).open("ab") as out:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *self.command(name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment(name),
                start_new_session=True,
            )

    def command(self, name: str) -> list[str]:
        """Return what starts a node."""
        log = self.logs.get(name) or self.log or f"sqlite://{self.folder}/log.db"
        advertise = ("--advertise", self.advertised[name]) if name in self.advertised else ()
        return [
            *(sys.executable, "-m", "semel", "serve", str(self.target), "--node", name),
            *("--log", log, "--listen", self.listen(name), *advertise, *self.extra),
        ]

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a node."""
        return {**os.environ, "EFFECTS": str(self.effects)}

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = get_json(f"{self.url(name)}/v1/status")
        return status

    async def leader(self, *, among: list[str] | None = None) -> str:
        """Return the leader's name as soon as a live node knows one that lives."""
        live = among or [name for name, process in self.processes.items() if process.returncode is None]

        def find() -> str | None:
            leader = self.status(live[0])["leader"]
            return leader if leader in live else None

        found: str = await until(find, what="a leader")
        return found

    async def kill(self, name: str) -> None:
        """Kill a node as a power cut would."""
        process = self.processes[name]
        process.kill()
        await process.wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    async def stop(self) -> None:
        """End every process that was started here."""
        for process in self.processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
