"""A cluster of three nodes with six servers behind each, as somebody would list them in an `mcp.json`."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import npm
from tests.conformance.through import listens
from tests.ports import free_port
from tests.processes.cluster import ClusterProcesses, get_json, until

PINNED = Path(__file__).parent
ROOT = PINNED.parents[1] / ".real"
NODES = ("n1", "n2", "n3")
OTHERS = "@modelcontextprotocol"
END = "(the end)"
START_LIMIT_S = 60.0
"""A node starts six servers, each a program of its own; three nodes may do so at once on a busy machine."""


def install() -> npm.Packages:
    """Return the packages of `package.json`; raises NotInstallable."""
    return npm.install(ROOT, pinned=PINNED)


@dataclass
class Setting:
    """What stands for all tests; each makes files of its own in `files`.

    The servers `files` and `git` may touch what is in `files`, and `memory` keeps its graph in `graph`.
    """

    folder: Path
    packages: npm.Packages
    cluster: ClusterProcesses
    far: "Far"
    family: str = field(default_factory=lambda: uuid.uuid4().hex)
    """In the environment of each server's process, which the nodes start."""

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def graph(self) -> Path:
        return self.folder / "memory.jsonl"

    def journal(self, name: str) -> Path:
        """Return a new file that grows by a line with each run of `note`."""
        path = self.files / f"{name}.txt"
        path.write_text(END, encoding="utf-8")
        return path

    def repository(self, name: str) -> Path:
        """Return a new git repository with one commit."""
        path = self.files / name
        git(path.parent, "init", "-q", str(path))
        git(path, "config", "user.name", "Ann")
        git(path, "config", "user.email", "ann@example.org")
        git(path, "commit", "-q", "--allow-empty", "-m", "first")
        return path

    async def follower(self) -> str:
        """Return a live node that does not lead."""
        leader = await self.cluster.leader()
        return next(name for name in self.live if name != leader)

    @property
    def live(self) -> list[str]:
        return [name for name, process in self.cluster.processes.items() if process.returncode is None]

    async def all_up(self) -> None:
        """Start the nodes that are not there: all, or the one that a test has killed."""
        missing = [name for name in NODES if name not in self.live]
        for name in missing:
            await self.cluster.launch(name)
        for name in missing:
            await until(lambda name=name: self._is_up(name), limit_s=START_LIMIT_S, what=f"{name} to be ready")

    def _is_up(self, name: str) -> bool:
        code = self.cluster.processes[name].returncode
        assert code is None, f"{name} ended with {code}: {self.cluster.output(name).read_text()[-2000:]}"
        return bool(get_json(f"{self.cluster.url(name)}/readyz"))


def note(journal: Path, line: str) -> dict[str, Any]:
    """Return the arguments of `files_edit_file` that put a line at the journal's end: twice, if it runs twice."""
    return {"path": str(journal), "edits": [{"oldText": END, "newText": f"{line}\n{END}"}]}


def noted(journal: Path) -> list[str]:
    return journal.read_text(encoding="utf-8").splitlines()[:-1]


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commits(repository: Path) -> list[str]:
    return git(repository, "log", "--reverse", "--format=%s").splitlines()[1:]


class Far:
    """`server-everything` over Streamable HTTP: one process for all nodes."""

    def __init__(self, folder: Path, packages: npm.Packages) -> None:
        self._output = folder / "far.out"
        self._command = packages.command(f"{OTHERS}/server-everything/dist/index.js")
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/mcp"

    async def start(self) -> None:
        with self._output.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._command, "streamableHttp"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PORT": str(self._port)},
            )
        await until(lambda: listens(self._port), limit_s=START_LIMIT_S, what="server-everything to listen")

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def listing(setting: Setting) -> dict[str, Any]:
    """Return the `mcp.json`."""

    def stdio(command: str, *arguments: str, **env: str) -> dict[str, Any]:
        return {"command": command, "args": list(arguments), "env": {"FAMILY": setting.family, **env}}

    def package(name: str, *arguments: str, **env: str) -> dict[str, Any]:
        return stdio(*setting.packages.command(f"{OTHERS}/{name}/dist/index.js"), *arguments, **env)

    def long(effect: str) -> dict[str, Any]:
        tools = {"trigger-long-running-operation": {"effect": effect}}
        return {"tools": tools, "clientsCan": ["sampling", "elicitation", "roots"]}

    servers = {
        "git": stdio(sys.executable, "-m", "mcp_server_git"),
        "time": stdio(sys.executable, "-m", "mcp_server_time"),
        "everything": {**package("server-everything"), "semel": long("repeatable")},
        "far": {"type": "http", "url": setting.far.url, "semel": long("once")},
        "files": package("server-filesystem", str(setting.files)),
        "memory": package("server-memory", MEMORY_FILE_PATH=str(setting.graph)),
    }
    return {"mcpServers": servers}


@asynccontextmanager
async def standing(folder: Path, packages: npm.Packages) -> AsyncIterator[Setting]:
    """Start everything, and end it without leaving a process behind."""
    target = folder / "mcp.json"
    setting = Setting(folder, packages, ClusterProcesses(folder, target), Far(folder, packages))
    setting.files.mkdir()
    target.write_text(json.dumps(listing(setting)), encoding="utf-8")
    try:
        await setting.far.start()
        await setting.all_up()
        yield setting
    finally:
        await setting.cluster.stop()
        await setting.far.kill()
    await until(lambda: not _relatives(setting.family), what="the servers' processes to end")


def _relatives(family: str) -> list[int]:
    """Return the processes that have the family's name in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if family.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found
