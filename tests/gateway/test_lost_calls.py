"""Calls whose server dies under them, on a whole node: in doubt, run again, or known by the server's reconcile tool."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from semel.gateway.upstreams.target import load_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.tools import Done, Unknown
from semel.serving import Node

from .conftest import Write
from .fakes import attempt, told

pytestmark = pytest.mark.anyio

TELLS = {"tool": "find", "found": "/charge", "keyArgument": "order"}
SAID = {
    "charge": {"reconcile": TELLS},
    "charge_strictly": {"reconcile": "find"},
    "charge_formally": {"reconcile": TELLS},
    "charge_wrongly": {"reconcile": "find_and_change"},
    "charge_blindly": {"reconcile": "nobody"},
}


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    return tmp_path / "effects.txt"


@pytest.fixture
def file(write: Write, effects: Path) -> Path:
    server = {"command": sys.executable, "args": [str(Path(__file__).with_name("pay_server.py")), str(effects)]}
    return write(json.dumps({"mcpServers": {"pay": {**server, "semel": {"tools": SAID}}}}), "mcp.json")


@pytest.fixture
async def node(file: Path, tmp_path: Path) -> AsyncIterator[Node]:
    async with Node(file, log=f"sqlite://{tmp_path}/log.db", listen="127.0.0.1:0") as running:
        yield running


@pytest.fixture
async def box(file: Path) -> AsyncIterator[McpToolbox]:
    box = McpToolbox(load_target(str(file)))
    await box.start()
    yield box
    await box.close()


async def test_a_once_call_whose_server_dies_is_in_doubt_and_not_run_again(node: Node, effects: Path) -> None:
    for _ in range(2):
        answer = await node.call("charge_strictly", {"account": "looks"}, key="order-1")
        assert answer.outcome == "in_doubt"
    assert effects.read_text().split() == ["order-1"]


async def test_a_repeatable_call_whose_server_dies_is_run_again(node: Node, effects: Path) -> None:
    answer = await node.call("put", {}, key="order-1")
    assert (answer.outcome, answer.attempt) == ("ok", 2)
    assert effects.read_text().split() == ["order-1", "order-1"]


async def test_a_once_call_that_its_server_remembers_has_its_outcome(node: Node, effects: Path) -> None:
    for _ in range(2):
        answer = await node.call("charge", {"account": "looks"}, key="order-1")
        assert (answer.outcome, answer.result) == ("ok", {"charge": "order-1"})
    assert effects.read_text().split() == ["order-1"]


async def test_a_node_says_what_is_wrong_with_what_it_serves(node: Node) -> None:
    assert node.status()["warnings"][-1] == (  # there may be no leader yet
        "mcp.json says that 'nobody' is to be asked when a call of 'charge_blindly' is lost, and the server 'pay' "
        "has no such tool"
    )


async def test_an_answer_says_that_a_call_acted_by_its_sign_or_by_what_is_found(box: McpToolbox) -> None:
    found = await box.reconcile(attempt("charge", {"account": "finds", "amount": 3}))
    assert isinstance(found, Done)
    assert told(found)["structuredContent"] == {"charge": {"given": {"account": "finds", "order": "order-42"}}}
    for tool in ("charge", "charge_strictly", "charge_formally"):
        signed = await box.reconcile(attempt(tool, {"account": "signs"}))
        assert isinstance(signed, Done)
        assert told(signed) == {
            "content": [{"type": "text", "text": "charged!"}],
            "structuredContent": {"receipt": "for order-42"},
            "_meta": {"more": 1},
        }


@pytest.mark.parametrize(
    ("tool", "account", "said"),
    [
        ("charge", "signs not", "its reconcile hook found no sign of it"),
        ("charge", "finds nothing", "its reconcile hook found no sign of it"),
        ("charge", "says something", "its reconcile hook found no sign of it"),
        ("charge_strictly", "finds", "its reconcile hook found no sign of it"),
        ("charge", "fails", "its reconcile hook failed: it gave an error"),
        ("charge", "dies", "its reconcile hook failed: the server 'pay' went away during the call"),
        ("charge", "hangs", "its reconcile hook did not answer within 5 s"),
        ("charge_formally", "finds", "its reconcile hook failed: its answer does not fit the output schema"),
        ("charge_wrongly", "finds", "its reconcile hook failed: 'find_and_change' is once and not read"),
        ("charge_blindly", "finds", "its reconcile hook failed: the server has no tool 'nobody'"),
    ],
)
async def test_any_other_answer_says_nothing(box: McpToolbox, tool: str, account: str, said: str) -> None:
    learnt = await box.reconcile(attempt(tool, {"account": account}, timeout_s=5))
    assert isinstance(learnt, Unknown)
    assert learnt.reason.startswith(said)


async def test_a_tool_for_which_nobody_is_named_is_answered_for_at_once(box: McpToolbox) -> None:
    assert await asyncio.wait_for(box.reconcile(attempt("put")), 5) == Unknown()
