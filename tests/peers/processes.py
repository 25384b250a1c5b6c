"""Processes of one peer: each in a session of its own, so that a kill takes its children too, as a power cut would."""

import asyncio
import contextlib
import os
import pwd
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes.cluster import until


@dataclass
class Processes:
    folder: Path
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str, *command: str | Path, ready: str = "", **env: str) -> None:
        """Start a process; with `ready`, wait until it has printed that."""
        await self._start(name, command, env, {})
        await self.printed(name, ready)

    async def start_unprivileged(self, name: str, *command: str | Path, ready: str = "", **env: str) -> None:
        """The same, and never as root: PostgreSQL refuses to be."""
        nobody = pwd.getpwnam("nobody")
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        await self._start(name, command, env, who)
        await self.printed(name, ready)

    async def _start(
        self, name: str, command: tuple[str | Path, ...], env: dict[str, str], who: dict[str, Any]
    ) -> None:
        with (self.folder / f"{name}.out").open("wb") as out:
            self.running[name] = await asyncio.create_subprocess_exec(
                *map(str, command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                cwd=self.folder,
                start_new_session=True,
                **who,
            )

    async def printed(self, name: str, text: str) -> None:
        def seen() -> bool:
            return text in (self.folder / f"{name}.out").read_text(errors="replace")

        await until(seen, limit_s=60, what=f"{name} to print {text!r}")

    def named(self, group: int) -> str:
        return next(name for name, process in self.running.items() if process.pid == group)

    async def kill(self, name: str) -> int:
        """Kill a process and all that it started; return the process group."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        return process.pid

    async def end(self, name: str) -> None:
        """Wait for a process that ends by itself, such as initdb."""
        code = await self.running.pop(name).wait()
        assert code == 0, (self.folder / f"{name}.out").read_text(errors="replace")

    async def stop(self) -> None:
        """Kill whatever still runs: nothing is to be kept."""
        for name in reversed(list(self.running)):
            with contextlib.suppress(ProcessLookupError):
                await self.kill(name)
