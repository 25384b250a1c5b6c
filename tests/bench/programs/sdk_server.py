"""The tool `add` on the SDK's low-level server: `sdk_server.py PORT [tuned]`; tuned: JSON answers, no sessions."""

import sys

import uvicorn
from mcp import types
from mcp.server import Server

NUMBER = {"type": "integer"}
ADD = types.Tool(
    name="add",
    description="Add two numbers.",
    input_schema={"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]},
    output_schema={"type": "object", "properties": {"result": NUMBER}, "required": ["result"]},
)
ECHO = types.Tool(
    name="echo",
    description="Give back what came.",
    input_schema={"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    output_schema={"type": "object", "properties": {"result": {"type": "string"}}, "required": ["result"]},
)


async def list_tools(_context: object, _params: object) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[ADD, ECHO])


async def call_tool(_context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
    arguments = params.arguments or {}
    total = arguments["text"] if params.name == "echo" else arguments["a"] + arguments["b"]
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=str(total))], structured_content={"result": total}
    )


def main() -> None:
    tuned = sys.argv[2:] == ["tuned"]
    server = Server("adder", on_list_tools=list_tools, on_call_tool=call_tool)
    app = server.streamable_http_app(json_response=tuned, stateless_http=tuned)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop" if tuned else "auto",
        http="httptools" if tuned else "auto",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
