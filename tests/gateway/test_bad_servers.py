"""Servers that break the protocol: the others are served on, and what is wrong is said."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mcp_types import CLIENT_CAPABILITIES_META_KEY, LOG_LEVEL_META_KEY, PROTOCOL_VERSION_META_KEY

from semel.core.call import Status
from semel.errors import UnknownTool, UpstreamError
from semel.gateway import meta
from semel.gateway.upstreams import announcements, child, connection
from semel.gateway.upstreams import upstream as upstream_module
from semel.gateway.upstreams.catalogue import Catalogue, make_entry
from semel.node.asides import Unanswered
from semel.node.tools import Attempt, Done, Gone

from .conftest import Write
from .fakes import attempt, text
from .test_upstream import BAD, toolbox, until

pytestmark = pytest.mark.anyio


def bad(mode: str, *more: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": [str(Path(__file__).with_name("bad_server.py")), mode, *more]}


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("mute", "did not answer within 3 s"),
        ("garbage", "did not answer within 3 s; its last words: "),
        ("endless", "its list of tools has more than 5 pages"),
        ("unlisted", "is no MCP server that semel can talk to: "),
    ],
)
async def test_a_server_that_cannot_be_opened_is_named_while_the_others_are_served(
    write: Write, monkeypatch: pytest.MonkeyPatch, mode: str, said: str
) -> None:
    monkeypatch.setattr(upstream_module, "_HANDSHAKE_S", 3)
    monkeypatch.setattr(connection, "PAGES_MAX", 5)
    async with toolbox(write, bad=bad(mode), good=bad("good")) as box:
        (remark,) = box.remarks()
        assert remark.startswith("the server 'bad' (")
        assert said in remark
        assert text(await box.run(attempt("good_a"))) == "done"
        with pytest.raises(UnknownTool, match=r"Not up here yet: bad\."):
            box.examine("bad_a", {})
        end = await box.run(attempt("bad_a", timeout_s=0.2))  # as after the death of a node on which it was up
        assert "bad_a never started" in text(end)
    with pytest.raises(UpstreamError, match="the server 'bad'"):
        async with toolbox(write, bad=bad(mode)):
            pass


async def test_an_answer_to_another_question_is_none_and_is_said(
    write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    async with toolbox(write, bad=bad("wrong_id")) as box:
        end = await box.run(attempt("a", timeout_s=0.5))
        assert isinstance(end, Done)
        assert end.status is Status.TIMED_OUT
        assert text(await box.run(attempt("change"))) == "done"
    said = capfd.readouterr().err
    assert said.count("[bad] answered what it was not asked: ") == 2
    assert "4711" in said


async def test_a_line_beyond_all_measure_ends_the_connection_and_its_calls_are_lost(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_LINE_BYTES_MAX", 100_000)
    async with toolbox(write, bad=bad("huge")) as box:
        end = await box.run(attempt("a"))
        assert isinstance(end, Gone)
        assert "a message is longer than semel takes" in end.reason
        assert text(await box.run(attempt("change"))) == "done"


async def test_a_server_that_dies_in_the_middle_of_its_answer_leaves_the_call_open(write: Write) -> None:
    async with toolbox(write, bad=bad("halfway")) as box:
        end = await box.run(attempt("a"))
        assert isinstance(end, Gone)
        assert "exited with code 3" in end.reason
        assert text(await box.run(attempt("change"))) == "done"


async def test_a_result_that_is_none_is_an_error_that_says_that_the_tool_ran(write: Write) -> None:
    async with toolbox(write, bad=bad("no_result")) as box:
        end = await box.run(attempt("a"))
        assert isinstance(end, Done)
        assert end.status is Status.ERROR
        assert "a ran, and what its server answered is no result of a tool" in text(end)


@pytest.mark.parametrize("mode", ["deep", "deep_error"])
async def test_what_is_nested_too_deeply_to_be_read_again_does_not_get_into_the_log(write: Write, mode: str) -> None:
    async with toolbox(write, bad=bad(mode)) as box:
        end = await box.run(attempt("a"))
        assert isinstance(end, Done)
        assert end.status is Status.ERROR
        said = {"deep": "a ran, and what it returned is not JSON: nested more deeply than 200 levels"}
        assert said.get(mode, "too deep to tell") in text(end)
        assert len(end.result) < 1000


async def test_of_two_tools_with_one_name_neither_is_served(write: Write) -> None:
    async with toolbox(write, bad=bad("twice")) as box:
        assert [tool["name"] for tool in box.tools()] == ["a"]
        (remark,) = box.remarks()
        assert remark.startswith("two tools are named 'b': ")
    async with toolbox(write, bad=bad("repeats")) as box:  # the same one twice is one
        assert [tool["name"] for tool in box.tools()] == ["a"]
        assert box.remarks() == []


def test_tools_of_two_servers_whose_names_meet_are_not_guessed_at() -> None:
    first = make_entry("x", {"name": "a_b", "inputSchema": {}}, prefix="x_")
    second = make_entry("x_a", {"name": "b", "inputSchema": {}}, prefix="x_a_")
    catalogue = Catalogue([first, second, make_entry("x", {"name": "c", "inputSchema": {}}, prefix="x_")])
    assert [tool["name"] for tool in catalogue.definitions] == ["x_c"]
    (remark,) = catalogue.remarks
    assert remark.startswith("two tools are named 'x_a_b': 'a_b' of the server 'x' and 'b' of the server 'x_a'")


async def test_a_list_that_breaks_leaves_the_tools_and_the_calls_as_they_were(write: Write, tmp_path: Path) -> None:
    async with toolbox(write, bad=bad("changes", str(tmp_path / "changed"))) as box:
        before = box.tools()
        assert text(await box.run(attempt("change"))) == "done"
        await until(lambda: bool(box.remarks()), "it is said")
        assert "said that its tools have changed, and does not list them" in box.remarks()[0]
        assert box.tools() == before
        assert text(await box.run(attempt("a"))) == "done"


async def test_tools_that_change_while_calls_run_do_not_harm_them(write: Write, tmp_path: Path) -> None:
    async with toolbox(write, bad=BAD) as box:
        running = asyncio.create_task(box.run(attempt("wait_a_little")))
        await box.run(attempt("grow"))
        await until(lambda: any(tool["name"] == "pid_again" for tool in box.tools()), "the list was read again")
        assert text(await running) == "done"


class Way:
    """A client of the handshake eras, who takes everything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = True

    def tell(self, _method: str, _params: Mapping[str, Any]) -> None:
        pass

    async def ask(self, method: str, _params: Mapping[str, Any]) -> dict[str, Any]:
        if not self.open:
            raise Unanswered({"code": -1, "message": "the call has ended"})
        self.asked.append(method)
        return {"action": "decline"}


