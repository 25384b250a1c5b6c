"""Real etcd members, for tests that do harm to them: on loopback, or wherever a command's prefix puts them.

Knows etcd's JSON gateway, and processes; semel's own `semel.local.etcd` knows the command line.
"""

import asyncio
import base64
import json
import os
import shutil
import signal
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semel.errors import EtcdMissing
from semel.local.etcd import Founding, Tuning, etcd_command, find_etcd
from tests.ports import free_port
from tests.processes.cluster import until

ANSWER_S = 1.0
READY_S = 30.0

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def why_no_etcd() -> str:
    """Return why no member can be started here; empty if one can."""
    try:
        find_etcd()
    except EtcdMissing as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member is: its address and ports, and what brings a command there."""

    address: str = "127.0.0.1"
    client_port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    prefix: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        """Where its clients reach it, as host:port."""
        return f"{self.address}:{self.client_port}"

    @property
    def peer_url(self) -> str:
        """Where other members reach it."""
        return f"http://{self.address}:{self.peer_port}"


class Members:
    """The members of one etcd cluster, by name; each keeps its place and its data over restarts."""

    def __init__(self, folder: Path, places: dict[str, Place]) -> None:
        self.folder = folder
        self.places = places
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._replaced: set[str] = set()
        """The members that did not found the cluster: an empty one is to join it."""

    def url(self, prefix: str = "", *, nearest: str = "") -> str:
        """Return the log's URL for semel, with one member named first."""
        names = sorted(self.places, key=lambda name: name != nearest)
        endpoints = ",".join(self.places[name].endpoint for name in names)
        return f"etcd://{endpoints}{'/' + prefix if prefix else ''}"

    def data(self, name: str) -> Path:
        """Return the folder of a member's own."""
        return self.folder / name / "etcd"

    def output(self, name: str) -> Path:
        """Return the file with all that a member has printed."""
        return self.folder / name / "etcd.out"

    async def start(self) -> None:
        """Start all members and wait until each has a leader."""
        for name in self.places:
            await self.launch(name)
        for name in self.places:
            await self.be_ready(name)

    async def launch(self, name: str) -> None:
        """Start a member; it goes on with the data it has."""
        place = self.places[name]
        self.data(name).mkdir(parents=True, exist_ok=True, mode=0o700)
        urls = f"http://{place.endpoint}", place.peer_url
        command = etcd_command(
            find_etcd(),
            name=name,
            data=self.data(name) / "data",
            listen=urls,
            advertise=urls,
            founding=Founding(
                peers={other: its.peer_url for other, its in self.places.items()},
                token=self.folder.name,
                joins=name in self._replaced,
            ),
            tuning=Tuning(),
        )
        with self.output(name).open("ab") as out:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *place.prefix,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    async def be_ready(self, name: str) -> None:
        """Wait until a member has a leader and what the others have committed."""
        await until(lambda: self.says_ready(name), limit_s=READY_S, what=f"etcd member {name} to be ready")

    def says_ready(self, name: str) -> bool:
        """Return whether a member answers a linearizable read."""
        try:
            self.ask(name, "/v3/kv/range", {"key": "AA=="})
        except OSError:
            return False
        return True

    def ask(self, name: str, path: str, body: dict[str, Any], *, timeout_s: float = ANSWER_S) -> Any:
        """Return what a member answers on its JSON gateway.

        Raises:
            OSError: nothing, or a refusal.
        """
        place = self.places[name]
        request = urllib.request.Request(f"http://{place.endpoint}{path}", json.dumps(body).encode())
        with _direct.open(request, timeout=timeout_s) as response:
            return json.load(response)

    def status(self, name: str) -> dict[str, Any]:
        """Return a member's own view: `leader`, `dbSize` in bytes, `raftTerm` and more, numbers as texts."""
        status: dict[str, Any] = self.ask(name, "/v3/maintenance/status", {})
        return status

    def oldest(self, name: str, prefix: str = "semel") -> int:
        """Return the first position that etcd still has of a semel log, as a member sees it, but for position 1."""
        first, end = (base64.b64encode(f"/{prefix}/log{edge}".encode()).decode() for edge in ("/", "0"))
        body = {"key": first, "range_end": end, "limit": 2, "keys_only": True}
        keys = [base64.b64decode(found["key"]) for found in self.ask(name, "/v3/kv/range", body)["kvs"]]
        return int(keys[-1].rpartition(b"/")[2], 16)

    def find_leader(self) -> str | None:
        """Return the member that leads by its own word, if there is one."""
        for name, process in self.processes.items():
            if process.returncode is None:
                with suppress(OSError):
                    status = self.status(name)
                    if status.get("leader") == status["header"]["member_id"]:
                        return name
        return None

    async def leader(self) -> str:
        """Return the member that leads, as soon as there is one."""
        found: str = await until(self.find_leader, what="an etcd leader")
        return found

    def signal(self, name: str, number: signal.Signals) -> None:
        process = self.processes[name]
        with suppress(ProcessLookupError):
            if process.returncode is None:
                os.kill(process.pid, number)  # the process's own method may reap it before asyncio does

    async def kill(self, name: str) -> None:
        """Kill a member as a power cut would."""
        self.signal(name, signal.SIGKILL)
        await self.processes[name].wait()

    async def gives_up(self, name: str) -> None:
        """Wait until a member ends by itself."""
        async with asyncio.timeout(READY_S):
            await self.processes[name].wait()

    async def replace(self, name: str, *, through: str) -> None:
        """Take a member that is down out of its cluster, and put an empty one in its place, which then runs."""
        members = (await asyncio.to_thread(self.ask, through, "/v3/cluster/member/list", {}))["members"]
        gone = next(member["ID"] for member in members if member.get("name") == name)
        shutil.rmtree(self.data(name) / "data")
        await until(lambda: self.ask(through, "/v3/cluster/member/remove", {"ID": gone}), what=f"{name} to be removed")
        added = {"peerURLs": [self.places[name].peer_url]}
        # Members want to be well connected for some seconds before they let another in.
        await until(lambda: self.ask(through, "/v3/cluster/member/add", added), what=f"{name} to be added")
        self._replaced.add(name)
        await self.launch(name)
        await self.be_ready(name)

    async def stop(self) -> None:
        """End every member, at once: nothing is kept."""
        for name, process in self.processes.items():
            if process.returncode is None:
                self.signal(name, signal.SIGKILL)
        for process in self.processes.values():
            await process.wait()
