"""etcd members as processes of the tests: on free ports of loopback, with their data in a folder of the test's."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.ports import free_port

SERVES = re.compile(rb"ready to serve|serving client|serving insecure client")
READY_S = 30
"""A member that is not ready by then is broken: it takes a second on a busy machine."""


def etcd_binary() -> Path | None:
    """Return the etcd of the environment variable ETCD, or the one beside this Python, or one on the path."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = os.environ.get("ETCD") or shutil.which("etcd", path=places)
    return Path(found) if found else None


class EtcdMember:
    """One member; it can be killed and started again, stopped and continued."""

    def __init__(self, command: Sequence[str], client_port: int, log: Path, environment: Mapping[str, str]) -> None:
        self.port = client_port
        self.endpoint = f"127.0.0.1:{client_port}"
        self.log = log
        self._command = command
        self._environment = environment
        self._said_before = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        with self.log.open("ab") as log:
            self._said_before = log.tell()
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=dict(self._environment), start_new_session=True
            )

    def wait_until_ready(self) -> None:
        """Wait until the member serves clients, which it does once it has a leader; its port is open before that."""
        ends_at = time.monotonic() + READY_S
        while not SERVES.search(said := self.log.read_bytes()[self._said_before :]):
            assert self._process is not None
            assert self._process.poll() is None, f"etcd ended: {said[-2000:]!r}"
            assert time.monotonic() < ends_at, f"etcd is not ready: {said[-2000:]!r}"
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Hold it up, connections and all."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class EtcdCluster:
    """Members of one cluster, started on entering and killed on leaving."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        members: int,
        arguments: Sequence[str] = (),
        tls: Mapping[str, Path] | None = None,
    ) -> None:
        ports = [free_port() for _ in range(2 * members)]
        names = [f"m{number}" for number in range(1, members + 1)]
        peers = dict(zip(names, ports[members:], strict=True))
        together = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in peers.items())
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "ETCD_UNSUPPORTED_ARCH": os.environ.get("ETCD_UNSUPPORTED_ARCH", ""),
        }
        scheme = "https" if tls else "http"
        self.members = []
        for name, port in zip(names, ports, strict=False):
            command = [str(binary), "--name", name, "--data-dir", str(folder / name)]
            command += ["--listen-client-urls", f"{scheme}://127.0.0.1:{port}"]
            command += ["--advertise-client-urls", f"{scheme}://127.0.0.1:{port}"]
            command += ["--listen-peer-urls", f"http://127.0.0.1:{peers[name]}"]
            command += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[name]}"]
            command += ["--initial-cluster", together, "--initial-cluster-token", str(folder)]
            command += ["--heartbeat-interval", "30", "--election-timeout", "300"]
            command += [word for option, file in (tls or {}).items() for word in (f"--{option}", str(file))]
            self.members.append(EtcdMember([*command, *arguments], port, folder / f"{name}.log", environment))

    @property
    def endpoints(self) -> list[str]:
        """Where the members let clients in."""
        return [member.endpoint for member in self.members]

    def __enter__(self) -> Self:
        try:
            for member in self.members:
                member.start()
            for member in self.members:
                member.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()
