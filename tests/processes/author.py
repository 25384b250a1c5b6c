"""An author's own server with one line of semel, as a process: `-m tests.processes.author KIND LOG EFFECTS [PORT]`.

KIND is `stdio`, `http` (by `server.run`), `mounted` (in a Starlette app of the author's) or `low` (a low-level server
on stdio). Each tool leaves a line in the file EFFECTS when it acts. Prints to stderr when it has ended by itself.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp import types
from mcp.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.stdio import stdio_server
from starlette.applications import Starlette
from starlette.routing import Mount

import semel
from semel import Semel

KIND, LOG, EFFECTS = sys.argv[1:4]
PORT = int(sys.argv[4]) if len(sys.argv) > 4 else 0


def act(tool: str, name: str) -> str:
    """Leave a line with a single write, which the kernel keeps whole."""
    call = semel.current_call()
    with Path(EFFECTS).open("ab", buffering=0) as file:
        file.write(f"{tool} {name} {call.key} {call.term} {call.attempt} {os.getpid()}\n".encode())
    return f"{tool} {name}"


def was_ordered(name: str) -> str | None:
    """Look for the line that `order` leaves."""
    key = semel.current_call().key
    acted = any(line.split()[:3] == ["order", name, key] for line in Path(EFFECTS).read_text().splitlines())
    return f"order {name}" if acted else None


server = MCPServer("pay", extensions=[Semel(LOG, reconcile={"order": was_ordered})], log_level="WARNING")


@server.tool()
async def charge(name: str, wait_s: float = 0) -> str:
    """Charge, and take a while."""
    done = act("charge", name)
    await asyncio.sleep(wait_s)
    return done


@server.tool()
async def order(name: str, wait_s: float = 0) -> str:
    """Order, and take a while."""
    done = act("order", name)
    await asyncio.sleep(wait_s)
    return done


@server.tool(annotations=types.ToolAnnotations(idempotent_hint=True))
def store(name: str, wait_s: float = 0) -> str:
    """Store; again is harmless."""
    done = act("store", name)
    threading.Event().wait(wait_s)
    return done


@server.tool(annotations=types.ToolAnnotations(read_only_hint=True))
def whoami() -> int:
    """Tell the process."""
    return os.getpid()


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return types.ListToolsResult(tools=[types.Tool(name="charge", input_schema=schema)])


async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    done = act(params.name, (params.arguments or {})["name"])
    return types.CallToolResult(content=[types.TextContent(text=done)])


async def serve_low() -> None:
    low = Server("low", on_list_tools=list_tools, on_call_tool=call_tool)
    Semel(LOG).install(low)
    async with stdio_server() as (incoming, outgoing):
        await low.run(incoming, outgoing, low.create_initialization_options())


def mounted() -> Starlette:
    app = server.streamable_http_app()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with server.session_manager.run():
            yield

    return Starlette(routes=[Mount("/", app)], lifespan=lifespan)


match KIND:
    case "stdio":
        server.run()
    case "low":
        anyio.run(serve_low)
    case "http":
        server.run("streamable-http", port=PORT)
    case "mounted":
        uvicorn.run(mounted(), port=PORT, log_level="warning")
left = [thread.name for thread in threading.enumerate() if thread.name.startswith("semel")]
print(f"ended, with threads of semel's: {left}", file=sys.stderr)
