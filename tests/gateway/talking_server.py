"""An MCP server that talks back: progress, log lines, questions, resources that change, prompts, completion.

`python talking_server.py` serves it on stdio in both eras; with `old`, in the handshake eras alone; with a port, over
HTTP. In 2026-07-28 its questions are results, in the older versions they are asked in the middle of a request.
"""

import asyncio
import itertools
import secrets
import sys
import warnings
from pathlib import Path
from typing import Any

import anyio
from mcp import MCPError, types
from mcp.server import Server, ServerRequestContext
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.message import ServerMessageMetadata
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

warnings.simplefilter("ignore")  # logging is deprecated, and still to pass through

Context = ServerRequestContext[Any, Any]
TOOLS = ("tell", "ask", "rounds", "able", "wait", "touch", "refuse", "traced")
NAME = types.ElicitRequest(
    params=types.ElicitRequestFormParams(
        message="Who are you?", requested_schema={"type": "object", "properties": {"name": {"type": "string"}}}
    )
)
runs = itertools.count(1)
bus = InMemorySubscriptionBus()
subscribers: list[tuple[str, Any]] = []
value = 0


def said(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)])


async def list_tools(_context: Context, _params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in TOOLS])


async def call_tool(context: Context, params: types.CallToolRequestParams) -> Any:
    arguments = params.arguments or {}
    here = ServerMessageMetadata(related_request_id=context.request_id)
    modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
    match params.name:
        case "tell":
            for done in (1, 2):
                await context.session.report_progress(done, 2, f"step {done}")
            level = arguments.get("level", "info")
            await context.session.send_log_message(level, arguments["line"], related_request_id=context.request_id)
            return said("told")
        case "ask" if modern:
            if not params.input_responses:
                return types.InputRequiredResult(input_requests={"who": NAME}, request_state="asked")
            who: Any = params.input_responses["who"]
            return said(f"hello {who.content['name']}, {params.request_state}")
        case "ask":
            answer = await context.session.send_request(NAME, types.ElicitResult, metadata=here)
            return said(f"hello {(answer.content or {}).get('name')}")
        case "rounds":
            count = int(params.request_state or 0)
            if count < arguments["count"]:
                return types.InputRequiredResult(input_requests={"who": NAME}, request_state=str(count + 1))
            return said(f"{count} rounds")
        case "able":
            able = context.session.client_capabilities or types.ClientCapabilities()
            return said(",".join(sorted(able.model_dump(exclude_none=True))))
        case "wait":
            marker = Path(arguments["marker"])
            marker.write_text("begun")
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                marker.write_text("stopped")
                raise
        case "touch":
            global value
            value += 1
            await bus.publish(ResourceUpdated("talk://value"))
            for uri, session in subscribers:
                await session.send_resource_updated(uri)
            return said(str(value))
        case "refuse":
            raise MCPError(-32050, "out of paper", {"tray": 2})
        case "traced":
            return said(str((context.meta or {}).get("traceparent")))


async def list_resources(_context: Context, params: types.PaginatedRequestParams) -> types.ListResourcesResult:
    if params.cursor == "more":
        return types.ListResourcesResult(resources=[types.Resource(uri="talk://more", name="more")])
    if params.cursor is not None:
        raise MCPError(types.INVALID_PARAMS, "no such cursor")
    value = types.Resource(uri="talk://value", name="value")
    return types.ListResourcesResult(resources=[value], next_cursor="more", ttl_ms=4321, cache_scope="private")


async def list_templates(_context: Context, _params: Any) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(uri_template="talk://of/{name}", name="of")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(context: Context, params: types.ReadResourceRequestParams) -> Any:
    if not str(params.uri).startswith("talk://"):
        raise MCPError(types.INVALID_PARAMS, "there is no such resource", {"uri": str(params.uri)})
    if str(params.uri) == "talk://who":
        told = await ask(context, params, {})
        if isinstance(told, types.InputRequiredResult):
            return told
        return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text=told)])
    text = str(value) if str(params.uri) == "talk://value" else str(params.uri)
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text=text)])


async def subscribe(context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    subscribers.append((str(params.uri), context.session))
    return types.EmptyResult()


async def unsubscribe(_context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    subscribers[:] = [each for each in subscribers if each[0] != str(params.uri)]
    return types.EmptyResult()


async def list_prompts(_context: Context, _params: Any) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=[types.Prompt(name="greet")])


async def get_prompt(context: Context, params: types.GetPromptRequestParams) -> Any:
    told: Any = f"{params.name} {(params.arguments or {}).get('name', '')}"
    if params.name == "meet":
        told = await ask(context, params, params.arguments or {})
        if isinstance(told, types.InputRequiredResult):
            return told
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=types.TextContent(text=told))])


async def ask(context: Context, params: Any, wanted: dict[str, str]) -> str | types.InputRequiredResult:
    """Greet whom the client names, and say in which run; `fresh` questions are never asked twice."""
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        if not params.input_responses:
            return types.InputRequiredResult(input_requests={"who": NAME}, request_state="asked")
        return f"hello {params.input_responses['who'].content['name']}, {params.request_state}"
    run, names = next(runs), []
    for number in range(int(wanted.get("times", "1"))):
        word = secrets.token_hex(4) if "fresh" in wanted else ""
        asked = types.ElicitRequestFormParams(
            message=f"Who is number {number}?{word}", requested_schema=NAME.params.requested_schema
        )
        here = ServerMessageMetadata(related_request_id=context.request_id)
        try:
            answer = await context.session.send_request(
                types.ElicitRequest(params=asked), types.ElicitResult, metadata=here
            )
            names.append(str((answer.content or {}).get("name")))
        except MCPError as error:
            names.append(error.error.message)
    return f"hello {', '.join(names)} in run {run}"


async def complete(_context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    name = getattr(params.ref, "name", None) or getattr(params.ref, "uri", "")
    return types.CompleteResult(completion=types.Completion(values=[f"{name}:{params.argument.value}"]))


async def set_level(_context: Context, _params: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


app = Server(
    "talking",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_list_resource_templates=list_templates,
    on_read_resource=read_resource,
    on_subscribe_resource=subscribe,
    on_unsubscribe_resource=unsubscribe,
    on_subscriptions_listen=ListenHandler(bus),
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_completion=complete,
    on_set_logging_level=set_level,
)


async def main() -> None:
    if sys.argv[1:2] == ["old"]:
        async with stdio_server() as (read, write):
            await serve_loop(app, read, write, lifespan_state={})
    elif sys.argv[1:]:
        import uvicorn

        await uvicorn.Server(
            uvicorn.Config(app.streamable_http_app(), port=int(sys.argv[1]), log_level="critical")
        ).serve()
    else:
        async with stdio_server() as (read, write):
            await app.run(read, write, app.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
