"""Tools of this process: whatever they do, it is an outcome, and neither the node's loop nor the next call suffers."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

import semel
from semel.core.call import CallId, Effect, Spec, Status
from semel.core.limits import Limits
from semel.errors import BadArguments, UnknownTool, UpstreamError
from semel.gateway.upstreams import toolbox as toolbox_module
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.tools import Done

from .conftest import Write
from .fakes import attempt, text, told, toolbox

pytestmark = pytest.mark.anyio

TOOLS = """
    import asyncio, sys, threading, time
    import semel

    gate = threading.Event()

    @semel.tool
    def add(a: int, b: int = 1) -> int:
        "Add two numbers."
        return a + b

    @semel.tool(effect="read")
    def divide(a: int, b: int) -> float:
        return a / b

    @semel.tool(effect="repeatable", timeout_s=2.5, serialize_by="account")
    async def pay(account: str, rest: str = "") -> str:
        return account

    @semel.tool(serialize_by="lane")
    def with_default(lane: int = 7) -> int:
        return lane

    @semel.tool
    def which() -> str:
        return str(semel.current_call())

    @semel.tool
    async def which_async() -> str:
        return semel.current_call().key

    @semel.tool
    def leave() -> None:
        sys.exit(3)

    @semel.tool
    async def leave_async() -> None:
        raise KeyboardInterrupt

    @semel.tool
    async def leave_later() -> str:
        async def later() -> None:
            sys.exit(3)
        task = asyncio.create_task(later())
        await asyncio.sleep(0.01)
        task.exception()
        return "still here"

    @semel.tool
    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    @semel.tool
    def hang() -> str:
        gate.wait(20)
        return "late"

    @semel.tool
    def release() -> None:
        gate.set()

    @semel.tool
    async def hang_async() -> None:
        await asyncio.sleep(20)

    @semel.tool
    async def block(seconds: float) -> None:
        time.sleep(seconds)

    @semel.tool
    def much(size: int) -> str:
        return "x" * size

    class Odd(BaseException): ...

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @semel.tool
    def name_a_file() -> None:
        raise FileNotFoundError("there is no caf\\udce9.txt")

    @semel.tool
    def throw_half_a_character() -> None:
        raise Odd("half a character: \\udce9")

    @semel.tool
    def throw_the_unspeakable() -> None:
        raise Unspeakable

    @semel.tool
    def odd() -> dict:
        return {"when": object()}
