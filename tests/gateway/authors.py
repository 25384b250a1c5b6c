"""Authors' servers with semel in them, for tests: tools that note their runs, and two nodes on one log."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client, types
from mcp.server import Server
from mcp.server.extension import Extension
from mcp.server.mcpserver import Context, MCPServer

import semel
from semel import Semel

KEY = "dev.semel/idempotency-key"
READ = types.ToolAnnotations(read_only_hint=True)


def keyed(key: str) -> dict[str, Any]:
    return {KEY: key}


def said(result: types.CallToolResult) -> dict[str, Any]:
    """Return what semel says of a call, without its prefix."""
    return {name.removeprefix("dev.semel/"): value for name, value in (result.meta or {}).items()}


def text(result: types.CallToolResult) -> str:
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


async def until(condition: Callable[[], object], limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


class Pay:
    """A server with semel in it, whose tools note their runs; `held` keeps `wait` from ending."""

    def __init__(self, log: str, *, extensions: Sequence[Extension] = (), **options: Any) -> None:
        self.runs: list[tuple[str, semel.CurrentCall]] = []
        self.held = asyncio.Event()
        self.ended: list[str] = []
        self.open = False
        """Whether the author's own lifespan is under way."""
        self.semel = Semel(log, listen="127.0.0.1:0", **options)
        self.server = MCPServer(
            "pay", extensions=[self.semel, *extensions], lifespan=self.lifespan, log_level="WARNING"
        )
        self.server.add_tool(self.charge)
        self.server.add_tool(self.wait)
        self.server.add_tool(self.stall)
        self.server.add_tool(self.count, annotations=READ)

    @asynccontextmanager
    async def lifespan(self, _: MCPServer[Any]) -> AsyncIterator[str]:
        self.open = True
        yield "the author's"
        self.open = False

    async def charge(self, account: str, amount: int) -> str:
        """Charge."""
        self.runs.append((account, semel.current_call()))
        return f"charged {account} {amount}"

    async def wait(self, ctx: Context[Any, Any]) -> str:
        """Wait until it is let go."""
        self.runs.append(("wait", semel.current_call()))
        await self.held.wait()
        await ctx.report_progress(1, 1, "let go")
        self.ended.append(f"wait, with {ctx.request_context.lifespan_context}, open: {self.open}")
        return "let go"

    async def stall(self, seconds: float) -> None:
        """Block the event loop, as no tool should."""
        time.sleep(seconds)  # noqa: ASYNC251 - that is the point

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools as the node has them."""
        return [] if self.semel._kept is None else self.semel._kept.tools()

    def count(self) -> int:
        """Count the runs."""
        return len(self.runs)


@asynccontextmanager
async def pair(log: str) -> AsyncIterator[tuple[tuple[Pay, Client], tuple[Pay, Client]]]:
    """Yield two servers on one log with a client each, the leader first."""
    one, two = Pay(log), Pay(log)
    async with Client(one.server) as first, Client(two.server) as second:
        await until(lambda: one.semel.url and two.semel.url)
        await first.call_tool("charge", {"account": "who leads", "amount": 0})
        leads = bool(one.runs)
        one.runs.clear()
        two.runs.clear()
        yield ((one, first), (two, second)) if leads else ((two, second), (one, first))


def low(answers: Mapping[str, Callable[[Any], Awaitable[Any]]]) -> Server[Any]:
    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in answers])

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> Any:
        return await answers[params.name](context)

    return Server("low", on_list_tools=list_tools, on_call_tool=call_tool)
