"""The tool of the gateway bench: `add`, of effect once, on an MCP server of the SDK's over stdio."""

import anyio
from mcp import types
from mcp.server import Server
from mcp.server.stdio import stdio_server

NUMBER = {"type": "integer"}
ADD = types.Tool(
    name="add",
    description="Add two numbers.",
    input_schema={"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]},
    output_schema={"type": "object", "properties": {"result": NUMBER}, "required": ["result"]},
)


async def list_tools(_context: object, _params: object) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[ADD])


async def call_tool(_context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
    arguments = params.arguments or {}
    total = arguments["a"] + arguments["b"]
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=str(total))], structured_content={"result": total}
    )


async def main() -> None:
    server = Server("adder", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
