import json
import time

import pytest

from semel.cli.audit import CALL_COLUMNS, ROWS_SHOWN
from semel.cli.since import clock
from semel.cli.table import Table
from semel.gateway.doors.asof import AsOf
from tests.cli.conftest import Semel
from tests.cli.fakes import FakeClient, record

AS_OF = "as of position 20; the log was last heard 0.2 s ago"


def asked(client: FakeClient) -> dict[str, object]:
    """Return the parameters of the one request for the audit."""
    ((path, parameters),) = client.asked
    assert path == "audit"
    return dict(parameters)


def test_the_table_shows_every_call_with_who_what_when_where_and_what_came_of_it(
    semel: Semel, client: FakeClient
) -> None:
    running = {"outcome": "running", "result": None, "duration_ms": None}
    client.records = [record(1), record(2, **running, tool="charge", attempt=2, term=3)]
    ended = semel("audit")
    assert (ended.code, ended.err) == (0, f"{AS_OF}\n")
    header, first, second = ended.out.splitlines()
    assert header.split() == [column.name for column in CALL_COLUMNS]
    times = [clock(call["timestamp_ms"]) for call in client.records]
    assert " ".join(first.split()) == f'1 {times[0]} add {{"a": 1, "b": 1}} ok 2 key-1 ada a 1 1 1.2'
    assert " ".join(second.split()) == f'2 {times[1]} charge {{"a": 1, "b": 2}} running key-2 ada a 3 2'


def test_the_table_says_after_how_many_rounds_a_call_stands_as_it_does(semel: Semel, client: FakeClient) -> None:
    client.records = [record(1, rounds=3), record(2, outcome="input_required", result=None, duration_ms=None)]
    _, first, second = semel("audit").out.splitlines()
    assert "ok, 3 rounds" in first
    assert "input_required" in second


def test_json_is_one_object_a_line_of_all_calls(semel: Semel, client: FakeClient) -> None:
    client.records = [record(number) for number in range(1, 200)]
    lines = semel("audit", "--json").out.splitlines()
    assert [json.loads(line) for line in lines] == client.records
    assert asked(client) == {}


def test_a_table_has_the_newest_calls_and_says_if_there_are_older_ones(semel: Semel, client: FakeClient) -> None:
    client.records = [record(number) for number in range(1, ROWS_SHOWN + 2)]
    ended = semel("audit")
    assert asked(client) == {"limit": ROWS_SHOWN + 1}
    assert len(ended.out.splitlines()) == 1 + ROWS_SHOWN
    assert "key-1 " not in ended.out
    assert "there are older calls: these are the newest 50" in ended.err
    client.records = client.records[1:]
    assert semel("audit").err == f"{AS_OF}\n"


def test_all_filters_are_the_nodes_to_apply(semel: Semel, client: FakeClient) -> None:
    before_ms = time.time_ns() // 1_000_000 - 600_000
    given = "--tool t --caller c --key k --node n --outcome in_doubt --limit 7 --since 10m --json"
    assert semel("audit", *given.split()).code == 0
    parameters = asked(client)
    since_ms = parameters.pop("since_ms")
    assert isinstance(since_ms, int)
    assert before_ms <= since_ms <= before_ms + 60_000
    assert parameters == {
        "tool": "t",
        "caller": "c",
        "key": "k",
        "node": "n",
        "outcome": "in_doubt",
        "limit": 7,
    }


@pytest.mark.parametrize(("given", "said"), [((), "no calls yet\n"), (("--tool", "t"), "no such calls\n")])
def test_no_calls_is_said(semel: Semel, client: FakeClient, given: tuple[str, ...], said: str) -> None:
    ended = semel("audit", *given)
    assert (ended.code, ended.err) == (0, f"{said}{AS_OF}\n")


def test_following_prints_each_call_as_it_comes_in_columns_that_stay(semel: Semel, client: FakeClient) -> None:
    client.records = [record(1), record(2, arguments={"text": "x" * 99}, result="ü" * 99)]
    ended = semel("audit", "--follow")
    assert asked(client) == {"follow": True, "limit": ROWS_SHOWN}
    assert ended.err == f"{AS_OF}\n"
    header, *lines = ended.out.splitlines()
    assert {line.index("ada") for line in lines} == {header.index("caller")}


def test_following_as_json_begins_with_the_whole_history(semel: Semel, client: FakeClient) -> None:
    client.records = [record(1)]
    assert json.loads(semel("audit", "--follow", "--json").out) == record(1)
    assert asked(client) == {"follow": True}


def test_values_can_neither_break_lines_nor_command_the_terminal(semel: Semel, client: FakeClient) -> None:
    client.records = [record(1, key="a\nb", caller="\x1b]0;x\x07", result="1\r2", arguments={"t": "\u202e[red]"})]
    out = semel("audit").out
    assert len(out.splitlines()) == 2
    assert out.replace("\n", "").isprintable()
    assert "a\\nb" in out
    assert "[red]" in out


def test_a_narrow_terminal_shortens_values_and_then_leaves_out_the_lesser_columns() -> None:
    call = record(1, arguments={"text": "x" * 99}, result="y" * 99)
    wide, medium, narrow = (Table(CALL_COLUMNS, [call], width) for width in (None, 140, 80))
    assert wide.left_out == medium.left_out == []
    assert len(medium.line(call).plain) <= 140 < len(wide.line(call).plain)
    assert narrow.left_out
    assert len(narrow.line(call).plain) <= 80
    assert set(narrow.header().plain.split()) >= {"#", "tool", "arguments", "outcome", "result"}


def test_a_linearizable_audit_is_asked_for_and_says_so(semel: Semel, client: FakeClient) -> None:
    ended = semel("audit", "--linearizable")
    assert asked(client) == {"linearizable": True, "limit": ROWS_SHOWN + 1}
    assert ended.err.splitlines()[-1].startswith("as of position 20, linearizable")


@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_json_lines_stay_what_they_are_and_only_a_log_out_of_reach_is_worth_a_note(
    semel: Semel, client: FakeClient, follow: tuple[str, ...]
) -> None:
    client.records = [record(1)]
    fresh = semel("audit", "--json", *follow)
    client.fresh = AsOf(20, 12.0)
    old = semel("audit", "--json", *follow)
    assert fresh.out == old.out
    assert (fresh.err, old.err) == ("", "as of position 20; the log has not been reached for 12 s\n")
