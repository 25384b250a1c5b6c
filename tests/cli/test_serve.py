"""`semel serve` as a real process, and the other commands against it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from semel.cli.exits import Exit
from tests.cli.conftest import PATIENCE_S, Ended, Semel, Serve, environment
from tests.ports import free_port

TOOLS = '''
import os, pathlib, threading, time
import semel

@semel.tool(effect="repeatable")
def add(a: int | float, b: int | float) -> int | float:
    """Add two numbers."""
    print("adding")
    return a + b

@semel.tool
def fail(why: str) -> str:
    """Fail."""
    raise ValueError(why)

@semel.tool
def wait_for(file: str) -> str:
    """Wait until there is a file."""
    pathlib.Path(file + ".started").touch()
    while not os.path.exists(file):
        time.sleep(0.01)
    return "waited"
'''

LOOP = '''
import asyncio, semel

@semel.tool(effect="read")
async def loop() -> str:
    """Return whose loop this runs on."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
'''

Script = Callable[[str], str]


@pytest.mark.parametrize(("options", "loop"), [((), "uvloop"), (("--loop", "asyncio"), "asyncio")])
def test_tools_run_on_the_loop_that_was_asked_for(
    script: Script, serve: Serve, semel: Semel, options: tuple[str, ...], loop: str
) -> None:
    node = serve(script(LOOP), *options)
    assert semel("call", "loop", "{}", "--url", node.url).out == f"{loop}\n"


def test_the_whole_path_from_serve_to_the_audit(
    script: Script, serve: Serve, semel: Semel, semel_process: Semel
) -> None:
    node = serve(script(TOOLS), "--node", "a")
    at = ("--url", node.url)
    assert semel_process("call", "add", '{"a": 1, "b": 2}', "--key", "k", *at) == Ended(0, "3\n", "")
    again = json.loads(semel("call", "add", '{"b": 2, "a": 1}', "--key", "k", "--json", *at).out)
    assert (again["result"], again["replayed"], again["executor"], again["attempt"]) == (3, True, "a", 1)
    failed = semel("call", "fail", '{"why": "bad luck"}', *at)
    assert failed.code == Exit.TOOL
    assert "bad luck" in failed.out

    status = json.loads(semel("status", "--json", *at).out)
    assert (status["cluster"], status["leader"], status["nodes"][0]["executions"]) == ("semel", "a", 2)
    calls = [json.loads(line) for line in semel("audit", "--json", *at).out.splitlines()]
    assert [(call["execution_id"], call["tool"], call["outcome"]) for call in calls] == [
        (1, "add", "ok"),
        (2, "fail", "error"),
    ]
    assert len(semel("audit", "--outcome", "error", *at).out.splitlines()) == 2
    assert [line.split()[:2] for line in semel("tools", *at).out.splitlines()] == [
        ["name", "effect"],
        ["add", "repeatable"],
        ["fail", "once"],
        ["wait_for", "once"],
    ]

    node.process.terminate()
    ended = node.end()
    assert ended.code == 0
    assert f"a serves {script(TOOLS)}" in ended.out
    assert f"{node.url}/mcp" in ended.out
    assert "add (repeatable), fail (once), wait_for (once)" in ended.out
    assert "leader  a (this node), term 1" in ended.out
    assert "takes no new calls, hands over" in ended.err


def test_a_refusal_says_what_is_wrong_and_leaves_no_trace(script: Script, serve: Serve, semel: Semel) -> None:
    at = ("--url", serve(script(TOOLS)).url)
    for arguments, said in (
        (("ad", "{}"), "'ad'"),
        (("add", '{"a": 1}'), "'b'"),
        (("add", '{"a": 1, "b": 2}', "--key", "x" * 10_000), "10000 characters"),
        (("add", '{"a": 1, "b": 2}', "--key", "a\x07"), "cannot be printed"),
    ):
        ended = semel("call", *arguments, *at)
        assert (ended.code, ended.out) == (Exit.REFUSED, "")
        assert said in ended.err
    assert semel("audit", "--json", *at) == Ended(0, "", "")


def test_nobody_at_the_url_is_exit_code_4(semel: Semel) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = semel("call", "add", "--key", "k1", "--url", url, "--timeout", "0.5")
    assert ended.code == Exit.UNAVAILABLE
    assert url in ended.err
    assert "k1" in ended.err
    assert "Traceback" not in ended.err


def test_following_shows_a_call_as_soon_as_it_has_an_outcome(
    script: Script, serve: Serve, semel: Semel, tmp_path: Path
) -> None:
    node = serve(script(TOOLS))
    command = [sys.executable, "-m", "semel", "audit", "--follow", "--json", "--url", node.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(tmp_path)) as follower:
        assert follower.stdout is not None
        try:
            for number in (1, 2):
                semel("call", "add", json.dumps({"a": number, "b": 0}), "--url", node.url)
                assert json.loads(follower.stdout.readline())["result"] == number
            follower.send_signal(signal.SIGINT)
            assert follower.wait(PATIENCE_S) == Exit.INTERRUPTED
        finally:
            follower.kill()


def test_a_node_that_is_told_to_go_waits_for_running_tools(script: Script, serve: Serve, tmp_path: Path) -> None:
    node = serve(script(TOOLS))
    gate = tmp_path / "gate"
    command = [sys.executable, "-m", "semel", "call", "wait_for", json.dumps({"file": str(gate)}), "--url", node.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(tmp_path)) as caller:
        try:
            wait_for_file(Path(f"{gate}.started"))
            node.process.terminate()
            assert node.process.stderr is not None
            assert "waits up to 10 s for 1 running call" in node.process.stderr.readline()
            gate.touch()
            assert caller.communicate(timeout=PATIENCE_S)[0] == "waited\n"
        finally:
            caller.kill()
    assert node.end().code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_file_that_hangs_while_it_is_imported_can_be_interrupted(
    script: Script, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    place = tmp_path / "importing"
    hanging = script(f"import pathlib, time\npathlib.Path({str(place)!r}).touch()\nwhile True: time.sleep(60)\n")
    command = [sys.executable, "-m", "semel", "serve", hanging, "--log", "memory:"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment(tmp_path)) as process:
        try:
            wait_for_file(place)
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == code
        finally:
            process.kill()


def test_a_port_in_use_is_exit_code_6_and_says_by_whom(script: Script, semel_process: Semel) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = semel_process("serve", script(TOOLS), "--listen", place)
    assert (ended.code, ended.out) == (Exit.NODE, "")
    assert f"{place} is in use" in ended.err
    assert f"(pid {os.getpid()})" in ended.err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("server.py", "import semel\n1 / 0\n", "line 2: ZeroDivisionError"),
        ("server.py", "def broken(:\n", "line 1: SyntaxError"),
        ("server.py", "x = 1\n", "nothing to serve"),
        ("server.py", None, "no such file"),
        ("mcp.json", '{"mcpServers": {"clock": {"command": "mcp-server-tme"}}}', "'mcp-server-tme' is not on the PATH"),
        ("mcp.json", "{", "not JSON"),
        ("server.txt", "", "TARGET is a Python file"),
    ],
)
def test_a_target_that_cannot_be_served_is_exit_code_6(
    semel_process: Semel, tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    ended = semel_process("serve", name)
    assert (ended.code, ended.out) == (Exit.NODE, "")
    assert ended.err.startswith("error: ")
    assert said in ended.err
    assert name in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--log", "foo:bar"), Exit.USAGE),
        (("--listen", "nowhere"), Exit.USAGE),
        (("--node", "a b"), Exit.USAGE),
        (("--log", "sqlite:server.py"), Exit.NODE),
    ],
)
def test_an_option_that_makes_no_sense_is_told_from_a_log_that_cannot_be_used(
    script: Script, semel_process: Semel, options: tuple[str, ...], code: Exit
) -> None:
    target = script(TOOLS)
    before = Path(target).read_text()
    ended = semel_process("serve", target, *options)
    assert ended.code == code
    assert ended.err.startswith("error: ")
    assert Path(target).read_text() == before


def test_on_stdio_only_the_protocol_is_on_stdout_and_the_end_of_input_is_the_end(
    script: Script, semel_process: Semel
) -> None:
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    ]
    ended = semel_process("serve", script(TOOLS), "--stdio", stdin="".join(json.dumps(one) + "\n" for one in messages))
    assert ended.code == 0
    answers = [json.loads(line) for line in ended.out.splitlines()]
    assert [answer["id"] for answer in answers] == [1]


def test_two_nodes_on_one_log_are_one_cluster(script: Script, serve: Serve, semel: Semel) -> None:
    first, second = serve(script(TOOLS)), serve(script(TOOLS))
    assert semel("call", "add", '{"a": 2, "b": 2}', "--url", second.url).out == "4\n"
    status = json.loads(semel("status", "--json", "--url", second.url).out)
    assert {node["node"]: node["role"] for node in status["nodes"]} == {"node-1": "leader", "node-2": "follower"}
    first.process.kill()
    first.end()
    answer = json.loads(semel("call", "add", '{"a": 3, "b": 3}', "--json", "--url", second.url).out)
    assert (answer["result"], answer["executor"], answer["term"]) == (6, "node-2", 2)


def wait_for_file(path: Path) -> None:
    """Wait for a file that another process makes."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not made"
        time.sleep(0.01)
