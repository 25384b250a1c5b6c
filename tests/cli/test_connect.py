"""`semel connect`: entries for config files, wrong input, and a process that speaks MCP and ends cleanly."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

from .conftest import PATIENCE_S, Semel, environment

Connect = Callable[..., "subprocess.Popen[str]"]

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "probe", "version": "1"}},
}
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Connect]:
    """Start `semel connect` on pipes; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "semel", "connect", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(tmp_path),
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with process:
            process.kill()


def say(process: "subprocess.Popen[str]", *lines: str) -> None:
    assert process.stdin is not None
    process.stdin.write("".join(f"{line}\n" for line in lines))
    process.stdin.flush()


def hear(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    message: dict[str, Any] = json.loads(process.stdout.readline())
    return message


@pytest.mark.parametrize(
    ("client", "outer", "typed"),
    [("claude", "mcpServers", None), ("cursor", "mcpServers", "stdio"), ("vscode", "servers", "stdio")],
)
def test_the_entry_for_a_clients_config_file_is_json_and_where_it_goes_is_said_aside(
    semel: Semel, client: str, outer: str, typed: str | None
) -> None:
    ended = semel("connect", "--print-config", client, "http://h1:8420/mcp", "h2:8421,http://h3:8422")
    entry = json.loads(ended.out)[outer]["semel"]
    assert (ended.code, entry.get("type")) == (0, typed)
    assert Path(entry["command"]).is_absolute()
    assert entry["args"][-4:] == ["connect", "http://h1:8420", "http://h2:8421", "http://h3:8422"]
    assert "put it into" in ended.err


def test_the_entry_starts_what_it_was_asked_for(semel: Semel) -> None:
    options = ("--caller", "ann", "--timeout", "20", "--key-meta", "shop/order")
    ended = semel("connect", "--print-config", "claude", *options)
    started = json.loads(ended.out)["mcpServers"]["semel"]
    assert started["args"][-5:] == [
        *("connect", "--caller=ann", "--timeout=20", "--key-meta=shop/order"),
        "http://127.0.0.1:8420",
    ]
    help_of_it = subprocess.run(
        [started["command"], *started["args"], "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (help_of_it.returncode, help_of_it.stderr) == (0, "")


def test_the_installed_script_is_named_by_its_path(
    semel: Semel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "bin" / "semel"
    script.parent.mkdir()
    script.touch()
    monkeypatch.setattr(sys, "argv", [str(script)])
    started = json.loads(semel("connect", "--print-config", "cursor").out)["mcpServers"]["semel"]
    assert (started["command"], started["args"]) == (str(script), ["connect", "http://127.0.0.1:8420"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ftp://h"], "is not the URL of a node"),
        (["http://h:0"], "is not the URL of a node"),
        (["--timeout", "0"], "is not in the range"),
        (["--print-config", "emacs"], "is not one of 'claude', 'cursor', 'vscode'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_started(
    semel: Semel, arguments: list[str], said: str
) -> None:
    ended = semel("connect", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "See `semel connect --help`." in ended.err


def test_the_end_of_stdin_ends_it_and_nothing_but_the_protocol_was_on_stdout(start: Connect) -> None:
    process = start(f"http://127.0.0.1:{free_port()}")
    say(process, json.dumps(HELLO))
    answer = hear(process)
    assert (answer["id"], answer["result"]["serverInfo"]["name"]) == (1, "semel")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (0, "")
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["semel connect"] * 2
    assert "no node answers yet" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_even_while_a_call_waits(start: Connect, number: signal.Signals) -> None:
    process = start(f"http://127.0.0.1:{free_port()}")
    call = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "add", "arguments": {}}}
    say(process, json.dumps(HELLO))
    hear(process)
    say(process, json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}), json.dumps(call))
    say(process, json.dumps(PING))
    assert hear(process)["id"] == 2  # the call is held, and others are served
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_garbage_on_stdin_is_answered_or_left_and_the_next_message_is_served(start: Connect) -> None:
    process = start(f"http://127.0.0.1:{free_port()}")
    say(process, "no json", '{"jsonrpc": "2.0"}', "[]", "x" * 100_000, json.dumps(HELLO))
    while (answer := hear(process)).get("id") != 1:
        assert "error" in answer
    assert "result" in answer
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "Traceback (most recent call last)" not in err
