"""The stdio door: a real process, a real client, nothing on stdout but the protocol, and an end that does not hang."""

import asyncio
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
NODE = StdioServerParameters(
    command=sys.executable, args=["-m", "tests.gateway.stdio_node"], cwd=ROOT, env={"PYTHONPATH": str(ROOT / "src")}
)


@pytest.mark.parametrize("era", ["2026-07-28", "legacy", "auto"])
async def test_a_client_of_either_era_is_served_whatever_prints(era: str, tmp_path: Path) -> None:
    heard = tmp_path / "stderr"
    with heard.open("w") as stderr:
        async with asyncio.timeout(20), Client(stdio_client(NODE, errlog=stderr), mode=era) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["add"]
            result = await client.call_tool("add", {"a": 1, "b": 2}, meta={"dev.semel/idempotency-key": "sum"})
    assert result.structured_content == {"result": 3}
    assert (result.meta or {})["dev.semel/idempotency-key"] == "sum"
    said = heard.read_text()
    assert "printed by the user's file" in said
    assert "printed by a tool" in said
    assert "written by a tool" in said
    assert said.endswith("EOF\n")


async def test_serving_can_be_cancelled_while_the_client_is_silent(tmp_path: Path) -> None:
    heard = tmp_path / "stderr"
    with heard.open("w") as stderr:
        node = await asyncio.create_subprocess_exec(
            NODE.command,
            *NODE.args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
        )
        assert node.stdin is not None
        meta = (
            '{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
        )
        params = f'{{"name":"add","arguments":{{"a":13}},"_meta":{meta}}}'
        node.stdin.write(f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}\n'.encode())
        await node.stdin.drain()
        async with asyncio.timeout(20):
            assert await node.wait() == 0  # although its stdin is still open
        assert node.stdout is not None
        answer = await node.stdout.read()
        node.stdin.close()
    assert b'"structuredContent":{"result":13}' in answer
    assert heard.read_text().endswith("cancelled\n")
