"""Stdio servers: real processes that die, hang and print; each call has an outcome, and no process is left behind."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from semel.core.call import Effect, Status
from semel.errors import UpstreamError
from semel.gateway.upstreams import upstream as upstream_module
from semel.gateway.upstreams.target import load_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.tools import Done, Gone

from .conftest import Write
from .fakes import attempt, text, told

pytestmark = pytest.mark.anyio

BAD = {"command": sys.executable, "args": [str(Path(__file__).with_name("upstream_server.py"))]}
TIME = {"command": sys.executable, "args": ["-m", "mcp_server_time"]}


@asynccontextmanager
async def toolbox(write: Write, **servers: dict[str, Any]) -> AsyncIterator[McpToolbox]:
    file = write("", "mcp.json")
    file.write_text(json.dumps({"mcpServers": servers}))
    box = McpToolbox(load_target(str(file)))
    await box.start()
    try:
        yield box
    finally:
        await box.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def value(end: Done | Gone) -> Any:
    return told(end)["structuredContent"]["result"]


async def test_a_server_from_the_registry_is_served(write: Write) -> None:
    async with toolbox(write, time=TIME) as box:
        assert [tool["name"] for tool in box.tools()] == ["convert_time", "get_current_time"]
        assert box.examine("get_current_time", {"timezone": "UTC"}).effect is Effect.READ
        assert '"timezone": "UTC"' in text(await box.run(attempt("get_current_time", {"timezone": "UTC"})))
        end = await box.run(attempt("get_current_time", {"timezone": "Nowhere"}))
        assert isinstance(end, Done)
        assert end.status is Status.ERROR


async def test_the_tools_of_several_servers_are_told_apart_by_their_names(write: Write) -> None:
    async with toolbox(write, time=TIME, bad=BAD) as box:
        names = [tool["name"] for tool in box.tools()]
        assert "time_get_current_time" in names
        assert "bad_die" in names
        assert value(await box.run(attempt("bad_pid"))) > 0
        assert box.instructions is None


async def test_a_server_that_dies_during_a_call_leaves_it_open_and_is_started_again(write: Write) -> None:
    async with toolbox(write, bad=BAD) as box:
        before = value(await box.run(attempt("pid")))
        end = await box.run(attempt("die"))
        assert isinstance(end, Gone)
        assert end.reason == (
            "the server 'bad' went away during the call: it exited with code 7; its last words: I have had enough"
        )
        after = value(await box.run(attempt("pid")))
        assert after != before
        assert not alive(before)


async def test_a_call_that_waits_for_a_server_in_vain_says_that_nothing_was_run(write: Write, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    async with toolbox(write, bad={**BAD, "env": {"MARKER": str(marker)}}) as box:
        assert isinstance(await box.run(attempt("die_for_good", {"marker": str(marker)})), Gone)
        end = await box.run(attempt("pid", timeout_s=0.3))
        assert isinstance(end, Done)
        assert end.status is Status.ERROR
        assert "pid never started" in text(end)
        marker.unlink()
        assert value(await box.run(attempt("pid"))) > 0


async def test_a_call_past_its_time_limit_is_cancelled_at_the_server(write: Write, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    async with toolbox(write, bad=BAD) as box:
        end = await box.run(attempt("wait_for_ever", {"marker": str(marker)}, timeout_s=0.3))
        assert isinstance(end, Done)
        assert end.status is Status.TIMED_OUT
        await until(marker.exists, "the server heard of it")


async def test_closing_leaves_no_process_behind(write: Write, tmp_path: Path) -> None:
    async with toolbox(write, bad=BAD) as box:
        child, grandchild = value(await box.run(attempt("pid"))), value(await box.run(attempt("grandchild")))
        running = asyncio.create_task(box.run(attempt("wait_for_ever", {"marker": str(tmp_path / "m")})))
        await asyncio.sleep(0)
    end = await running
    assert isinstance(end, Gone | Done)
    await until(lambda: not alive(child) and not alive(grandchild), "they are gone")


async def test_what_a_server_prints_to_stdout_does_not_harm(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    async with toolbox(write, bad={**BAD, "env": {"CHATTY": "yes"}}) as box:
        assert value(await box.run(attempt("pid"))) > 0
    assert "[bad] printed to stdout, which is for MCP messages: hello" in capfd.readouterr().err


async def test_a_server_gets_the_environment_that_it_is_given_and_little_else(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    async with toolbox(write, bad={**BAD, "env": {"GIVEN": "yes"}}) as box:
        assert text(await box.run(attempt("environment", {"name": "GIVEN"}))) == "yes"
        assert text(await box.run(attempt("environment", {"name": "PATH"}))) == os.environ["PATH"]
        assert text(await box.run(attempt("environment", {"name": "SECRET"}))) == ""


async def test_tools_that_come_later_are_taken_in(write: Write) -> None:
    async with toolbox(write, bad=BAD) as box:
        before = box.fingerprint
        await box.run(attempt("grow"))
        await until(lambda: box.fingerprint != before, "the list was read again")
        assert value(await box.run(attempt("pid_again"))) > 0


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('no licence')", "exited with code 1; its last words: no licence"),
        ("print('hello')", "exited with code 0; its last words: hello"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
    ],
)
async def test_a_server_that_does_not_start_is_named_with_what_it_said(write: Write, program: str, said: str) -> None:
    with pytest.raises(UpstreamError, match=said) as caught:
        async with toolbox(write, broken={"command": sys.executable, "args": ["-c", program]}):
            pass
    assert f"the server 'broken' ({sys.executable} -c" in str(caught.value)


async def test_a_server_that_does_not_answer_is_given_up(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_module, "_HANDSHAKE_S", 0.5)
    with pytest.raises(UpstreamError, match=r"did not answer within 0\.5 s"):
        async with toolbox(write, mute={"command": "sleep", "args": ["600"]}):
            pass