"""


@pytest.fixture
async def box(write: Write) -> AsyncIterator[McpToolbox]:
    async with toolbox(write(TOOLS), Limits(concurrency_max=2)) as opened:
        yield opened


async def test_tools_are_listed_with_their_effects_by_name(box: McpToolbox) -> None:
    shown = box.tools()
    assert [tool["name"] for tool in shown] == sorted(tool["name"] for tool in shown)
    effects = {tool["name"]: tool["_meta"]["dev.semel/effect"] for tool in shown}
    assert (effects["add"], effects["divide"], effects["pay"]) == ("once", "read", "repeatable")
    add = shown[0]
    assert add["description"] == "Add two numbers."
    assert add["inputSchema"]["required"] == ["a"]


async def test_a_call_is_examined_for_how_it_is_run(box: McpToolbox) -> None:
    assert box.examine("add", {"a": 1}) == Spec(effect=Effect.ONCE)
    assert box.examine("pay", {"account": "é"}) == Spec(effect=Effect.REPEATABLE, timeout_s=2.5, lane='pay:"é"')
    assert box.examine("with_default", {}).lane == "with_default:7"
    assert box.examine("with_default", {"lane": 2**60}).lane == f"with_default:{2**60}"


async def test_an_unknown_tool_is_refused_with_the_closest_name(box: McpToolbox) -> None:
    with pytest.raises(UnknownTool, match="did you mean 'divide'"):
        box.examine("divid", {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, r"at \$: 'a' is a required property"),
        ({"a": "1"}, r"at \$.a: '1' is not of type 'integer'"),
        ({"a": "y" * 1_000_000}, r"at \$.a: 'yyy.* … .*is not of type 'integer'"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_with_the_place(
    box: McpToolbox, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(BadArguments, match=said) as caught:
        box.examine("add", arguments)
    assert len(str(caught.value)) < 500


async def test_a_result_is_kept_as_the_tool_gave_it(box: McpToolbox) -> None:
    end = await box.run(attempt("add", {"a": 1, "b": 2}))
    assert isinstance(end, Done)
    assert end.status is Status.OK
    assert told(end) == {
        "content": [{"type": "text", "text": "3"}],
        "structuredContent": {"result": 3},
        "isError": False,
    }


async def test_a_running_tool_knows_its_call(box: McpToolbox) -> None:
    current = semel.CurrentCall(key="order-42", caller="shop", term=3, attempt=1, timeout_s=10.0)
    assert text(await box.run(attempt("which"))) == str(current)
    assert text(await box.run(attempt("which_async"))) == "order-42"


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("divide", {"a": 1, "b": 0}, "ZeroDivisionError: division by zero"),
        ("leave", {}, "SystemExit: 3"),
        ("leave_async", {}, "KeyboardInterrupt"),
        ("name_a_file", {}, "FileNotFoundError: there is no caf?.txt"),
        ("throw_half_a_character", {}, "Odd: half a character: ?"),
        ("throw_the_unspeakable", {}, "Unspeakable, which cannot even say what it is"),
        ("cancel_itself", {}, "cancelled itself"),
        ("gone", {}, "there is no tool 'gone' here any more. Nothing was run"),
    ],
)
async def test_whatever_a_tool_throws_is_its_outcome(
    box: McpToolbox, tool: str, arguments: dict[str, object], said: str
) -> None:
    end = await box.run(attempt(tool, arguments))
    assert isinstance(end, Done)
    assert end.status is Status.ERROR
    assert told(end)["isError"] is True
    assert said in text(end)
    assert text(await box.run(attempt("add", {"a": 1}))) == "2"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the stray task is never awaited
async def test_a_stray_task_that_exits_does_not_end_the_tools(box: McpToolbox) -> None:
    assert text(await box.run(attempt("leave_later"))) == "still here"
    assert text(await box.run(attempt("add", {"a": 1}))) == "2"


async def test_what_is_no_json_is_told_as_text(box: McpToolbox) -> None:
    end = await box.run(attempt("odd"))
    assert isinstance(end, Done)
    assert "content" in told(end)


async def test_a_tool_that_does_not_end_times_out_and_says_that_it_may_still_act(box: McpToolbox) -> None:
    end = await box.run(attempt("hang_async", timeout_s=0.05))
    assert isinstance(end, Done)
    assert end.status is Status.TIMED_OUT
    assert "within its time limit of 0.05 s" in text(end)
    assert "may still be acting" in text(end)


async def test_threads_that_hang_are_left_behind_up_to_a_bound(box: McpToolbox) -> None:
    for _ in range(4):  # twice as many as may run at once
        end = await box.run(attempt("hang", timeout_s=0.3))  # long enough to begin on a busy machine
        assert isinstance(end, Done)
        assert end.status is Status.TIMED_OUT
    assert "4 runs hang past their time limit: restart this node. Nothing was run" in text(
        await box.run(attempt("hang", timeout_s=0.05))
    )


async def test_a_tool_that_blocks_its_loop_stalls_neither_the_node_nor_its_time_limit(box: McpToolbox) -> None:
    blocked, never = await asyncio.gather(
        box.run(attempt("block", {"seconds": 2}, timeout_s=0.2)), box.run(attempt("add", {"a": 1}, timeout_s=0.2))
    )
    assert isinstance(blocked, Done)
    assert blocked.status is Status.TIMED_OUT
    for each in (never, await box.run(attempt("add", {"a": 1}, timeout_s=0.1))):  # it still blocks
        assert isinstance(each, Done)
        assert "add never started" in text(each)
    assert text(await box.run(attempt("add", {"a": 1}))) == "2"


async def test_a_result_over_the_limit_is_an_error_that_says_how_large_it_was(write: Write) -> None:
    async with toolbox(write(TOOLS), Limits(result_bytes_max=1000)) as box:
        end = await box.run(attempt("much", {"size": 5000}))
        assert isinstance(end, Done)
        assert end.status is Status.ERROR
        assert "much ran, and its result is 10," in text(end)


async def test_the_fingerprint_tells_tools_apart(write: Write) -> None:
    async with toolbox(write(TOOLS)) as one, toolbox(write(TOOLS, "same.py")) as same:
        assert one.fingerprint == same.fingerprint
    async with toolbox(write(TOOLS.replace('effect="read"', 'effect="once"'), "other.py")) as other:
        assert other.fingerprint != one.fingerprint


async def test_a_lifespan_that_raises_fails_the_start_with_its_reason(write: Write) -> None:
    file = write(
        """
        from contextlib import asynccontextmanager
        from mcp.server import Server

        @asynccontextmanager
        async def lifespan(server):
            raise ValueError("no database")
            yield

        app = Server("app", lifespan=lifespan)
        """
    )
    with pytest.raises(UpstreamError, match="'served' does not start: ValueError: no database"):
        async with toolbox(file):
            pass


async def test_hints_of_a_server_object_say_the_effect(write: Write) -> None:
    file = write(
        """
        from mcp.server.mcpserver import MCPServer
        from mcp.types import ToolAnnotations

        app = MCPServer("app", instructions="Use with care.")

        @app.tool(annotations=ToolAnnotations(read_only_hint=True))
        def look() -> int: return 1

        @app.tool(annotations=ToolAnnotations(idempotent_hint=True))
        def put() -> int: return 1

        @app.tool()
        def send() -> int: return 1

        @app.tool()
        def grow() -> int:
            app.add_tool(look, name="look_again")
            return 1
        """
    )
    async with toolbox(file) as box:
        assert [box.examine(tool, {}).effect for tool in ("look", "put", "send")] == ["read", "repeatable", "once"]
        assert box.instructions == "Use with care."


async def test_a_low_level_server_is_served_whatever_its_handler_does(write: Write) -> None:
    file = write(
        """
        from mcp import MCPError, types
        from mcp.server import Server

        def names():
            return ["ask", "break", "fail", "nothing", "odd"]

        async def list_tools(context, params):
            tools = [types.Tool(name=name, input_schema={"type": "object"}) for name in names()]
            if params.cursor is None:
                return types.ListToolsResult(tools=tools[:2], next_cursor="more")
            return types.ListToolsResult(tools=tools[2:])

        async def call_tool(context, params):
            match params.name:
                case "ask":
                    return types.InputRequiredResult(input_requests={}, request_state="x")
                case "break":
                    raise MCPError(-32050, "out of paper", {"tray": 2})
                case "fail":
                    raise ValueError("a mistake")
                case "odd":
                    return {"content": [], "structuredContent": {"x": object()}}
            return 3

        app = Server("app", on_list_tools=list_tools, on_call_tool=call_tool)
        """
    )
    async with toolbox(file) as box:
        assert [tool["name"] for tool in box.tools()] == ["ask", "break", "fail", "nothing", "odd"]
        asked = await box.run(attempt("ask"))
        said = {name: text(await box.run(attempt(name))) for name in ("break", "fail", "nothing", "odd")}
    assert isinstance(asked, Done)
    assert asked.status is Status.INPUT_REQUIRED
    assert told(asked) == {"inputRequests": {}, "requestState": "x"}
    assert said["break"] == "break failed: out of paper (protocol error -32050)"
    assert "a mistake" in said["fail"]
    assert said["nothing"].startswith("nothing failed")
    assert said["odd"].startswith("odd failed")


async def test_a_fastmcp_object_is_served(write: Write) -> None:
    file = write(
        """
        from fastmcp import FastMCP

        app = FastMCP("app")

        @app.tool(annotations={"readOnlyHint": True})
        def add(a: int, b: int) -> int:
            return a + b

        @app.tool
        def fail() -> int:
            raise ValueError("broken")
        """
    )
    async with toolbox(file) as box:
        assert box.examine("add", {"a": 1, "b": 2}).effect is Effect.READ
        assert told(await box.run(attempt("add", {"a": 1, "b": 2})))["structuredContent"] == {"result": 3}
        end = await box.run(attempt("fail"))
        assert isinstance(end, Done)
        assert end.status is Status.ERROR


async def test_a_call_that_is_cancelled_before_its_turn_does_not_begin(write: Write) -> None:
    async with toolbox(write(TOOLS)) as box:
        waiting = attempt("add", {"a": 1})
        box.stop(waiting.call.id)
        end = await box.run(waiting)
        assert isinstance(end, Done)
        assert end.status is Status.CANCELLED
        assert text(end) == "add was cancelled before it began. Nothing was run"
        assert text(await box.run(waiting)) == "2"  # another attempt was not cancelled


async def test_a_later_attempt_that_does_not_begin_does_not_say_that_nothing_was_run(write: Write) -> None:
    async with toolbox(write(TOOLS)) as box:
        again = msgspec.structs.replace(attempt("add", {"a": 1}), attempt=2)
        box.stop(again.call.id)
        cancelled = text(await box.run(again))
        gone = text(await box.run(msgspec.structs.replace(attempt("no_such_tool"), attempt=2)))
    for said in (cancelled, gone):
        assert "Nothing was run" not in said
        assert "an earlier one, whose node or server was lost, may have acted" in said


async def test_of_calls_that_were_cancelled_and_never_come_few_are_remembered_and_not_for_long(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolbox_module, "_UNWANTED_MAX", 3)
    monkeypatch.setattr(toolbox_module, "_UNWANTED_S", 0.05)
    async with toolbox(write(TOOLS)) as box:
        for number in range(10):
            box.stop(CallId("shop", f"{number}"))
        assert len(box._unwanted) == 3
        box.stop(attempt("add").call.id)
        await asyncio.sleep(0.1)
        assert text(await box.run(attempt("add", {"a": 1}))) == "2"
        box.stop(CallId("shop", "last"))
        assert len(box._unwanted) == 1
