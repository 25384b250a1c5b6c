"""`semel up` as a user sees it: a quorum on this machine, and three "machines" on three loopback addresses."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from semel.cli.exits import Exit
from semel.errors import EtcdMissing
from semel.local.etcd import find_etcd
from tests.cli.conftest import PATIENCE_S, Semel, environment
from tests.ports import free_port

UP_S = 60
"""Six processes start on a machine that does other things, too."""
TOOLS = """
import semel

@semel.tool(effect="repeatable")
def add(a: int, b: int) -> int:
    return a + b
"""
SLOW = """
import pathlib, time
import semel

@semel.tool
def hang() -> None:
    pathlib.Path("hangs").touch()
    time.sleep(60)
"""
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")

try:
    find_etcd()
    WITHOUT_ETCD = ""
except EtcdMissing as missing:
    WITHOUT_ETCD = str(missing)

needs_etcd = pytest.mark.skipif(bool(WITHOUT_ETCD), reason=WITHOUT_ETCD)


class Up:
    """One `semel up`, whose words can be waited for."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._words = folder / f"up-{free_port()}.out"
        with self._words.open("w") as words:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "semel", "up", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                env=environment(folder),
                cwd=folder,
            )

    @property
    def words(self) -> str:
        return self._words.read_text()

    @property
    def urls(self) -> list[str]:
        return re.findall(r"(http\S+)/mcp", self.words)

    def pid(self, name: str) -> int:
        """Return the process that has this name now."""
        introduced = re.findall(rf"  {name}, process (\d+)", self.words)
        again = re.findall(rf"{name} runs again, as process (\d+)", self.words)
        return int((introduced + again)[-1])

    def pids(self) -> list[int]:
        return list(map(int, re.findall(r"process (\d+)", self.words)))

    def until(self, pattern: str) -> None:
        """Wait until it has said something."""
        deadline_s = monotonic() + UP_S
        while not re.search(pattern, self.words):
            assert self.process.poll() is None, self.words
            assert monotonic() < deadline_s, f"no {pattern!r} in:\n{self.words}"
            sleep(0.02)

    def ended(self) -> int:
        return self.process.wait(UP_S)


