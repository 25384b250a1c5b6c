"""What was wrong once and must not come back: one short scene a finding, with what it has to show."""

from .script import perform
from .stage import Stage


def play(scene: str) -> list[str]:
    """Play a scene and return all that came of it."""
    stage, lines = Stage(), []
    for line in scene.strip().splitlines():
        perform(stage, line.strip())
        lines += stage.lines
        stage.lines.clear()
    stage.judge()
    return lines


def test_a_log_is_founded_before_anything_else_is_written() -> None:
    lines = play("""
        tools balance read
        nodes n1
        submit n1 balance k1 {}
        drain n1
        start n1
        end n1 1 ok 1
        append n1
        show log
    """)
    assert "1: founded test" in lines


def test_calls_of_a_lane_keep_their_order_when_the_first_loses_its_place() -> None:
    lines = play("""
        tools charge once by account
        tools balance read
        cluster n1 n2
        submit n1 charge k0 {"account": "bob"}
        submit n1 charge k1 {"account": "ann"}
        submit n1 charge k2 {"account": "ann"}
        append n1
        read n2
        submit n2 balance k3 {}
        end n2 1 ok 1
        append n2
        append n1
        read n1
    """)
    assert 'n1 proposes 5: intent k1: charge {"account": "ann"} (once, lane ann) by n1.1 in term 1' in lines


def test_a_call_is_doubted_although_its_new_leader_runs_a_read_under_the_same_key() -> None:
    lines = play("""
        tools charge once
        tools balance read
        cluster n1 n2
        submit n2 balance k1 {}
        submit n1 charge k1 {}
        append n1
        read n2
        crash n1
        gone n1 at n2
        settle
        end n2 1 ok 7
        settle
        tick 10
    """)
    assert "n2 proposes 6: doubted 3: n1 was lost between intent and outcome" in lines


def test_a_call_that_is_larger_than_a_batch_does_not_go_with_facts() -> None:
    lines = play("""
        limits batch_bytes_max=40
        tools charge once
        cluster n1
        submit n1 charge k1 {}
        append n1
        submit n1 charge k2 {}
        end n1 1 ok 1
        submit n1 charge k3 {"note": "far larger than a whole batch may be, so that it has to go alone"}
        append n1
    """)
    assert "n1 proposes 5: outcome of 3: ok 1 by n1.1" in lines
    assert not [line for line in lines if line.startswith("n1 proposes 6: intent k3")]
