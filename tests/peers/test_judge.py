from pathlib import Path

from tests.peers.judge import Effect, Round, Second, Told, judge, second_of
from tests.peers.peer import Answer, Outcome
from tests.peers.table import BEGIN, END, HEADINGS, Row, cells, markdown, write

KILLED, SPARED = 101, 102
AMOUNT = 5


def effect(key: str, *, at_s: float, process: int = KILLED, amount: int = AMOUNT) -> Effect:
    return Effect(key, amount, process, at_s)


def told(outcome: Outcome, *, at_s: float, text: str = "charged") -> Told:
    return Told(Answer(outcome, text), at_s)


def round_of(*keys: str, killed: int | None = KILLED) -> Round:
    return Round(keys, killed_s=10.0, killed=killed, served_s=0.5)


def test_a_line_of_the_tool_is_read_back() -> None:
    assert Effect.parse("0-1 5 101 9.25") == Effect("0-1", 5, 101, 9.25)


def test_a_call_that_ran_twice_counts_as_such_whatever_its_caller_was_told() -> None:
    verdict = judge(
        [round_of("a")],
        [effect("a", at_s=9.5), effect("a", at_s=11, process=SPARED)],
        {"a": told("ok", at_s=12)},
        [],
        5,
    )
    assert verdict.effects == {2: 1}
    assert verdict.repeated == 1
    assert (verdict.in_flight, verdict.cut_off, verdict.in_doubt) == (1, 1, 0)


def test_a_call_answered_before_the_kill_was_not_in_flight() -> None:
    verdict = judge([round_of("a")], [effect("a", at_s=8.5)], {"a": told("ok", at_s=9.6)}, [], AMOUNT)
    assert (verdict.in_flight, verdict.cut_off) == (0, 0)


def test_a_call_that_ran_elsewhere_was_in_flight_and_not_cut_off() -> None:
    effects = [effect("a", at_s=9.5), effect("b", at_s=9.5, process=SPARED)]
    verdict = judge([round_of("a", "b")], effects, {"b": told("ok", at_s=10.5)}, [], AMOUNT)
    assert (verdict.in_flight, verdict.cut_off) == (2, 1)


def test_where_the_killed_process_runs_no_tools_nothing_is_said_of_cut_off() -> None:
    verdict = judge([round_of("a", killed=None)], [effect("a", at_s=9.5)], {"a": told("ok", at_s=11)}, [], AMOUNT)
    assert (verdict.in_flight, verdict.cut_off) == (1, None)


def test_doubt_silence_and_loss_are_told_apart() -> None:
    keys = ("doubt", "doubt-2", "silence", "loss", "false")
    effects = [effect("doubt", at_s=9.5), effect("silence", at_s=9.5)]
    answers = {"doubt": told("in_doubt", at_s=11, text="doubt about doubt-1"), "false": told("ok", at_s=11)}
    answers["doubt-2"] = told("in_doubt", at_s=11)  # it never began, which nobody can know: no loss
    verdict = judge([round_of(*keys)], effects, answers, [], AMOUNT)
    assert (verdict.in_doubt, verdict.unanswered, verdict.lost) == (2, 2, 2)
    assert verdict.words == "KEY about KEY-1"
    assert verdict.settled_s == (None,)


def test_the_effect_of_a_second_request_is_no_double_run() -> None:
    effects = [effect("a", at_s=9.5), effect("a", at_s=20, amount=7)]
    assert judge([round_of("a")], effects, {"a": told("ok", at_s=11)}, [Second.RAN], AMOUNT).effects == {1: 1}


def test_a_second_request_ran_got_the_first_answer_or_was_refused() -> None:
    first = Answer("ok", "charged")
    assert second_of(first, first, ran=True) is Second.RAN
    assert second_of(first, first, ran=False) is Second.FIRST_ANSWER
    assert second_of(first, Answer("refused", "the key names another call"), ran=False) is Second.REFUSED
    assert second_of(first, None, ran=False) is Second.NOTHING


def test_a_row_has_a_cell_for_every_heading_with_a_verdict_and_without() -> None:
    verdict = judge([round_of("a")], [effect("a", at_s=9.5)], {"a": told("ok", at_s=11)}, [Second.REFUSED], AMOUNT)
    rows = [
        Row("one", "a node", "its key", "one 1.0", verdict),
        Row("two", "a node", "its key", "", None, "no such package"),
    ]
    assert [len(cells(row)) for row in rows] == [len(HEADINGS)] * 2
    assert "not run: no such package" in markdown(rows, "Measured today.")
    assert "1.0 s (at most 1.0)" in markdown(rows, "Measured today.")


def test_the_table_replaces_what_stood_between_the_markers_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "GUARANTEES.md"
    page.write_text(f"# Guarantees\n\n{BEGIN}\nold\n{END}\n\nMore.\n")
    write(page, "new")
    assert page.read_text() == f"# Guarantees\n\n{BEGIN}\nnew\n{END}\n\nMore.\n"
