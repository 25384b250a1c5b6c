"""Reconcile hooks: what they know is what their tool would have given; whatever else they do is no answer."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from semel.core.limits import Limits
from semel.errors import TargetError
from semel.gateway.upstreams.target import load_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.tools import Done, Unknown

from .conftest import Write
from .fakes import attempt, told, toolbox

pytestmark = pytest.mark.anyio

TOOLS = """
    import asyncio, functools, sys, threading, time
    from datetime import date
    from typing import TypedDict

    import semel
    from mcp.server.mcpserver import Context
    from mcp.types import CallToolResult, TextContent

    gate = threading.Event()

    class Receipt(TypedDict):
        account: str
        on: date

    def receipt(account: str, on: date = date(2020, 1, 1)) -> Receipt:
        assert isinstance(on, date)
        return {"account": account, "on": on}

    charge = semel.tool(reconcile=receipt, name="charge")(functools.wraps(receipt)(lambda **given: receipt(**given)))

    async def of_key():
        return semel.current_call().key

    @semel.tool(reconcile=of_key)
    async def key(account: str, context: Context) -> str:
        return semel.current_call().key

    def wrapped(function):
        @functools.wraps(function)
        def wrapper(**given):
            return function(**given)
        return wrapper

    async def slow(account: str) -> str:
        await asyncio.sleep(0)
        return account

    @semel.tool(reconcile=wrapped(slow))
    def echo(account: str):
        return account

    def does(account: str):
        match account:
            case "raises":
                raise ZeroDivisionError("by zero")
            case "exits":
                sys.exit(3)
            case "is wrong":
                return 7
            case "is an error":
                return CallToolResult(content=[TextContent(type="text", text="no")], is_error=True)
            case "hangs":
                gate.wait()
            case "is large":
                return "x" * 10_000

    @semel.tool(reconcile=does)
    def wild(account: str) -> str:
        return account

    async def does_async(account: str):
        if account == "cancels itself":
            raise asyncio.CancelledError
        await asyncio.sleep(60)

    @semel.tool(reconcile=does_async)
    def tame(account: str) -> str:
        return account

    @semel.tool
    def bare(account: str) -> str:
        return account
"""


@pytest.fixture
async def box(write: Write) -> AsyncIterator[McpToolbox]:
    async with toolbox(write(TOOLS), Limits(concurrency_max=1, result_bytes_max=1000)) as made:
        yield made


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("charge", {"account": "ann", "on": "2026-01-02"}),
        ("charge", {"account": "ann"}),
        ("key", {"account": "ann"}),
        ("echo", {"account": "ann"}),
    ],
)
async def test_what_a_hook_knows_is_what_the_tool_would_have_given(
    box: McpToolbox, tool: str, arguments: dict[str, object]
) -> None:
    known = await box.reconcile(attempt(tool, arguments))
    assert isinstance(known, Done)
    given = await box.run(attempt(tool, arguments))
    assert isinstance(given, Done)
    assert (known.status, told(known)) == (given.status, told(given))


@pytest.mark.parametrize(
    ("tool", "account", "said"),
    [
        ("wild", "is unknown", "its reconcile hook found no sign of it"),
        ("wild", "raises", "its reconcile hook failed: ZeroDivisionError: by zero"),
        ("wild", "exits", "its reconcile hook failed: SystemExit: 3"),
        ("wild", "is wrong", "its reconcile hook failed: ValidationError: "),
        ("wild", "is an error", "its reconcile hook failed: it gave no result of the tool"),
        ("wild", "is large", "its reconcile hook failed: it gave no result of the tool"),
        ("tame", "cancels itself", "its reconcile hook was stopped"),
        ("tame", "hangs", "its reconcile hook did not answer within 0.2 s"),
    ],
)
async def test_whatever_else_a_hook_does_is_no_answer(box: McpToolbox, tool: str, account: str, said: str) -> None:
    learnt = await box.reconcile(attempt(tool, {"account": account}, timeout_s=0.2))
    assert isinstance(learnt, Unknown)
    assert learnt.reason.startswith(said)


async def test_a_tool_without_a_hook_is_answered_for_at_once(box: McpToolbox) -> None:
    for tool in ("bare", "unheard_of"):
        asking = box.reconcile(attempt(tool, {"account": "ann"}))
        with pytest.raises(StopIteration) as answered:  # it never waits for anything
            asking.send(None)
        assert answered.value.value == Unknown()


async def test_hooks_that_hang_are_left_behind_up_to_a_bound(box: McpToolbox) -> None:
    hanging = attempt("wild", {"account": "hangs"}, timeout_s=0.1)
    for _ in range(2):
        assert await box.reconcile(hanging) == Unknown("its reconcile hook did not answer within 0.1 s")
    unasked = Unknown("its reconcile hook was not asked: 2 runs hang past their time limit")
    assert await box.reconcile(hanging) == unasked


async def test_a_toolbox_that_closes_leaves_no_hook_behind(write: Write) -> None:
    async with toolbox(write(TOOLS)) as box:
        asking = asyncio.create_task(box.reconcile(attempt("tame", {"account": "hangs"}, timeout_s=60)))
        await asyncio.sleep(0.05)
        begun_s = time.monotonic()
    assert await asking == Unknown("its reconcile hook was stopped")
    assert time.monotonic() - begun_s < 5


async def test_a_hook_cannot_take_what_is_no_argument(write: Write) -> None:
    file = write(
        """
        import semel
        from mcp.server.mcpserver import Context

        def hook(context): ...

        @semel.tool(reconcile=hook)
        def pay(account: str, context: Context) -> str:
            return account
        """
    )
    with pytest.raises(TargetError, match=r"served\.py: the reconcile hook hook takes 'context'"):
        load_target(str(file))
