"""Changes of mcp.json: taken up while the node serves; what did not change is not disturbed."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from semel.gateway.upstreams import fleet, watching
from semel.gateway.upstreams.target import load_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.tools import Gone

from .conftest import Write
from .fakes import attempt, text
from .test_bad_servers import bad
from .test_upstream import alive, until

pytestmark = pytest.mark.anyio

GOOD = bad("good")


class File:
    """An mcp.json that is served, and changed meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lists(self, **servers: dict[str, Any]) -> None:
        self.says(json.dumps({"mcpServers": servers}))

    def says(self, content: str) -> None:
        """Change the content as editors do: another file in the place of this one."""
        other = self.path.with_suffix(".new")
        other.write_text(content)
        other.replace(self.path)


@pytest.fixture
def file(write: Write) -> File:
    return File(write("", "mcp.json"))


@pytest.fixture
async def box(file: File, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[McpToolbox]:
    monkeypatch.setattr(watching, "LOOK_S", 0.05)
    file.lists(one=GOOD, two=GOOD)
    box = McpToolbox(load_target(str(file.path)))
    await box.start()
    yield box
    await box.close()


def names(box: McpToolbox) -> set[str]:
    return {tool["name"] for tool in box.tools()}


async def test_servers_come_and_go_and_the_others_run_on(box: McpToolbox, file: File) -> None:
    one, two = [int(text(await box.run(attempt(f"{name}_pid")))) for name in ("one", "two")]
    file.lists(one=GOOD, three=GOOD)
    await until(lambda: "three_pid" in names(box) and "two_pid" not in names(box), "the change is taken up")
    assert int(text(await box.run(attempt("one_pid")))) == one
    assert int(text(await box.run(attempt("three_pid")))) not in (one, two)
    assert "no tool 'two_pid' here any more" in text(await box.run(attempt("two_pid")))
    await until(lambda: not alive(two), "what is not listed any more is ended")


async def test_one_server_that_remains_has_its_tools_under_their_bare_names(box: McpToolbox, file: File) -> None:
    one = int(text(await box.run(attempt("one_pid"))))
    file.lists(one=GOOD, two={**GOOD, "disabled": True})
    await until(lambda: "pid" in names(box), "the change is taken up")
    assert int(text(await box.run(attempt("pid")))) == one


async def test_calls_of_a_server_that_is_taken_away_are_finished_first(box: McpToolbox, file: File) -> None:
    running = asyncio.create_task(box.run(attempt("two_pause")))
    await box.run(attempt("two_pid"))
    file.lists(one=GOOD)
    await until(lambda: "pid" in names(box), "the change is taken up")
    assert text(await running) == "done"


async def test_a_call_that_waits_for_a_server_that_is_down_runs_on_the_one_that_comes_after_it(
    box: McpToolbox, file: File
) -> None:
    down = {"command": sys.executable, "args": ["-c", "raise SystemExit('no licence')"]}
    file.lists(one=GOOD, three=down)
    await until(lambda: any("no licence" in each for each in box.remarks()), "it does not start")
    waiting = asyncio.create_task(box.run(attempt("three_pause", timeout_s=60)))
    file.lists(one=GOOD, three=GOOD)
    assert text(await waiting) == "done"


async def test_a_call_that_does_not_end_in_time_is_lost_with_its_server(
    box: McpToolbox, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "FINISH_S", 0.2)
    two = int(text(await box.run(attempt("two_pid"))))
    running = asyncio.create_task(box.run(attempt("two_for_ever", timeout_s=60)))
    await box.run(attempt("two_pid"))
    file.lists(one=GOOD)
    assert isinstance(await running, Gone)
    await until(lambda: not alive(two), "it is ended")


async def test_a_changed_server_takes_over_once_it_is_up(box: McpToolbox, file: File) -> None:
    before = int(text(await box.run(attempt("one_pid"))))
    file.lists(one={**GOOD, "env": {"GIVEN": "yes"}}, two=GOOD)
    await until(lambda: not alive(before), "the one before it is ended")
    assert text(await box.run(attempt("one_environment"))) == "yes"
    assert box.remarks() == []


async def test_a_changed_server_that_does_not_start_leaves_the_one_before_it(box: McpToolbox, file: File) -> None:
    before = int(text(await box.run(attempt("one_pid"))))
    file.lists(one={"command": sys.executable, "args": ["-c", "raise SystemExit('no licence')"]}, two=GOOD)
    await until(lambda: bool(box.remarks()), "it is said")
    assert "no licence; until then the one before it is served" in box.remarks()[0]
    assert int(text(await box.run(attempt("one_pid")))) == before
    file.lists(one=GOOD, two=GOOD)
    await until(lambda: not box.remarks(), "it is taken back")
    assert int(text(await box.run(attempt("one_pid")))) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"mcpServers": {', "line 1, column 17: not JSON"),
        ("{}", 'there is no "mcpServers" object in it'),
        ('{"mcpServers": {"one": {"command": "nobody-has-this"}}}', "is not on the PATH"),
    ],
)
async def test_a_file_that_makes_no_sense_changes_nothing_and_is_said(
    box: McpToolbox, file: File, content: str, said: str
) -> None:
    before = names(box)
    file.says(content)
    await until(lambda: bool(box.remarks()), "it is said")
    assert said in box.remarks()[0]
    assert "Its servers are served as they were before" in box.remarks()[0]
    assert names(box) == before
    file.path.unlink()
    await until(lambda: "cannot be read" in " ".join(box.remarks()), "that is said, too")
    file.lists(one=GOOD)
    await until(lambda: "pid" in names(box), "the next change is taken up")
    assert box.remarks() == []


async def test_what_is_said_of_tools_is_taken_up_without_a_start(box: McpToolbox, file: File) -> None:
    one = int(text(await box.run(attempt("one_pid"))))
    said = {"tools": {"pid": {"effect": "read", "timeoutS": 7}, "nothing": {"effect": "read"}}}
    file.lists(one={**GOOD, "semel": said}, two=GOOD)
    await until(lambda: box.examine("one_pid", {}).effect == "read", "the change is taken up")
    assert box.examine("one_pid", {}).timeout_s == 7
    assert box.examine("one_a", {}).effect == "once"
    shown = {tool["name"]: tool["_meta"]["dev.semel/effect-from"] for tool in box.tools()}
    assert (shown["one_pid"], shown["two_pid"]) == ("operator", "default")
    assert int(text(await box.run(attempt("one_pid")))) == one
    assert box.remarks() == [
        "mcp.json says something of the tool 'nothing' of the server 'one', which has no such tool"
    ]
