import asyncio
from typing import Any

import pytest

from semel.cli import greeting
from tests.cli.fakes import STATUS, TOOLS


class FakeNode:
    """A node that has yet to start, then reads its log for a while, and then is ready."""

    name = "a"
    url = "http://h:1"
    advertised = "http://h:1"
    log_url = "memory:"

    def __init__(self, *positions: int, leader: str | None = "a") -> None:
        self.failed: asyncio.Future[Exception] | None = None
        self._positions = list(positions)
        self._leader = leader

    def tools(self) -> list[dict[str, Any]]:
        return TOOLS

    def status(self) -> dict[str, Any]:
        if len(self._positions) > 1:
            return STATUS | {"ready": False, "position": self._positions.pop(0)}
        return STATUS | {"ready": self._leader is not None, "leader": self._leader, "position": self._positions[0]}


async def greet(node: FakeNode) -> None:
    """Have the node greet, which has started a moment later."""
    waiting = asyncio.create_task(greeting.greet(node, "server.py", stdio=False))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    node.failed = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(10):
        await waiting


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that takes long be said at once, and let nothing leave the process."""
    monkeypatch.setattr(greeting, "SPEAK_AFTER_S", 0.0)
    monkeypatch.setattr(greeting, "SPEAK_EVERY_S", 0.0)
    monkeypatch.setattr(greeting, "LEADER_WAIT_S", 0.2)


def test_a_node_that_takes_long_says_how_far_it_is_and_then_what_it_serves(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(greet(FakeNode(1000, 250_000, 1_000_000)))
    out, err = capsys.readouterr()
    said = list(dict.fromkeys(err.splitlines()))
    assert said == ["starting server.py", "a reads the log: at position 1,000", "a reads the log: at position 250,000"]
    assert out.splitlines() == [
        out.splitlines()[0],
        "  MCP     http://h:1/mcp",
        "  log     memory:",
        "  tools   add (repeatable), charge (once), bare (once)",
        "  leader  a (this node), term 3",
        "  warning the tools of b differ from those of a",
    ]


def test_a_node_that_finds_no_leader_says_so_instead_of_waiting_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(greet(FakeNode(7, leader=None)))
    assert "leader  nobody yet, term 3" in capsys.readouterr().out


def test_a_node_that_others_reach_elsewhere_says_where_and_shows_no_password_of_its_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    node = FakeNode(7)
    node.advertised, node.log_url = "http://box:1", "etcd://me:secret@h1,h2/pay"
    asyncio.run(greet(node))
    out = capsys.readouterr().out
    assert "  peers   reach it at http://box:1\n  log     etcd://h1:2379,h2:2379/pay\n" in out
    assert "secret" not in out
