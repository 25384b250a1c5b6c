"""The MCP server that the conformance suite's scenarios ask for: their tools, resources and prompts, by their names.

One file that stands alone, so that it can be served by semel (`semel serve everything.py`) or by itself
(`python everything.py PORT`), which shows what the SDK passes without semel. Without a port it speaks over stdio.

Whatever asks the client for something asks in the era's own way: with a request on the back-channel after a handshake,
with an `InputRequiredResult` in 2026-07-28.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

NAME = "everything"
VERSION = "1"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
STATE_KEY = b"the same in every process, or a round begun on one node would end on no other"
"""Seals `requestState`. A server that runs in several processes has to share it: the default is a key of each its own.
"""

CHANGES = InMemorySubscriptionBus()
TRIGGERED: dict[str, int] = {"tools": 0, "prompts": 0}
"""How often each list was changed; an odd number means that it has one more entry."""


# What the client is asked for, and the answers.


class Needed(Exception):
    """Answers are missing; the client has to give them and call again."""

    def __init__(self, requests: Mapping[str, types.InputRequest], state: str | None) -> None:
        self.result = types.InputRequiredResult(input_requests=dict(requests), request_state=state)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a tool or a prompt, and the way back to who sent it."""

    context: ServerRequestContext[Any, Any]
    arguments: Mapping[str, Any]
    answers: Mapping[str, Any]
    state: str | None

    @classmethod
    def of(
        cls, context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams | types.GetPromptRequestParams
    ) -> "Asked":
        return cls(context, params.arguments or {}, params.input_responses or {}, params.request_state)

    @property
    def modern(self) -> bool:
        return self.context.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def able(self) -> types.ClientCapabilities:
        """What the client says it can do."""
        return self.context.session.client_capabilities or types.ClientCapabilities()

    async def ask(self, requests: Mapping[str, types.InputRequest], *, state: str | None = None) -> dict[str, Any]:
        """Return the client's answers by key; raise `Needed` if it has to come back with them."""
        if self.modern:
            if not requests.keys() <= self.answers.keys():
                raise Needed(requests, state)
            return {key: self.answers[key] for key in requests}
        return {key: await self._ask_back(request) for key, request in requests.items()}

    async def _ask_back(self, request: types.InputRequest) -> Any:
        kind = {
            "elicitation/create": types.ElicitResult,
            "sampling/createMessage": types.CreateMessageResult,
            "roots/list": types.ListRootsResult,
        }[request.method]
        here = ServerMessageMetadata(related_request_id=self.context.request_id)
        return await self.context.session.send_request(request, kind, metadata=here)

    async def notify(self, notification: types.ServerNotification) -> None:
        await self.context.session.send_notification(notification, related_request_id=self.context.request_id)

    async def log(self, text: str) -> None:
        """Log at the level `info`; in 2026-07-28 only a request that asks for it is told."""
        level = (self.context.meta or {}).get("io.modelcontextprotocol/logLevel")
        if self.modern and level not in ("debug", "info"):
            return
        params = types.LoggingMessageNotificationParams(level="info", data=text)
        await self.notify(types.LoggingMessageNotification(params=params))


def elicitation(message: str, required: tuple[str, ...] = (), **properties: dict[str, Any]) -> types.ElicitRequest:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(prompt: str, *, max_tokens: int = 100) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=text(prompt))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def elicited(answer: types.ElicitResult) -> str:
    """Return an answer in words: whether it was given, and what."""
    return f"action={answer.action}, content={json.dumps(answer.content or {})}"


NAME_ASKED = elicitation("What is your name?", ("name",), name={"type": "string"})
CONFIRMATION = elicitation("Please confirm", ("ok",), ok={"type": "boolean"})


# Contents.


def text(words: str) -> types.TextContent:
    return types.TextContent(text=words)


def image() -> types.ImageContent:
    return types.ImageContent(data=PNG, mime_type="image/png")


def embedded(uri: str, mime_type: str, words: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=words))


# Tools.