OLD = {PROTOCOL_VERSION_META_KEY: "2025-11-25", LOG_LEVEL_META_KEY: "info"}
ASKABLE = {**OLD, CLIENT_CAPABILITIES_META_KEY: {"elicitation": {}}, meta.PARTY: "one"}


def asking(tool: str, said: Mapping[str, Any]) -> Attempt:
    plain = attempt(tool)
    call = msgspec.structs.replace(plain.call, meta=msgspec.Raw(msgspec.json.encode(said)))
    return msgspec.structs.replace(plain, call=call)


@pytest.mark.parametrize("said", [OLD, ASKABLE], ids=["on the one connection", "on one of its own"])
@pytest.mark.parametrize("mode", ["deaf", "level"])
async def test_a_server_that_takes_no_level_and_no_subscription_is_called_all_the_same(
    write: Write, monkeypatch: pytest.MonkeyPatch, mode: str, said: Mapping[str, Any]
) -> None:
    """It does not answer, or with an error; neither is a reason not to run a tool, or to say that it failed."""
    monkeypatch.setattr(connection, "_SET_LEVEL_S", 0.2)
    monkeypatch.setattr(announcements, "_SUBSCRIBE_S", 0.2)
    async with toolbox(write, bad=bad(mode)) as box:
        box.watch(frozenset({"x://1", "x://2"}))
        assert text(await box.run(asking("a", said), Way())) == "done"  # type: ignore[arg-type]


async def test_a_question_goes_to_the_call_that_it_is_about_after_another_lost_its_connection(
    write: Write, tmp_path: Path
) -> None:
    """The connection was opened anew in the course of an earlier request of the same client."""
    async with toolbox(write, bad=bad("asks", str(tmp_path / "once"))) as box:
        first, second = Way(), Way()
        await box.ask("prompts/get", {"name": "p", "_meta": ASKABLE}, first)  # type: ignore[arg-type]
        first.open = False
        assert text(await box.run(asking("a", ASKABLE), second)) == "decline"  # type: ignore[arg-type]
        assert (first.asked, second.asked) == ([], ["elicitation/create"])


async def test_what_cannot_be_written_to_a_server_costs_nobody_else_its_connection(write: Write) -> None:
    async with toolbox(write, bad=bad("asks", __file__)) as box:
        with pytest.raises(Unanswered, match="not JSON"):
            await box.ask("prompts/get", {"name": "\ud800"}, Way())  # type: ignore[arg-type]
        await box.ask("prompts/get", {"name": "p"}, Way())  # type: ignore[arg-type]
