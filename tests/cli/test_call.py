import io
import json
from pathlib import Path

import pytest

from semel.cli.exits import Exit
from semel.core.call import Status
from semel.errors import Busy, KeyReused, LogDamaged, Undecided
from tests.cli.conftest import Semel
from tests.cli.fakes import TOOLS, FakeClient, answer


def test_a_text_is_printed_as_it_is_and_anything_else_as_json(semel: Semel, client: FakeClient) -> None:
    client.answer = answer(result="grüß dich\n[bold]")
    assert semel("call", "greet").out == "grüß dich\n[bold]\n"
    client.answer = answer(result={"ü": [1, 5.0, None, True]})
    assert semel("call", "greet").out == '{"ü": [1, 5.0, null, true]}\n'
    client.answer = answer(result=5.0)
    assert semel("call", "greet").out == "5.0\n"


def test_arguments_come_from_the_command_line_from_stdin_and_from_a_file(
    semel: Semel, client: FakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "order.json"
    file.write_text('{"from": "file"}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"from": "stdin"}'))
    for given in ('{"from": "here"}', "-", f"@{file}"):
        assert semel("call", "buy", given, "--key", "k").code == 0
    assert semel("call", "buy", "--key", "k").code == 0
    assert client.asked == [
        ("buy", {"from": "here"}, "k"),
        ("buy", {"from": "stdin"}, "k"),
        ("buy", {"from": "file"}, "k"),
        ("buy", {}, "k"),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{'a': 1}", "the argument is not JSON (Expecting property name enclosed in double quotes"),
        ("[1, 2]", "the argument is JSON but no object"),
        ('{"a": NaN}', "the argument is not JSON (there is no NaN in JSON)"),
        ('{"a": "\\ud800"}', "the argument is not JSON ('utf-8' codec can't encode"),
        ("@a\0b", "cannot be read as UTF-8 text: embedded null byte"),
        ("", "the argument is not JSON"),
        ("\x1b[2J" + "x" * 99, "\\x1b[2J" + "x" * 56 + "…"),
        ("[" * 100_000, "the argument is not JSON"),
        ("@/there/is/none", "'/there/is/none' cannot be read: No such file or directory"),
        ("@/", "'/' cannot be read: Is a directory"),
    ],
)
def test_arguments_that_are_no_object_are_refused_before_anybody_is_asked(
    semel: Semel, client: FakeClient, given: str, said: str
) -> None:
    ended = semel("call", "buy", given)
    assert (ended.code, ended.out) == (Exit.USAGE, "")
    assert said in ended.err
    assert "\x1b" not in ended.err
    assert client.asked == []


def test_a_key_is_kept_and_without_one_each_call_gets_a_new_one(semel: Semel, client: FakeClient) -> None:
    for given in (("--key", "order-42"), ("--key", ""), (), ()):
        semel("call", "buy", *given)
    named, empty, *made = [key for _, _, key in client.asked]
    assert (named, empty) == ("order-42", "")
    assert all(made)
    assert made[0] != made[1]


def test_caller_and_timeout_are_the_clients_and_options_may_come_anywhere(semel: Semel, client: FakeClient) -> None:
    semel("call", "--caller", "ada", "buy", "--timeout", "2.5", "{}", "--url", "h:1")
    assert client.opened == {"urls": ("http://h:1",), "timeout_s": 2.5, "caller": "ada"}


def test_json_is_the_whole_answer(semel: Semel, client: FakeClient) -> None:
    client.answer = answer(replayed=True, attempt=2)
    assert json.loads(semel("call", "add", "--json").out) == {
        "outcome": "ok",
        "result": 3,
        "key": "k",
        "position": 5,
        "execution_id": 2,
        "term": 1,
        "executor": "a",
        "attempt": 2,
        "replayed": True,
        "in_doubt": False,
        "logged": True,
        "content": [{"type": "text", "text": "3"}],
    }


@pytest.mark.parametrize("outcome", [Status.ERROR, Status.TIMED_OUT, Status.CANCELLED])
def test_a_tools_own_failure_is_its_result_and_exit_code_1(semel: Semel, client: FakeClient, outcome: Status) -> None:
    client.answer = answer(outcome, "no such account")
    ended = semel("call", "charge")
    assert (ended.code, ended.out) == (Exit.TOOL, "no such account\n")
    assert ended.err == f"{outcome}: the tool ended with this; it is kept under --key k\n"
    assert json.loads(semel("call", "charge", "--json").out)["outcome"] == outcome


def test_in_doubt_is_said_on_stderr_and_is_exit_code_5(semel: Semel, client: FakeClient) -> None:
    client.answer = answer(Status.IN_DOUBT, "In doubt: nobody can know whether charge acted.")
    ended = semel("call", "charge", "--key", "k")
    assert (ended.code, ended.out) == (Exit.IN_DOUBT, "")
    assert ended.err.startswith("in doubt: nobody can know whether charge acted.\n")
    assert "semel audit --key k" in ended.err
    as_json = semel("call", "charge", "--key", "k", "--json")
    assert as_json.code == Exit.IN_DOUBT
    assert json.loads(as_json.out)["in_doubt"] is True


def test_where_a_retry_is_safe_the_key_that_was_made_up_is_shown(semel: Semel, client: FakeClient) -> None:
    client.answer = Busy("too many calls")
    ended = semel("call", "charge")
    ((_, _, key),) = client.asked
    assert ended.code == Exit.UNAVAILABLE
    assert ended.err == f"error: too many calls\nRetrying with the same key is safe: add --key {key}\n"


def test_an_error_that_names_the_key_itself_is_not_followed_by_advice(semel: Semel, client: FakeClient) -> None:
    client.answer = Undecided("retry with the key order-42")
    assert semel("call", "charge", "--key", "order-42").err == "error: retry with the key order-42\n"


def test_a_refused_call_needs_no_retry_and_none_is_advised(semel: Semel, client: FakeClient) -> None:
    client.answer = KeyReused("the key names another call")
    ended = semel("call", "charge")
    assert (ended.code, ended.err) == (Exit.REFUSED, "error: the key names another call\n")


def test_where_a_retry_is_not_known_to_be_safe_the_audit_is_pointed_to(semel: Semel, client: FakeClient) -> None:
    client.answer = LogDamaged("the log is damaged")
    ended = semel("call", "charge", "--key", "k9")
    assert ended.code == Exit.NODE
    assert "not safe" in ended.err
    assert "semel audit --key k9" in ended.err


def test_tools_are_a_table_of_names_effects_and_first_lines(semel: Semel, client: FakeClient) -> None:
    assert semel("tools").out.splitlines() == [
        "name    effect      from      description",
        "add     repeatable            Add two numbers.",
        "charge  once        operator  Charge a card.",
        "bare    once",
    ]
    assert json.loads(semel("tools", "--json").out) == TOOLS


def test_input_that_is_no_text_is_refused(
    semel: Semel, client: FakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "picture"
    file.write_bytes(b"\xff\xfe")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    for given in ("-", f"@{file}"):
        ended = semel("call", "buy", given)
        assert ended.code == Exit.USAGE
        assert "cannot be read as UTF-8 text" in ended.err
    assert client.asked == []