Given = str | list[types.ContentBlock] | types.CallToolResult
Run = Callable[[Asked], Awaitable[Given]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A tool as it is listed, and what it does."""

    listed: types.Tool
    run: Run


TOOLS: dict[str, Entry] = {}


def tool(
    *, task: str | None = None, mode: str | None = None, schema: dict[str, Any] | None = None, **properties: str
) -> Callable[[Run], Run]:
    """List a tool; `properties` are its arguments with their types, all of them required.

    `task` is what it says of tasks to clients of 2025-11-25; `mode` is what it says to semel, for those of 2026-07-28.
    """
    listed: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": each} for name, each in properties.items()},
    }
    if properties:
        listed["required"] = list(properties)

    def add(run: Run) -> Run:
        name = run.__name__
        TOOLS[name] = Entry(
            types.Tool(
                name=name,
                description=(run.__doc__ or "").partition("\n")[0],
                input_schema=schema or listed,
                execution=types.ToolExecution(task_support=task) if task else None,
                meta={"dev.semel/task": mode} if mode else None,
            ),
            run,
        )
        return run

    return add


@tool()
async def test_simple_text(asked: Asked) -> Given:
    """Return a text."""
    return "This is a simple text response for testing."


@tool()
async def test_image_content(asked: Asked) -> Given:
    """Return an image."""
    return [image()]


@tool()
async def test_audio_content(asked: Asked) -> Given:
    """Return a sound."""
    return [types.AudioContent(data=WAV, mime_type="audio/wav")]


@tool()
async def test_embedded_resource(asked: Asked) -> Given:
    """Return a resource in the result."""
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@tool()
async def test_multiple_content_types(asked: Asked) -> Given:
    """Return a text, an image and a resource."""
    return [
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


@tool()
async def test_tool_with_logging(asked: Asked) -> Given:
    """Log three times while it runs."""
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await asked.log(words)
        await asyncio.sleep(0.05)
    return "Logged three times"


@tool()
async def test_logging_tool(asked: Asked) -> Given:
    """Log once."""
    await asked.log("Logging tool at work")
    return "Logged once"


@tool()
async def test_tool_with_progress(asked: Asked) -> Given:
    """Report progress three times if it is asked for."""
    token = (asked.context.meta or {}).get("progress_token")
    for done in (0, 50, 100):
        if token is not None:
            params = types.ProgressNotificationParams(
                progress_token=token, progress=done, total=100, message=f"Completed step {done} of 100"
            )
            await asked.notify(types.ProgressNotification(params=params))
        await asyncio.sleep(0.05)
    return "Reported progress"


@tool()
async def test_error_handling(asked: Asked) -> Given:
    """Fail."""
    return types.CallToolResult(content=[text("This tool intentionally returns an error for testing")], is_error=True)


@tool()
async def test_reconnection(asked: Asked) -> Given:
    """Close the response's stream in the middle, if the transport can, and return a text to who comes back."""
    if asked.context.close_sse_stream is not None:
        await asked.context.close_sse_stream()
    await asyncio.sleep(0.2)
    return "Came back"


@tool(prompt="string")
async def test_sampling(asked: Asked) -> Given:
    """Ask the client's model."""
    answers = await asked.ask({"answer": sampling(asked.arguments["prompt"])})
    return f"LLM response: {answers['answer'].content.text}"


@tool(message="string")
async def test_elicitation(asked: Asked) -> Given:
    """Ask the user."""
    properties = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    asking = elicitation(asked.arguments["message"], ("username", "email"), **properties)
    answers = await asked.ask({"answer": asking})
    return f"User response: {elicited(answers['answer'])}"


@tool()
async def test_elicitation_sep1034_defaults(asked: Asked) -> Given:
    """Ask the user with a default of each type."""
    properties: dict[str, dict[str, Any]] = {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verification status", "default": True},
    }
    answers = await asked.ask({"answer": elicitation("Please review the form", **properties)})
    return f"Elicitation completed: {elicited(answers['answer'])}"


@tool()
async def test_elicitation_sep1330_enums(asked: Asked) -> Given:
    """Ask the user to choose, in each of the five ways."""
    titled = [{"const": f"value{number}", "title": f"Choice {number}"} for number in (1, 2, 3)]
    options = ["option1", "option2", "option3"]
    properties: dict[str, dict[str, Any]] = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    answers = await asked.ask({"answer": elicitation("Please choose", **properties)})
    return f"Elicitation completed: {elicited(answers['answer'])}"


@tool(
    schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }
)
async def json_schema_2020_12_tool(asked: Asked) -> Given:
    """Have a schema that uses much of JSON Schema 2020-12."""
    return json.dumps(dict(asked.arguments), sort_keys=True)


