import json

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
        "c     gone      http://h:3           2         9   11  no",
        "warning: the tools of b differ from those of a",
    ]


def test_json_is_what_the_node_says(semel: Semel, client: FakeClient) -> None:
    assert json.loads(semel("status", "--json").out) == STATUS
    assert client.asked == [("/v1/status", {})]


def test_a_cluster_without_a_leader_says_none(semel: Semel, client: FakeClient) -> None:
    client.status = STATUS | {"leader": None, "nodes": []}
    assert "leader none," in semel("status").out


def test_a_node_that_names_itself_with_a_terminals_commands_cannot_use_them(semel: Semel, client: FakeClient) -> None:
    client.status = STATUS | {"nodes": [STATUS["nodes"][0] | {"node": "\x1b[2Ja"}]}
    out = semel("status").out
    assert "\x1b" not in out
    assert "\\x1b[2Ja" in out
