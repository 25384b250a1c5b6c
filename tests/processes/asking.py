"""A server of 2026-07-28 that asks for two answers, and leaves a line for each run in the file that EFFECTS names."""

import os
from typing import Any

from mcp import types
from mcp.server import Server

FORM = {"type": "object", "properties": {"name": {"type": "string"}}}
WANTED = ("first", "second")


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    tool = types.Tool(name="greet", input_schema={"type": "object"}, meta={"dev.semel/task": "always"})
    return types.ListToolsResult(tools=[tool])


async def call_tool(
    _context: Any, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    given = params.input_responses or {}
    with open(os.environ["EFFECTS"], "a", encoding="utf-8") as lines:  # noqa: ASYNC230, PTH123 - one short line
        lines.write(f"greet {len(given)}\n")
    if len(given) < len(WANTED):
        asked = types.ElicitRequest(params=types.ElicitRequestFormParams(message="Who?", requested_schema=FORM))
        return types.InputRequiredResult(input_requests=dict.fromkeys(WANTED, asked), request_state="asked")
    names = [given[key].model_dump()["content"]["name"] for key in WANTED]
    return types.CallToolResult(content=[types.TextContent(text=f"Hello, {' and '.join(names)}!")])


server: Server[Any] = Server("asking", on_list_tools=list_tools, on_call_tool=call_tool)