@tool(
    schema={
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "query": {"type": "string"}},
        "required": ["region"],
    }
)
async def test_x_mcp_header(asked: Asked) -> Given:
    """Have an argument that is also a header."""
    return f"Looked in {asked.arguments['region']}"


@tool()
async def test_missing_capability(asked: Asked) -> Given:
    """Refuse a client that cannot sample."""
    if asked.able.sampling is None:
        data = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool needs sampling", data)
    return "The client can sample"


@tool()
async def test_trigger_tool_change(asked: Asked) -> Given:
    """Change the list of tools."""
    TRIGGERED["tools"] += 1
    await changed(asked, ToolsListChanged(), types.ToolListChangedNotification())
    return "The tools have changed"


@tool()
async def test_trigger_prompt_change(asked: Asked) -> Given:
    """Change the list of prompts."""
    TRIGGERED["prompts"] += 1
    await changed(asked, PromptsListChanged(), types.PromptListChangedNotification())
    return "The prompts have changed"


async def changed(asked: Asked, event: ServerEvent, notification: types.ServerNotification) -> None:
    """Tell of a change: to all who listen, and on the connection if that is of an era without listening."""
    await CHANGES.publish(event)
    if not asked.modern:
        await asked.context.session.send_notification(notification)


# Tools that take several rounds in 2026-07-28.


@tool()
async def test_streaming_elicitation(asked: Asked) -> Given:
    """Ask for a name."""
    return await test_input_required_result_elicitation(asked)


@tool()
async def test_input_required_result_elicitation(asked: Asked) -> Given:
    """Ask for a name."""
    answers = await asked.ask({"user_name": NAME_ASKED})
    return f"Hello, {answers['user_name'].content['name']}!"


@tool()
async def test_input_required_result_sampling(asked: Asked) -> Given:
    """Ask the client's model for a capital."""
    answers = await asked.ask({"capital_question": sampling("What is the capital of France?")})
    return str(answers["capital_question"].content.text)


@tool()
async def test_input_required_result_list_roots(asked: Asked) -> Given:
    """Ask for the client's roots."""
    answers = await asked.ask({"client_roots": types.ListRootsRequest()})
    return ", ".join(str(root.uri) for root in answers["client_roots"].roots)


@tool()
async def test_input_required_result_request_state(asked: Asked) -> Given:
    """Ask to confirm, and look whether its state came back."""
    await asked.ask({"confirm": CONFIRMATION}, state="asked to confirm")
    return "state-ok" if asked.state == "asked to confirm" or not asked.modern else "state lost"


@tool()
async def test_input_required_result_multiple_inputs(asked: Asked) -> Given:
    """Ask for three things at once."""
    requests: dict[str, types.InputRequest] = {
        "user_name": NAME_ASKED,
        "greeting": sampling("Generate a greeting", max_tokens=50),
        "client_roots": types.ListRootsRequest(),
    }
    answers = await asked.ask(requests, state="asked for three")
    return f"{answers['greeting'].content.text} {answers['user_name'].content['name']}"


@tool()
async def test_input_required_result_multi_round(asked: Asked) -> Given:
    """Ask twice; what was answered first is in the state."""
    first = {"step1": elicitation("Step 1: What is your name?", ("name",), name={"type": "string"})}
    second = {"step2": elicitation("Step 2: What is your favorite color?", ("color",), color={"type": "string"})}
    name = asked.state
    if name in (None, "nothing yet"):
        name = (await asked.ask(first, state="nothing yet"))["step1"].content["name"]
    color = (await asked.ask(second, state=name))["step2"].content["color"]
    return f"{name} likes {color}"


@tool()
async def test_input_required_result_tampered_state(asked: Asked) -> Given:
    """Ask to confirm, with a state that nobody may change."""
    await asked.ask({"confirm": CONFIRMATION}, state="not to be changed")
    return "Confirmed"


@tool()
async def test_input_required_result_capabilities(asked: Asked) -> Given:
    """Ask for what the client says it can do, and nothing else."""
    requests: dict[str, types.InputRequest] = {}
    if asked.able.elicitation is not None:
        requests["user_name"] = NAME_ASKED
    if asked.able.sampling is not None:
        requests["greeting"] = sampling("Generate a greeting", max_tokens=50)
    if not requests:
        return "The client can do nothing"
    answers = await asked.ask(requests)
    return f"Answered: {', '.join(answers)}"


