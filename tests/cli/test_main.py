import os
import subprocess
import sys
from pathlib import Path

import pytest

from semel.cli.exits import Exit
from semel.errors import (
    BadArguments,
    Busy,
    ClusterMismatch,
    KeyReused,
    ListenError,
    LogDamaged,
    LogUnavailable,
    NoLeader,
    ReplicaError,
    SemelError,
    TargetError,
    UnknownTool,
    UsageError,
)
from tests.cli.conftest import Semel
from tests.cli.fakes import FakeClient

COMMANDS = ("serve", "call", "tools", "status", "audit", "demo")


def test_the_version_is_one_line(semel: Semel) -> None:
    ended = semel("--version")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("semel 0.")


def test_version_and_help_do_not_wait_for_the_sdk_to_be_imported() -> None:
    program = "import sys, semel.cli.main; sys.exit('mcp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=20).returncode == 0


def test_a_node_does_not_wait_for_what_its_log_does_not_need() -> None:
    program = "import sys, semel.serving; sys.exit('grpc' in sys.modules or 'aetcd' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=20).returncode == 0


def test_the_help_lists_all_commands_and_exit_codes(semel: Semel) -> None:
    ended = semel("--help")
    assert ended.code == 0
    for command in COMMANDS:
        assert f"  {command} " in ended.out
    for code in Exit:
        if code is not Exit.BROKEN_PIPE:
            assert f"\n  {code.value} " in ended.out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_real_examples(semel: Semel, command: str) -> None:
    ended = semel(command, "--help")
    assert ended.code == 0
    assert f"Examples:\n  semel {command}" in ended.out


def test_without_a_command_the_help_is_shown(semel: Semel) -> None:
    ended = semel()
    assert ended.code == 2
    assert not ended.err.startswith("error")
    assert "Get going:" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("satus",), "No such command 'satus'"),
        (("status", "--jsn"), "No such option"),
        (("call",), "Missing argument 'TOOL'"),
        (("audit", "--outcome", "fine"), "'fine' is not one of"),
        (("audit", "--limit", "0"), "0 is not in the range"),
        (("status", "--url", "ftp://h"), "is not the URL of a node"),
        (("status", "--url", "http://h:http"), "is not the URL of a node"),
        (("status", "--timeout", "0"), "0 is not in the range"),
    ],
)
def test_a_misuse_says_what_is_wrong_and_where_help_is(semel: Semel, arguments: tuple[str, ...], said: str) -> None:
    ended = semel(*arguments)
    assert (ended.code, ended.out) == (Exit.USAGE, "")
    assert said in ended.err
    assert "--help`." in ended.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), Exit.USAGE),
        (UnknownTool("no"), Exit.REFUSED),
        (BadArguments("no"), Exit.REFUSED),
        (KeyReused("no"), Exit.REFUSED),
        (Busy("no"), Exit.UNAVAILABLE),
        (NoLeader("no"), Exit.UNAVAILABLE),
        (LogUnavailable("no"), Exit.UNAVAILABLE),
        (LogDamaged("no"), Exit.NODE),
        (ReplicaError("no"), Exit.NODE),
        (TargetError("no"), Exit.NODE),
        (ListenError("no"), Exit.NODE),
        (ClusterMismatch("no"), Exit.NODE),
        (SemelError("no"), Exit.NODE),
    ],
)
def test_every_error_has_its_exit_code(semel: Semel, client: FakeClient, error: SemelError, code: Exit) -> None:
    client.error = error
    ended = semel("status")
    assert (ended.code, ended.out, ended.err) == (code, "", "error: no\n")
    assert client.closed


def test_a_mistake_in_semel_is_one_to_report_and_its_traceback_is_in_a_file(
    semel: Semel, client: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client.shown = {}
    ended = semel("status")
    assert ended.code == Exit.MISTAKE
    assert "a mistake in semel: KeyError: 'leader'\nPlease report it, with the file " in ended.err
    (file,) = tmp_path.iterdir()
    assert str(file) in ended.err
    assert "Traceback" in file.read_text()


def test_words_that_are_no_text_are_refused(semel: Semel, client: FakeClient) -> None:
    ended = semel("audit", "--key", "a\udcff")
    assert (ended.code, client.asked) == (Exit.USAGE, [])
    assert ended.err == "error: 'a\\udcff' on the command line is not UTF-8 text\n"


def test_ctrl_c_ends_a_command_with_130(semel: Semel, client: FakeClient) -> None:
    client.answer = KeyboardInterrupt()
    assert semel("status", "--json").code == 0
    ended = semel("call", "add", "--key", "order-42")
    assert ended.code == Exit.INTERRUPTED
    assert "--key order-42" in ended.err


def test_urls_come_from_options_or_the_environment_in_any_spelling(
    semel: Semel, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    semel("status", "--json")
    assert client.opened["urls"] == ("http://127.0.0.1:8420",)
    monkeypatch.setenv("SEMEL_URL", "h:1, https://i:2/mcp")
    semel("status", "--json")
    assert client.opened["urls"] == ("http://h:1", "https://i:2")
    semel("status", "--json", "--url", "j:3/", "--url", "http://k:4,http://j:3")
    assert client.opened["urls"] == ("http://j:3", "http://k:4")


def test_a_closed_pipe_is_no_error_to_speak_of() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "semel", "--help"], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=20
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == Exit.BROKEN_PIPE


def test_a_full_disk_behind_the_output_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "semel", "--help"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=20
        )
    assert done.stderr == b"error: the output cannot be written: No space left on device\n"
    assert done.returncode == Exit.OUTPUT


def test_without_any_open_stream_nothing_is_written_into_another_file(tmp_path: Path) -> None:
    program = f"""
import os, sys
from semel.cli import main
for descriptor in (0, 1, 2):
    os.close(descriptor)
sys.stdout = sys.stderr = None
main._open_what_is_closed()
with open({str(tmp_path / "log")!r}, "w") as log:
    print("hello")
    os.write(1, b"hello")
    os._exit(0 if log.fileno() > 2 else 1)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=20)
    assert done.returncode == 0
    assert (tmp_path / "log").read_text() == ""
