"""A stdio MCP server that behaves as badly as the tests ask it to; run as `python upstream_server.py`."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

app = MCPServer("bad", log_level="CRITICAL")


@app.tool()
def pid() -> int:
    return os.getpid()


@app.tool()
def die() -> None:
    print("I have had enough", file=sys.stderr, flush=True)
    os._exit(7)


@app.tool()
def die_for_good(marker: str) -> None:
    Path(marker).write_text("do not start again")
    os._exit(7)


@app.tool()
def environment(name: str) -> str:
    return os.environ.get(name, "")


@app.tool()
async def wait_for_ever(marker: str) -> None:
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        Path(marker).write_text("cancelled")
        raise


@app.tool()
async def wait_a_little() -> str:
    await asyncio.sleep(1)
    return "done"


@app.tool()
def grandchild() -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid


@app.tool()
async def grow(context: Context) -> None:
    app.add_tool(pid, name="pid_again")
    await context.session.send_tool_list_changed()
    await context.notify_tools_changed()


if __name__ == "__main__":
    marker = os.environ.get("MARKER")
    if marker and Path(marker).exists():
        sys.exit("the marker says not to start")
    if os.environ.get("CHATTY"):
        print("hello", flush=True)
    app.run("stdio")
