"""Clients of a node whose mcp.json changes: they are told, in both eras, where there is a way to tell them."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from mcp import Client, types
from mcp.client.session import IncomingMessage
from mcp.client.stdio import StdioServerParameters, stdio_client

from semel.gateway.upstreams import watching
from semel.serving import Node

from .conftest import Write
from .test_bad_servers import bad

pytestmark = pytest.mark.anyio

SERVE = ["-m", "semel.cli.main", "serve"]
SRC = Path(__file__).parents[2] / "src"


def lists(file: Path, *names: str) -> None:
    other = file.with_suffix(".new")
    other.write_text(json.dumps({"mcpServers": {name: bad("good") for name in names}}))
    other.replace(file)


async def test_a_client_of_the_newest_version_that_listens_is_told(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.05)
    file = write("", "mcp.json")
    lists(file, "one")
    async with (
        asyncio.timeout(60),
        Node(file, log=f"sqlite://{tmp_path}/log.db", listen="127.0.0.1:0") as node,
        Client(f"{node.url}/mcp", mode="2026-07-28", cache=None) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        lists(file, "one", "two")
        await anext(changes)
        assert "one_pid" in {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_client_on_stdio_is_told_in_either_era(write: Write, tmp_path: Path, era: str) -> None:
    file = write("", "mcp.json")
    lists(file, "one")
    told = asyncio.Event()

    async def hear(message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.set()

    node = StdioServerParameters(
        command=sys.executable,
        args=[*SERVE, str(file), "--stdio", "--listen", "127.0.0.1:0", "--log", f"sqlite://{tmp_path}/log.db"],
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    async with asyncio.timeout(60), Client(stdio_client(node), mode=era, cache=None, message_handler=hear) as client:
        assert "pid" in {tool.name for tool in (await client.list_tools()).tools}
        if era == "legacy":
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.tools.list_changed
            lists(file, "one", "two")
            await told.wait()
        else:
            async with client.listen(tools_list_changed=True) as changes:
                lists(file, "one", "two")
                await anext(changes)
        assert "one_pid" in {tool.name for tool in (await client.list_tools()).tools}