# Tools for tasks. To a server without tasks they are as any other.


@tool(name="string")
async def greet(asked: Asked) -> Given:
    """Greet, at once."""
    return f"Hello, {asked.arguments['name']}!"


@tool(
    task="optional",
    mode="always",
    schema={
        "type": "object",
        "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
        "required": ["seconds"],
    },
)
async def slow_compute(asked: Asked) -> Given:
    """Take some seconds."""
    await asyncio.sleep(asked.arguments["seconds"])
    return f"Computed {asked.arguments.get('label', 'it')}"


@tool(task="required", mode="required")
async def failing_job(asked: Asked) -> Given:
    """Fail as a tool does, after a second."""
    await asyncio.sleep(1)
    return types.CallToolResult(content=[text("The job has failed")], is_error=True)


@tool(task="optional", mode="always")
async def protocol_error_job(asked: Asked) -> Given:
    """Fail as a request does."""
    raise MCPError(types.INTERNAL_ERROR, "the job broke off")


@tool(task="optional", mode="always", schema={"type": "object", "properties": {"filename": {"type": "string"}}})
async def confirm_delete(asked: Asked) -> Given:
    """Ask to confirm; as a task, after the task was made.

    Where tools are listed by name it is the first, and some scenarios call the first without arguments.
    """
    name = asked.arguments.get("filename", "all")
    answers = await asked.ask({"confirm": elicitation(f"Delete {name}?", ("confirm",), confirm={"type": "boolean"})})
    return f"Deleted {name}" if (answers["confirm"].content or {}).get("confirm") else f"Kept {name}"


@tool(task="optional", mode="always")
async def multi_input(asked: Asked) -> Given:
    """Ask for two things that are answered one by one; as a task, after the task was made."""
    answers = await asked.ask({"first": NAME_ASKED, "second": NAME_ASKED})
    return ", ".join(str((answer.content or {}).get("name")) for answer in answers.values())


@tool(task="optional", mode="auto")
async def test_tool_with_task(asked: Asked) -> Given:
    """Ask for a name before the task is made, and then take so long that one is."""
    answers = await asked.ask({"user_name": NAME_ASKED}, state="asked for a name")
    await asyncio.sleep(3)
    return f"Hello, {answers['user_name'].content['name']}!"


async def list_tools(
    context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    tools = [entry.listed for entry in TOOLS.values()]
    if TRIGGERED["tools"] % 2:
        tools.append(TOOLS["greet"].listed.model_copy(update={"name": "greet_again"}))
    return types.ListToolsResult(tools=tools)


async def call_tool(
    context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    entry = TOOLS.get("greet" if params.name == "greet_again" else params.name)
    if entry is None:
        raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}")
    try:
        given = await entry.run(Asked.of(context, params))
    except Needed as needed:
        return needed.result
    if isinstance(given, str):
        given = [text(given)]
    return types.CallToolResult(content=given) if isinstance(given, list) else given


# Resources.

RESOURCES = {
    "test://static-text": types.TextResourceContents(
        uri="test://static-text", mime_type="text/plain", text="This is the content of the static text resource."
    ),
    "test://static-binary": types.BlobResourceContents(uri="test://static-binary", mime_type="image/png", blob=PNG),
    "test://watched-resource": types.TextResourceContents(
        uri="test://watched-resource", mime_type="text/plain", text="Watched resource content"
    ),
}
TEMPLATE = "test://template/{id}/data"


async def list_resources(
    context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
) -> types.ListResourcesResult:
    return types.ListResourcesResult(
        resources=[
            types.Resource(
                uri=uri, name=uri.partition("://")[2], description=f"What {uri} is", mime_type=each.mime_type
            )
            for uri, each in RESOURCES.items()
        ]
    )


async def list_templates(
    context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template=TEMPLATE, name="template", description="Data by its id", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(
    context: ServerRequestContext[Any, Any], params: types.ReadResourceRequestParams
) -> types.ReadResourceResult:
    uri = str(params.uri)
    if (known := RESOURCES.get(uri)) is not None:
        return types.ReadResourceResult(contents=[known])
    before, _, after = TEMPLATE.partition("{id}")
    if uri.startswith(before) and uri.endswith(after) and (found := uri[len(before) : -len(after)]):
        data = json.dumps({"id": found, "templateTest": True, "data": f"Data for ID: {found}"})
        contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=data)
        return types.ReadResourceResult(contents=[contents])
    raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})


