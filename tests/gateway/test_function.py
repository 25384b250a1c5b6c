"""A marked function ends the same, whether it is called as it is or through the server that the SDK makes of it."""

import enum
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from mcp import MCPError, types
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

import semel
from semel.core.limits import Limits
from semel.gateway.asker import Asker
from semel.gateway.results import ended
from semel.gateway.upstreams.connection import Connection
from semel.gateway.upstreams.courier import Errand
from semel.gateway.upstreams.objects import serve_functions

pytestmark = pytest.mark.anyio


class Point(BaseModel):
    """A model with an alias, a default and a type that JSON does not have."""

    x: int = Field(alias="ex")
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


class Further(Point):
    """What a function may return that promised less."""

    y: int = 2


class Typed(TypedDict, total=False):
    """An object of JSON's."""

    a: int
    b: str | None


@dataclass
class Data:
    """A dataclass."""

    a: int
    b: list[int]


class Colour(enum.StrEnum):
    """A string that is more."""

    RED = "red"


class Text(str):
    """A string that is more, too."""

    __slots__ = ()


VALUES: list[tuple[Any, Any]] = [
    (int, 3),
    (int, True),
    (int, "4"),
    (int, "x"),
    (int, 2**70),
    (bool, False),
    (float, 3),
    (float, 1e300),
    (float, 0.1),
    (float, float("nan")),
    (float, float("inf")),
    (str, "é\n\0"),
    (str, "half \udc80"),
    (str, ""),
    (str, Text("text")),
    (str, 7),
    (str | None, None),
    (None, None),
    (dict, {"a": [1, {"b": None}], "c": 1.5, "d": float("nan")}),
    (dict[str, int], {"a": 1, "b": "2"}),
    (dict[str, int], {"a": "x"}),
    (dict[int, str], {1: "a"}),
    (dict[str, Any], {"a": datetime(2026, 1, 1, tzinfo=UTC), "b": b"\xff", "c": {1, 2}}),
    (dict[str, Any], {}),
    (list[int], [1, 2, "3"]),
    (list, [1, "a", None, {"b": 2}]),
    (tuple[int, str], (1, "a")),
    (Any, {"a": 1}),
    (Any, object()),
    (Literal["a", "b"], "a"),
    (Literal["a", "b"], "c"),
    (Colour, Colour.RED),
    (Point, Point(ex=1)),
    (Point, Further(ex=1)),
    (Point, {"ex": 5}),
    (Point, {"x": 5}),
    (list[Point], [Point(ex=1), {"ex": 2}]),
    (Typed, {"a": 1, "b": None}),
    (Typed, {"a": "x"}),
    (Data, Data(1, [2])),
    (Data, {"a": 1, "b": [2]}),
    (Annotated[int, Field(ge=5)], 4),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC)),
    (bytes, b"\xff"),
    (types.TextContent, types.TextContent(type="text", text="x")),
    (Image, Image(data=b"x", format="png")),
    (list[Any], ["a", types.TextContent(type="text", text="x"), Image(data=b"x", format="png")]),
    (types.CallToolResult, types.CallToolResult(content=[], is_error=True, _meta={"a": 1})),
    (Annotated[types.CallToolResult, Point], types.CallToolResult(content=[], structured_content={"ex": 1})),
    (Annotated[types.CallToolResult, Point], types.CallToolResult(content=[], structured_content={"ey": 1})),
    ("none is said", 3),
    ("none is said", {"a": 1}),
]


async def both(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Return what is kept of a call of the function itself, and of one through the server."""
    place = serve_functions([semel.tool(name="it")(function)], name="here", place="here")

    async def end(way: Awaitable[dict[str, Any]]) -> Any:
        try:
            done = ended("it", await way, Limits())
            return done.status, msgspec.json.decode(done.result)
        except MCPError as error:
            return error.error.model_dump()

    async with Connection("here", place, on_lost=lambda: None, on_event=lambda _kind, _uri: None) as server:
        params = {"name": "it", "arguments": arguments}
        long = await end(server.send("tools/call", params, Asker(), Errand()))
    return await end(place.functions["it"](arguments)), long


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[f"{at}: {kind}" for at, (kind, _) in enumerate(VALUES)])
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_what_it_gives_becomes_the_same_result(kind: Any, value: Any, is_async: bool) -> None:
    """Whatever it promised."""

    def gives() -> Any:
        return value

    async def gives_async() -> Any:
        return value

    function: Callable[..., Any] = gives_async if is_async else gives
    function.__annotations__ = {} if kind == "none is said" else {"return": kind}
    straight, long = await both(function, {})
    assert straight == long


def takes(a: int, point: Point | None = None, words: list[str] | None = None, text: str = "t") -> str:
    """Take some."""
    return repr((a, point, words, text))


@pytest.mark.parametrize(
    "arguments",
    [
        {"a": 1},
        {"a": "1"},
        {"a": None},
        {},
        {"a": 1, "more": 2},
        {"a": 1, "point": {"ex": 1}},
        {"a": 1, "point": '{"ex": 1}'},
        {"a": 1, "point": {"ey": 1}},
        {"a": 1, "words": '["a", "b"]'},
        {"a": 1, "words": "[1"},
        {"a": 1, "text": '{"x": 1}'},
    ],
)
async def test_it_gets_the_same_arguments(arguments: dict[str, Any]) -> None:
    """Those of the wrong form, too, and those that are JSON within JSON."""
    straight, long = await both(takes, arguments)
    assert straight == long


@pytest.mark.parametrize(
    "error", [ValueError("é"), ToolError("told"), MCPError(-32001, "here", {"x": 1}), KeyError("x"), OSError(2, "gone")]
)
async def test_it_fails_the_same(error: Exception) -> None:
    """With whatever it raises."""

    async def fails() -> None:
        raise error

    straight, long = await both(fails, {})
    assert straight == long


@pytest.mark.parametrize("error", [None, ValueError("é"), MCPError(-32001, "here", None)])
async def test_a_wrapper_that_does_not_say_that_it_is_async_is_awaited(error: Exception | None) -> None:
    """Else nothing would be run, and the outcome would be that it was."""

    async def waits(a: int) -> int:
        if error is not None:
            raise error
        return a

    @functools.wraps(waits)
    def wrapper(**given: Any) -> Any:
        return waits(**given)

    straight, long = await both(wrapper, {"a": 3})
    async_straight, _ = await both(waits, {"a": 3})
    assert straight == long == async_straight


async def test_one_that_wants_the_request_is_called_through_the_server() -> None:
    """It needs the SDK's context."""

    @semel.tool
    async def tells(context: Context) -> str:
        return str(context.request_id)

    assert not serve_functions([tells], name="here", place="here").functions