Start = Callable[..., Up]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Start]:
    """Start `semel up`; what still runs at the end is killed, which ends its children."""
    started: list[Up] = []
    (tmp_path / "server.py").write_text(TOOLS)

    def start(*arguments: str) -> Up:
        started.append(Up(tmp_path, "server.py", *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
    until_gone([pid for one in started for pid in one.pids()])


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until_gone(pids: list[int]) -> None:
    deadline_s = monotonic() + PATIENCE_S
    while left := [pid for pid in pids if runs(pid)]:
        assert monotonic() < deadline_s, f"left behind: {left}"
        sleep(0.02)


def until_there(path: Path) -> None:
    deadline_s = monotonic() + PATIENCE_S
    while not path.exists():
        assert monotonic() < deadline_s, f"{path} was not made"
        sleep(0.02)


def call(semel: Semel, url: str, key: str) -> dict[str, object]:
    answer = semel("call", "add", '{"a": 1, "b": 2}', "--key", key, "--json", "--url", url)
    assert answer.code == 0, answer.err
    found: dict[str, object] = json.loads(answer.out)
    return found


@needs_etcd
def test_a_quorum_stands_deaths_restarts_and_the_death_of_its_supervisor(
    up: Start, semel: Semel, semel_process: Semel, tmp_path: Path
) -> None:
    options = ("--data", "data", "--port", str(free_port()), "--etcd-port", str(free_port()))

    first = up(*options)
    first.until(r"etcd-\d leads etcd(.|\n)*node-\d leads, term 1")
    urls = first.urls
    assert len(urls) == 3
    answers = [call(semel, url, "k") for url in urls]
    assert [(answer["result"], answer["replayed"]) for answer in answers] == [(3, False), (3, True), (3, True)]

    ended = semel_process("up", "server.py", "--data", "data")
    assert (ended.code, ended.out) == (Exit.NODE, "")
    assert f"another `semel up` (process {first.process.pid})" in ended.err

    for name in ("etcd-1", "node-2"):
        os.kill(first.pid(name), signal.SIGKILL)
        first.until(rf"{name} was ended by SIGKILL; it is started again in 0.2 s\n(.|\n)*{name} runs again, as process")
    assert call(semel, urls[0], "after")["result"] == 3
    first.process.terminate()
    assert first.ended() == 0
    assert not any(map(runs, first.pids()))

    second = up(*options)
    second.until(r"node-\d leads")
    assert second.urls == urls
    assert call(semel, urls[1], "k")["execution_id"] == answers[0]["execution_id"]
    second.process.kill()
    until_gone(second.pids())

    third = up(*options)
    third.until(r"node-\d leads")
    assert [call(semel, url, "after")["replayed"] for url in urls] == [True, True, True]
    third.process.send_signal(signal.SIGINT)
    assert third.ended() == 0
    assert third.words.splitlines()[-1].endswith("all processes have ended")
    assert not any(map(runs, third.pids()))
    assert {path.name for path in (tmp_path / "data" / "logs").iterdir()} == {
        f"{kind}-{number}.log" for kind in ("etcd", "node") for number in (1, 2, 3)
    }


@needs_etcd
def test_three_machines_found_a_cluster_together_and_one_that_lost_its_disk_is_replaced_on_demand(
    up: Start, semel: Semel, tmp_path: Path
) -> None:
    node, etcd = str(free_port()), str(free_port())
    shared = ("--join", ",".join(HOSTS), "--port", node, "--etcd-port", etcd)

    def machine(number: int, *more: str) -> Up:
        return up(*shared, "--host", HOSTS[number], "--data", f"machine-{number}", *more)

    machines = [machine(0), machine(1)]
    machines[0].until("waits for the other machines: start the same command on 127.0.0.2, 127.0.0.3")
    machines.append(machine(2))
    for each in machines:
        each.until("all 3 machines are here and none has data(.|\n)*leads, term")
    answers = [call(semel, f"http://{host}:{node}", "k") for host in HOSTS]
    assert len({answer["execution_id"] for answer in answers}) == 1

    machines[1].process.terminate()
    assert machines[1].ended() == 0
    (tmp_path / "machine-1").rename(tmp_path / "lost")
    forgetful = machine(1)
    assert forgetful.ended() == Exit.NODE
    assert "its data is not in this directory" in forgetful.words
    assert "start this once with --replace" in forgetful.words

    replaced = machine(1, "--replace")
    replaced.until("has removed its member etcd-127.0.0.2\n.*takes 127.0.0.2 in as a new member(.|\n)*leads, term")
    assert call(semel, f"http://{HOSTS[1]}:{node}", "k")["replayed"]
    status = json.loads(semel("status", "--json", "--url", f"http://{HOSTS[1]}:{node}").out)
    assert {each["node"] for each in status["nodes"] if each["alive"]} == set(HOSTS)


@needs_etcd
def test_a_second_signal_kills_what_is_being_drained(up: Start, script: Callable[[str], str]) -> None:
    script(SLOW)
    one = up(
        "--members", "1", "--nodes", "1", "--data", "d", "--port", str(free_port()), "--etcd-port", str(free_port())
    )
    one.until("node-1 leads")
    with subprocess.Popen([sys.executable, "-m", "semel", "call", "hang", "{}", "--url", one.urls[0]]) as caller:
        try:
            until_there(one.folder / "hangs")
            one.process.terminate()
            one.until("the nodes are drained, up to 10 s")
            assert one.process.poll() is None
            one.process.terminate()
            assert one.ended() == 0
            assert "all processes have ended" not in one.words
            assert not any(map(runs, one.pids()))
        finally:
            caller.kill()


@needs_etcd
def test_a_target_that_does_not_load_ends_all_with_its_own_words(up: Start, tmp_path: Path) -> None:
    broken = up(
        "--members", "1", "--nodes", "1", "--data", "data", "--port", str(free_port()), "--etcd-port", str(free_port())
    )
    (tmp_path / "server.py").write_text("1 / 0\n")
    assert broken.ended() == Exit.NODE
    assert re.search(r"error: node-\d ended with exit code 6 before it was ready", broken.words)
    assert "ZeroDivisionError" in broken.words
    assert "Traceback" not in broken.words


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--members", "2"), "survive no more deaths than 1"),
        (("--etcd-heartbeat-ms", "100"), "at least 5 times"),
        (("--host", "a"), "--join"),
        (("--replace",), "--join"),
        (("--join", "a,b,c"), "say which of a, b, c this machine is"),
        (("--join", "a,b,c", "--host", "d"), "say which of a, b, c this machine is"),
        (("--join", "a,b", "--host", "a"), "survive no more deaths than 1"),
        (("--join", "a,a,c", "--host", "a"), "no list of different hosts"),
        (("--join", "http://a,b,c", "--host", "a"), "no list of different hosts"),
        (("--join", "a,b,c", "--host", "a", "--nodes", "2"), "for this machine alone"),
        (("--etcd-port", "70000"), "70000"),
    ],
)
def test_options_that_make_no_sense_start_nothing(
    semel: Semel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    ended = semel("up", "server.py", *options)
    assert (ended.code, ended.out) == (Exit.USAGE, "")
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


def test_without_an_etcd_the_command_that_installs_it_is_said(
    semel: Semel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server.py").write_text(TOOLS)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for command in (("up", str(tmp_path / "server.py")), ("demo", "--quorum")):
        ended = semel(*command)
        assert ended.code == Exit.NODE
        assert "sudo apt-get install etcd-server" in ended.err
    assert not (tmp_path / "data").exists()


def test_a_target_that_is_not_there_starts_nothing(semel: Semel, tmp_path: Path) -> None:
    ended = semel("up", str(tmp_path / "server.py"), "--data", str(tmp_path / "data"))
    assert ended.code == Exit.NODE
    assert "there is no such file" in ended.err
    assert list(tmp_path.iterdir()) == []
