"""The demo's stage: a folder, and node processes that it starts, kills and ends, each by its own process id."""

import asyncio
import os
import shutil
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from semel.cli.asking import open_client
from semel.cli.demo.narrator import CheckFailed
from semel.errors import SemelError

if TYPE_CHECKING:
    from semel.gateway.client import Client

STARTS_FILE = "SEMEL_DEMO_STARTS"
"""The environment variable by which the tools of `server.py` find the file of starts."""
POLL_S = 0.02
STEP_S = 15.0
"""No wait of the story is longer; the longest that is meant to happen takes a second or two."""
END_S = 15.0
"""A node that was told to end and has not after this long is killed."""
OUTPUT_LINES_SHOWN = 12

Found = TypeVar("Found")


@dataclass(slots=True)
class Actor:
    """One node of the story: its process, and a client that asks this node alone."""

    name: str
    url: str
    process: Process
    client: "Client"


class Stage:
    """Three nodes' home, and all that must be gone at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = folder / "starts.txt"
        self._starts.touch()
        self._target = Path(shutil.copy(Path(__file__).with_name("server.py"), folder / "server.py"))
        self._ports: dict[str, int] = {}
        self.actors: dict[str, Actor] = {}
        self.pids: list[int] = []
        """Every process that was started, also those that are gone."""

    async def start(self, name: str) -> Actor:
        """Start a node as a process of its own; its words go into a file of the folder."""
        port = self._ports.setdefault(name, _free_port())
        url = f"http://127.0.0.1:{port}"
        command = [
            *(sys.executable, "-m", "semel", "serve", str(self._target)),
            *("--log", (self._folder / "log.db").as_uri().replace("file:", "sqlite:"), "--node", name),
            *("--listen", f"127.0.0.1:{port}"),
        ]
        with self._output_of(name).open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {STARTS_FILE: str(self._starts)},
                start_new_session=True,  # Ctrl-C is for the demo, which ends its nodes itself
            )
        self.pids.append(process.pid)
        earlier = self.actors.get(name)
        self.actors[name] = Actor(name, url, process, open_client([url], timeout_s=STEP_S, caller="ada"))
        if earlier is not None:
            await earlier.client.close()
        return self.actors[name]

    async def kill(self, actor: Actor) -> None:
        """End a process as a crash would: SIGKILL, and it is gone."""
        actor.process.kill()
        await actor.process.wait()

    async def end(self, actor: Actor) -> int:
        """Ask a process to go, and return its exit code."""
        if actor.process.returncode is None:
            actor.process.terminate()
        try:
            return await asyncio.wait_for(actor.process.wait(), END_S)
        except TimeoutError:
            actor.process.kill()
            return await actor.process.wait()

    async def close(self) -> None:
        """End whatever is left, however the story went."""
        try:
            await asyncio.gather(*(actor.client.close() for actor in self.actors.values()), return_exceptions=True)
            await asyncio.gather(*(self.end(actor) for actor in self.actors.values()))
        finally:
            for actor in self.actors.values():  # only where the ending itself was interrupted
                with suppress(ProcessLookupError):
                    if actor.process.returncode is None:
                        actor.process.kill()

    def starts(self) -> list[str]:
        """Return which slow tools have started, in order, as they say themselves."""
        return [line.split()[0] for line in self._starts.read_text().splitlines()]

    def last_words(self) -> str:
        """Return the ends of what the nodes wrote, for a story that failed."""
        return "\n".join(
            f"--- {name}\n"
            + "\n".join(self._output_of(name).read_text(errors="replace").splitlines()[-OUTPUT_LINES_SHOWN:])
            for name in self.actors
        )

    def _output_of(self, name: str) -> Path:
        return self._folder / f"{name}.out"


async def until(what: str, look: Callable[[], Awaitable[Found | None]]) -> Found:
    """Look again and again until there is something, and return it; a node that does not answer yet shows nothing.

    Raises:
        CheckFailed: nothing came of it in time.
    """
    trouble = "nothing of it"
    try:
        async with asyncio.timeout(STEP_S):
            while True:
                try:
                    if (found := await look()) is not None:
                        return found
                except SemelError as error:
                    trouble = str(error)
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise CheckFailed(f"{what}, within {STEP_S:.0f} s; found instead: {trouble}") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
