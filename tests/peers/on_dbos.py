"""DBOS on PostgreSQL: three executors, which take workflows from a queue."""

import shutil
from pathlib import Path

from tests.peers.install import DBOS, PROGRAMS, debian, libraries, run, venv
from tests.peers.processes import Processes
from tests.peers.workers import OnWorkers
from tests.ports import free_port

SERVER = "usr/lib/postgresql/*/bin/postgres"
PROGRAM = PROGRAMS / "dbos_app.py"


class OnDBOS(OnWorkers):
    pattern = (
        "DBOS: the workflow's ID is the idempotency key "
        "([docs](https://docs.dbos.dev/python/tutorials/idempotency-tutorial)); the tool is a step; "
        "an executor that is started again under its ID recovers its workflows "
        "([docs](https://docs.dbos.dev/production/self-hosting/workflow-recovery)). "
        "At most once: `max_recovery_attempts=0` ([docs](https://docs.dbos.dev/python/reference/decorators)). "
        "Client and queue poll every 0.1 s in place of 1 s."
    )

    def __init__(self, title: str, recoveries: int) -> None:
        self.title = title
        self._recoveries = recoveries

    def install(self) -> str:
        self._bin = venv("dbos", f"dbos=={DBOS}")
        self._root, self._postgres = postgres()
        version = run(self._postgres / "postgres", "--version", more=libraries(self._root)).split()[2]
        return f"DBOS {DBOS}, PostgreSQL {version}"

    async def serve(self, folder: Path) -> None:
        self._database, _ = await serve_postgres(self.processes, self._postgres, libraries(self._root))

    def worker(self, name: str) -> list[str | Path]:
        del name
        return [self._bin / "python", PROGRAM, "worker"]

    def asker(self) -> list[str | Path]:
        return [self._bin / "python", PROGRAM, "client"]

    def environment(self, name: str) -> dict[str, str]:
        return {"DATABASE": self._database, "NODE": name, "RECOVERIES": str(self._recoveries)}


def postgres() -> tuple[Path, Path]:
    """Return the root below which Debian's PostgreSQL is, and the folder of its programs."""
    root = debian("postgresql", "postgresql", holding=SERVER)
    return root, max(root.glob(SERVER)).parent


async def serve_postgres(processes: Processes, programs: Path, env: dict[str, str]) -> tuple[str, int]:
    """Start a PostgreSQL with its defaults, which are durable, on an empty folder; return its URL and its process."""
    data, port = processes.folder / "data", free_port()
    data.mkdir()
    if data.owner() == "root":
        shutil.chown(data, "nobody", "nogroup")
    initdb = (programs / "initdb", "-D", data, "-A", "trust", "-U", "peers")
    await processes.start_unprivileged("initdb", *initdb, **env)
    await processes.end("initdb")
    listening = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", str(port))
    server = (programs / "postgres", "-D", data, *listening)
    await processes.start_unprivileged("postgres", *server, ready="ready to accept", **env)
    return f"postgresql://peers@127.0.0.1:{port}/peers", processes.running["postgres"].pid
