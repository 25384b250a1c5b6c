"""The console in this process with a client that is a fake, and the console as a process of its own."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import pytest

from semel.cli.main import main
from tests.cli.fakes import FakeClient
from tests.ports import free_port

PATIENCE_S = 20

Serve = Callable[..., "Served"]


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


Semel = Callable[..., Ended]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """Let every command of this process talk to a fake; nothing leaves the process."""
    fake = FakeClient()

    def open_client(
        urls: tuple[str, ...], *, timeout_s: float, connect_s: float, caller: str | None = None
    ) -> FakeClient:
        fake.opened = {"urls": urls, "timeout_s": timeout_s, "caller": caller}
        return fake

    monkeypatch.setattr("semel.cli.asking.open_client", open_client)
    return fake


@pytest.fixture
def semel(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Semel:
    """Run the console in this process, with none of its environment variables set."""
    monkeypatch.delenv("SEMEL_URL", raising=False)
    monkeypatch.delenv("SEMEL_LOG", raising=False)

    def run(*arguments: str) -> Ended:
        code = main(arguments)
        written = capsys.readouterr()
        return Ended(code, written.out, written.err)

    return run


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which a semel process leaves nothing outside `folder`."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("SEMEL_")}
    return mine | {"XDG_DATA_HOME": str(folder / "data"), "TMPDIR": str(folder)}


@pytest.fixture
def semel_process(tmp_path: Path) -> Semel:
    """Run the console as a process of its own, to its end."""

    def run(*arguments: str, stdin: str | None = None) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "semel", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment(tmp_path),
            cwd=tmp_path,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@dataclass
class Served:
    """A `semel serve` process that answers."""

    process: "subprocess.Popen[str]"
    url: str

    def end(self) -> Ended:
        """Wait for the process, which was told to end, and return what it left."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return Ended(self.process.returncode, out, err)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start `semel serve` and wait until the node is ready; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> Served:
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "semel", "serve", *arguments, "--listen", f"127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(tmp_path) | variables,
            cwd=tmp_path,
        )
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        until_ready(process, url)
        return Served(process, url)

    yield start
    for process in started:
        with process:
            process.kill()


def until_ready(process: "subprocess.Popen[str]", url: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            sleep(0.05)
    raise AssertionError(f"{url} was not ready within {PATIENCE_S} s")


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Write a Python file to serve, and return its name."""

    def write(text: str) -> str:
        file = tmp_path / "server.py"
        file.write_text(text)
        return str(file)

    return write
