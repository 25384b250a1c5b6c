from collections.abc import Callable

import pytest

from semel.errors import ClusterError, NoLeader
from tests.cli.conftest import Semel, Serve
from tests.cli.fakes import FAREWELL, STATUS, FakeClient

GONE = ClusterError("no answer within 5 s: nobody listens there")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listens(_: str) -> bool:
        return False

    monkeypatch.setattr("semel.cli.drain.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("semel.cli.drain._listens", listens)


def still(running: int, waiting: int = 0) -> dict[str, object]:
    """Return the status of the leaving node."""
    return STATUS | {"running_here": running, "waiting_here": waiting}


def test_what_a_leaving_node_waits_for_is_shown_until_it_has_left(semel: Semel, client: FakeClient) -> None:
    client.statuses = [still(2), still(1), still(1), still(0, 1), still(0), GONE]
    ended = semel("drain", "h:1", "--timeout", "30")
    assert client.opened["urls"] == ("http://h:1",)
    assert client.asked[0] == ("/v1/drain", {"timeout": 30.0})
    assert (ended.code, ended.out) == (0, "a has left\n")
    assert ended.err.splitlines() == [
        "a takes no new calls; 2 calls are still running",
        "a takes no new calls; 1 call is still running",
        "a takes no new calls; 1 client waits for an answer",
        "a takes no new calls, and nothing runs there any more",
    ]


def test_a_node_that_is_too_busy_to_answer_has_not_left(
    semel: Semel, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = iter([True, True])

    async def listens(_: str) -> bool:
        return next(busy, False)

    monkeypatch.setattr("semel.cli.drain._listens", listens)
    client.statuses = [GONE, GONE, still(1), GONE]
    ended = semel("drain")
    assert (ended.code, ended.out) == (0, "a has left\n")
    assert "1 call is still running" in ended.err


def test_another_process_at_its_url_says_that_the_node_has_left(semel: Semel, client: FakeClient) -> None:
    client.statuses = [still(0) | {"incarnation": "i2"}]
    assert semel("drain").out == "a has left\n"
    assert client.asked[0] == ("/v1/drain", {})


def test_a_node_that_leaves_already_is_waited_for(semel: Semel, client: FakeClient) -> None:
    client.farewell, client.statuses = FAREWELL | {"already": True}, [GONE]
    ended = semel("drain")
    assert (ended.code, ended.err.splitlines()[0]) == (0, "a is leaving already")


def test_the_last_node_is_drained_with_a_warning(semel: Semel, client: FakeClient) -> None:
    client.farewell, client.statuses = FAREWELL | {"others": 0}, [GONE]
    assert "warning: no other node is alive" in semel("drain").err


def test_a_node_that_does_not_go_is_an_error(semel: Semel, client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semel.cli.drain.LAST_STEPS_S", 0.0)
    client.farewell = FAREWELL | {"timeout_s": 0.0}
    ended = semel("drain")
    assert (ended.code, ended.out) == (4, "")
    assert "a was asked to leave, and is still there" in ended.err


def test_where_nobody_answers_nobody_was_asked_to_leave(semel: Semel, client: FakeClient) -> None:
    client.error = NoLeader("no answer within 5.0 s: http://h:1: ConnectError. Try again later, or ask another node")
    ended = semel("drain", "h:1")
    assert ended.code == 4
    assert ended.err == (
        "error: nobody was asked to leave, since nobody answers at http://h:1. If the node has gone already, that was "
        "all. Details: no answer within 5.0 s: http://h:1: ConnectError.\n"
    )


@pytest.mark.parametrize("given", [("h:1,h:2",), ("h:x",), ("h:1", "--timeout", "-1"), ("h:1", "h:2")])
def test_what_makes_no_sense_asks_nobody(semel: Semel, client: FakeClient, given: tuple[str, ...]) -> None:
    assert semel("drain", *given).code == 2
    assert client.asked == []


def test_a_drained_node_ends_as_on_sigterm(semel_process: Semel, serve: Serve, script: Callable[[str], str]) -> None:
    served = serve(script("import semel\n\n@semel.tool\ndef work() -> None: ...\n"), "--log", "sqlite:log.db")
    ended = semel_process("drain", served.url)
    assert (ended.code, ended.out) == (0, "node-1 has left\n")
    left = served.end()
    assert left.code == 0
    assert "node-1 takes no new calls, hands over" in left.err