async def subscribe(
    context: ServerRequestContext[Any, Any], params: types.SubscribeRequestParams | types.UnsubscribeRequestParams
) -> types.EmptyResult:
    return types.EmptyResult()  # nothing here ever changes


# Prompts.


def said(*contents: types.ContentBlock) -> types.GetPromptResult:
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=each) for each in contents])


async def test_simple_prompt(asked: Asked) -> types.GetPromptResult:
    """Say something simple."""
    return said(text("This is a simple prompt for testing."))


async def test_prompt_with_arguments(asked: Asked) -> types.GetPromptResult:
    """Say its arguments."""
    arg1, arg2 = asked.arguments["arg1"], asked.arguments["arg2"]
    return said(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))


async def test_prompt_with_embedded_resource(asked: Asked) -> types.GetPromptResult:
    """Give a resource and say what to do with it."""
    given = embedded(asked.arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
    return said(given, text("Please process the embedded resource above."))


async def test_prompt_with_image(asked: Asked) -> types.GetPromptResult:
    """Give an image and say what to do with it."""
    return said(image(), text("Please analyze the image above."))


async def test_input_required_result_prompt(asked: Asked) -> types.GetPromptResult:
    """Ask for a context first."""
    asking = elicitation("What context should the prompt use?", ("context",), context={"type": "string"})
    answers = await asked.ask({"user_context": asking})
    return said(text(f"Use this context: {answers['user_context'].content['context']}"))


PROMPTS: dict[Callable[[Asked], Awaitable[types.GetPromptResult]], tuple[str, ...]] = {
    test_simple_prompt: (),
    test_prompt_with_arguments: ("arg1", "arg2"),
    test_prompt_with_embedded_resource: ("resourceUri",),
    test_prompt_with_image: (),
    test_input_required_result_prompt: (),
}


async def list_prompts(
    context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
) -> types.ListPromptsResult:
    prompts = [
        types.Prompt(
            name=prompt.__name__,
            description=prompt.__doc__,
            arguments=[types.PromptArgument(name=name, description=name, required=True) for name in arguments] or None,
        )
        for prompt, arguments in PROMPTS.items()
    ]
    if TRIGGERED["prompts"] % 2:
        prompts.append(types.Prompt(name="test_simple_prompt_again", description="Say it again."))
    return types.ListPromptsResult(prompts=prompts)


async def get_prompt(
    context: ServerRequestContext[Any, Any], params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    name = params.name.removesuffix("_again")
    prompt = next((each for each in PROMPTS if each.__name__ == name), None)
    if prompt is None:
        raise MCPError(types.INVALID_PARAMS, f"there is no prompt {params.name!r}")
    missing = set(PROMPTS[prompt]) - (params.arguments or {}).keys()
    if missing:
        raise MCPError(types.INVALID_PARAMS, f"missing: {', '.join(sorted(missing))}")
    try:
        return await prompt(Asked.of(context, params))
    except Needed as needed:
        return needed.result


# The rest.


async def complete(
    context: ServerRequestContext[Any, Any], params: types.CompleteRequestParams
) -> types.CompleteResult:
    values = [word for word in ("paris", "park", "party", "test", "testing") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


async def set_level(context: ServerRequestContext[Any, Any], params: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()  # all that is logged here is worth telling


def build() -> Server[Any]:
    """Return the server with all of it."""
    cached = CacheHint(ttl_ms=60_000, scope="public")
    built: Server[Any] = Server(
        NAME,
        version=VERSION,
        cache_hints={
            "tools/list": cached,
            "prompts/list": cached,
            "resources/list": cached,
            "resources/templates/list": cached,
            "resources/read": CacheHint(ttl_ms=5_000, scope="private"),
        },
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=subscribe,
        on_subscriptions_listen=ListenHandler(CHANGES),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
    )
    built.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
    built.middleware.append(RequestStateBoundary(RequestStateSecurity(keys=[STATE_KEY]), default_audience=NAME))
    return built


server = build()


async def over_stdio() -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        # httptools, which uvicorn takes where it is, leaves the blanks around a header's value; semel takes them off.
        app = server.streamable_http_app()
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", http="h11")
    else:
        asyncio.run(over_stdio())
