"""Asking through a peer's own client library: a program in the peer's environment that reads and writes JSON lines."""

import asyncio
import itertools
import json
import os
from pathlib import Path

from tests.peers.peer import Answer, Unreachable


class Asker:
    """A caller's process; the fire spares it, for it is not the system that is judged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, *command: str | Path, folder: Path, **env: str) -> "Asker":
        with (folder / "asker.out").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **env},
                cwd=folder,
                start_new_session=True,
            )
        return cls(process)

    async def ask(self, key: str, amount: int) -> Answer:
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"number": number, "key": key, "amount": amount}).encode() + b"\n")
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            waiting = self._waiting.get(said["number"])
            if waiting is None or waiting.done():
                continue
            if said["outcome"] == "unreachable":
                waiting.set_exception(Unreachable(said["text"]))
            else:
                waiting.set_result(Answer(said["outcome"], said["text"]))

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._reading.cancel()
