"""Under which name and at which URL a node is known to others."""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from semel.errors import NameTaken, UsageError
from semel.log.engines import hosts_of, shown
from semel.log.memory import MemoryLog
from semel.node import whereabouts
from semel.node.place import take_place
from semel.node.status import Beat
from semel.node.whereabouts import machine_name, refuse_namesake, unreachable, url_for_peers

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("host", "name"),
    [("box", "box"), ("box.example.org", "box.example.org"), ("_my box!", "my-box-"), ("ü", "node"), ("", "node")],
)
def test_a_machines_name_becomes_a_nodes(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert machine_name() == name


def test_further_nodes_of_a_machine_have_its_name_and_a_number(tmp_path: Path) -> None:
    places = [take_place(tmp_path, None, machine="b" * whereabouts.NAME_CHARS_MAX) for _ in range(3)]
    assert [place.name.removeprefix("b" * whereabouts.NAME_CHARS_MAX) for place in places] == ["", "-2", "-3"]
    for place in places:
        place.leave()
    named = take_place(tmp_path, "n1", machine="box")
    assert named.name == "n1"
    named.leave()


@pytest.mark.parametrize(
    ("host", "local", "url"),
    [
        ("10.0.0.5", False, "http://10.0.0.5:8420"),
        ("::1", True, "http://[::1]:8420"),
        ("box.example", False, "http://box.example:8420"),
        ("0.0.0.0", True, "http://127.0.0.1:8420"),
        ("::", True, "http://[::1]:8420"),
    ],
)
async def test_peers_find_a_node_where_it_listens(host: str, local: bool, url: str) -> None:
    assert await url_for_peers(host, 8420, local=local) == url


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_a_node_that_listens_everywhere_is_found_by_its_machines_name(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "box.example")

    async def known(name: str, port: int) -> bool:
        return (name, port) == ("box.example", 8420)

    monkeypatch.setattr(whereabouts, "_is_known", known)
    assert await url_for_peers(host, 8420, local=False) == "http://box.example:8420"


@pytest.mark.parametrize("name", ["localhost", "nowhere.invalid"])
async def test_a_machine_without_a_name_for_others_must_be_told_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    with pytest.raises(UsageError, match=f"look for it as '{name}'.*--advertise http://HOST:8420"):
        await url_for_peers("0.0.0.0", 8420, local=False)


@pytest.mark.parametrize(
    ("url", "log", "said"),
    [
        ("http://127.0.0.1:1", "etcd://10.0.0.1,10.0.0.2", True),
        ("http://localhost:1", "etcd://127.0.0.1,h2", True),
        ("http://[::1]:1", "etcd://me:pw@h1:2379/x", True),
        ("http://127.0.0.1:1", "etcd://127.0.0.1:2379,[::1]:2379,localhost:2381", False),
        ("http://10.0.0.5:1", "etcd://10.0.0.1", False),
        ("http://127.0.0.1:1", "sqlite:///srv/log.db", False),
    ],
)
def test_a_node_that_only_its_own_machine_reaches_is_warned_of(url: str, log: str, said: bool) -> None:
    assert bool(unreachable(url, hosts_of(log))) is said


def test_a_logs_url_is_shown_without_its_password() -> None:
    assert shown("etcd://me:secret@h1,h2:2380/pay") == "etcd://h1:2379,h2:2380/pay"
    assert shown("sqlite:///srv/log.db") == "sqlite:///srv/log.db"


class Crowded(MemoryLog):
    """A log on which a node `n1` at http://elsewhere shows these beats, one at each look, and then the last again."""

    def __init__(self, beats: Iterator[int | None]) -> None:
        super().__init__()
        self.beats = beats
        self.looks = 0
        self._last: int | None = None

    async def pulses(self) -> dict[str, bytes]:
        self.looks += 1
        self._last = next(self.beats, self._last)
        if self._last is None:
            return {}
        beat = Beat(incarnation="i", url="http://elsewhere", position=1, tools="t", at_s=self._last)
        return {"n1": msgspec.json.encode(beat)}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "LOOK_EVERY_S", 0.001)


async def refused(log: MemoryLog, url: str = "http://here", name: str = "n1") -> bool:
    try:
        async with asyncio.timeout(10):
            await refuse_namesake(log, name, url)
    except NameTaken:
        return True
    return False


async def test_the_name_of_a_live_node_elsewhere_is_taken() -> None:
    with pytest.raises(NameTaken, match="a live node at http://elsewhere is already node 'n1'"):
        await refuse_namesake(Crowded(itertools.count()), "n1", "http://here")
    slow = (number // 3 for number in itertools.count())
    assert await refused(Crowded(slow))


async def test_the_name_of_a_dead_node_or_of_one_that_leaves_is_free() -> None:
    assert not await refused(Crowded(iter([])))
    assert not await refused(Crowded(iter([1])))
    assert not await refused(Crowded(iter([1, 2]))), "its last beat came late"
    assert not await refused(Crowded(iter([1, 2, None])))


async def test_nobody_waits_for_another_name_or_for_a_predecessor_at_the_same_url() -> None:
    for url, name in (("http://elsewhere", "n1"), ("http://here", "n2")):
        log = Crowded(itertools.count())
        assert not await refused(log, url, name)
        assert log.looks == 1
