"""semel: three nodes on a SQLite log; the leader, which executes, is killed."""

import contextlib
import random
from collections.abc import Sequence
from pathlib import Path

import semel
from semel.errors import ClusterError, KeyReused, SemelError
from tests.peers.install import PROGRAMS, ROOT, run
from tests.peers.peer import Answer, Unreachable
from tests.processes.cluster import ClusterProcesses

NAMES = ("n1", "n2", "n3")


class OnSemel:
    killed = "the leader, which executes"
    pattern = "semel: the key of the call; the tool is declared `once` or `repeatable`."

    def __init__(self, tool: str, effect: str) -> None:
        self.title = f"**semel**, `{effect}` tool, 3 nodes, SQLite log"
        self._tool = tool
        self._gone = ""

    def install(self) -> str:
        return f"semel {run('git', 'rev-parse', '--short', 'HEAD', folder=ROOT.parent).strip()}"

    async def start(self, folder: Path) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._cluster = ClusterProcesses(folder, target=PROGRAMS / "semel_tools.py")
        await self._cluster.start(*NAMES)
        self._client = await self._stack.enter_async_context(semel.connect(*self._cluster.urls, timeout_s=40))

    async def submit(self, key: str, amount: int) -> Answer:
        try:
            answer = await self._client.call(self._tool, {"key": key, "amount": amount}, key=key)
        except KeyReused as error:
            return Answer("refused", str(error))
        except ClusterError as error:
            raise Unreachable from error
        except SemelError as error:
            return Answer("failed", str(error))
        if answer.in_doubt:
            return Answer("in_doubt", str(answer.result))
        return Answer("ok" if answer.outcome == "ok" else "failed", str(answer.result))

    async def kill(self, busiest: Sequence[int], dice: random.Random) -> int | None:
        del busiest, dice
        self._gone = await self._cluster.leader()
        group = self._cluster.processes[self._gone].pid
        await self._cluster.kill(self._gone)
        return group

    async def restart(self) -> None:
        await self._cluster.start(self._gone)

    async def stop(self) -> None:
        await self._stack.aclose()
        await self._cluster.stop()
