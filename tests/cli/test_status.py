import json

import pytest

from semel.cli.freshness import ago
from semel.errors import Unconfirmed
from tests.cli.conftest import Semel
from tests.cli.fakes import STATUS, FakeClient


def test_a_status_is_a_line_on_the_cluster_a_table_of_nodes_and_warnings(semel: Semel, client: FakeClient) -> None:
    ended = semel("status")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "cluster pay, term 3, leader a, position 20, calls 9, running 1, in doubt 1",
        "node  role      url         executions  position  lag  alive",
        "a     leader    http://h:1           7        20    0  yes",
        "b     follower  http://h:2           0        17    3  yes",
        "c     down      http://h:3           2         9   11  down, seen 1 min ago",
        "warning: the tools of b differ from those of a",
        "a shows the log as of position 20; the log was last heard 0.2 s ago",
    ]


def test_json_is_what_the_node_says(semel: Semel, client: FakeClient) -> None:
    assert json.loads(semel("status", "--json").out) == STATUS
    assert client.asked == [("status", {"linearizable": False})]


def test_a_cluster_without_a_leader_says_none(semel: Semel, client: FakeClient) -> None:
    client.shown = STATUS | {"leader": None, "nodes": []}
    assert "leader none," in semel("status").out


def test_a_node_that_names_itself_with_a_terminals_commands_cannot_use_them(semel: Semel, client: FakeClient) -> None:
    client.shown = STATUS | {"nodes": [STATUS["nodes"][0] | {"node": "\x1b[2Ja"}]}
    out = semel("status").out
    assert "\x1b" not in out
    assert "\\x1b[2Ja" in out


def test_a_linearizable_status_is_asked_for_and_says_so(semel: Semel, client: FakeClient) -> None:
    ended = semel("status", "--linearizable")
    assert client.asked == [("status", {"linearizable": True})]
    assert ended.out.splitlines()[-1] == (
        "a shows the log as of position 20, linearizable: nothing older than the question is missing"
    )


def test_a_status_that_cannot_be_linearizable_is_no_status(semel: Semel, client: FakeClient) -> None:
    client.error = Unconfirmed("no quorum: 1 of 3 etcd members reachable. Ask again; or without --linearizable")
    ended = semel("status", "--linearizable")
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("error: no quorum: 1 of 3 etcd members reachable. Ask again")


def test_a_log_out_of_reach_makes_an_old_status(semel: Semel, client: FakeClient) -> None:
    client.shown = STATUS | {"log_age_s": 12.3}
    ended = semel("status")
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "a shows the log as of position 20; the log has not been reached for 12 s"


@pytest.mark.parametrize(
    ("age_s", "said"), [(0.04, "0.0 s ago"), (12.4, "12 s ago"), (600, "10 min ago"), (36_000, "10 h ago")]
)
def test_ages_are_said_as_people_say_them(age_s: float, said: str) -> None:
    assert ago(age_s) == said
