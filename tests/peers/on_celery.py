"""Celery on Redis, which fsyncs every write: three workers of eight processes each."""

from pathlib import Path

from tests.peers.install import CELERY, PROGRAMS, debian, libraries, run, venv
from tests.peers.workers import OnWorkers
from tests.ports import free_port


class OnCelery(OnWorkers):
    pattern = (
        "Celery: the task's ID is the key; `acks_late` with `task_reject_on_worker_lost` and a prefetch of 1 "
        "([docs](https://docs.celeryq.dev/en/stable/userguide/tasks.html)), which its documentation offers for "
        "idempotent tasks only; Redis with `appendfsync always`. Redis gives back what a dead worker held "
        "after the visibility timeout, here 5 s in place of an hour "
        "([docs](https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html)); "
        "RabbitMQ would do so when the connection closes. At most once: its default, the early acknowledgement."
    )
    ready = " ready."

    def __init__(self, title: str, acks: str) -> None:
        self.title = title
        self._acks = acks

    def install(self) -> str:
        self._bin = venv("celery", f"celery[redis]=={CELERY}")
        self._root = debian("redis", "redis-server", holding="usr/bin/redis-server")
        self._redis = self._root / "usr/bin/redis-server"
        version = run(self._redis, "--version", more=libraries(self._root))
        return f"Celery {CELERY}, Redis {version.split('v=')[1].split()[0]}"

    async def serve(self, folder: Path) -> None:
        port = free_port()
        durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        where = ("--bind", "127.0.0.1", "--port", str(port), "--dir", folder)
        env = libraries(self._root)
        await self.processes.start("redis", self._redis, *where, *durable, ready="Ready to accept", **env)
        self._redis_url = f"redis://127.0.0.1:{port}"

    def worker(self, name: str) -> list[str | Path]:
        options = ("--hostname", f"{name}@peers", "--concurrency", "8", "--loglevel", "info")
        return [self._bin / "celery", "--app", "celery_app", "--workdir", PROGRAMS, "worker", *options]

    def asker(self) -> list[str | Path]:
        return [self._bin / "python", PROGRAMS / "celery_app.py"]

    def environment(self, name: str) -> dict[str, str]:
        del name
        return {"BROKER": f"{self._redis_url}/0", "BACKEND": f"{self._redis_url}/1", "ACKS": self._acks}
