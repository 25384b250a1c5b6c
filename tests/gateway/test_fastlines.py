"""The short way of plain calls on stdin: whatever lines come, it says and asks the same as the SDK's own transport."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

import semel.gateway.tracing
from semel.core.call import Status
from semel.errors import SemelError
from semel.gateway.doors.fastlines import Arriving
from semel.gateway.doors.plaincall import BODY_BYTES_MAX
from semel.node.backend import Reply

from .corpus import DEEP_TEXTS, ENVELOPE, TOOLS, requests
from .fakes import FakeBackend
from .pipes import PATIENCE_S, Way, serve_stdio, two_ways, until, way
from .test_fastpath import ERRORS, RESULTS, WANTS_MORE

pytestmark = pytest.mark.anyio

SEED = 20261125
EACH = 2500
AT_ONCE = 20
ASKABLE = (b"roots", b"sampling", b"elicitation")
CONNECTIONS = 60
SCENES = 40


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ids of the calls that took the short way."""
    ids: list[Any] = []
    begin = Arriving._begin

    def note(self: Arriving, call: Any) -> None:
        ids.append(call.id)
        begin(self, call)

    monkeypatch.setattr(Arriving, "_begin", note)
    return ids


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semel.gateway.doors.asked.secrets.token_hex", lambda _=None: "made")


def line(request_id: Any, method: str = "tools/call", /, modern: bool = True, **params: Any) -> bytes:
    """Return a request; of `tools/call`, for `add` under a key."""
    if method == "tools/call":
        params = {"name": "add", "arguments": {"a": 1, "b": 2}, **params}
    if modern:
        params["_meta"] = {**ENVELOPE, **params.get("_meta", {})}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode()


def notice(method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


def shown(heard: Any) -> str:
    return json.dumps(heard, sort_keys=True, indent=1)


async def compare(short: Way, long: Way, *lines: bytes, about: object = "") -> list[Any]:
    """Say lines on both ways; want the same answers, in any order, and the same asked of the node."""
    one, other = [sorted(heard, key=shown) for heard in (await short.ask(*lines), await long.ask(*lines))]
    assert shown(one) == shown(other), f"{about} {lines!r}"
    assert repr(short.backend.asked) == repr(long.backend.asked), f"{about} {lines!r}"
    short.backend.asked.clear()
    long.backend.asked.clear()
    return one


def plain(**given: Any) -> FakeBackend:
    return FakeBackend(shown=TOOLS, **given)


def readable(seed: int) -> list[bytes]:
    """Return lines that both ways can read: what is nested more deeply than the SDK reads has a test of its own."""
    deep = [text.encode() for text in DEEP_TEXTS]
    lines = [b"".join(request.pieces) for request in requests(seed, EACH)]
    return [line for line in lines if not any(text in line for text in deep)]


async def test_thousands_of_lines_get_the_same_answers_on_both_ways(taken: list[Any]) -> None:
    async with two_ways(plain) as (short, long):
        for number, request in enumerate(readable(SEED)):
            await compare(short, long, request, about=number)
    assert 0.4 * EACH < len(taken) < 0.9 * EACH, len(taken)


async def test_lines_that_come_at_once_get_the_same_answers_on_both_ways(taken: list[Any]) -> None:
    # All of a client that cannot be asked: calls of one that can are begun a little later, by either way.
    lines = [each for each in readable(SEED + 1) if not any(name in each for name in ASKABLE)]
    # On a connection of their own: some ids are in flight twice, which ends it.
    for begin in range(0, len(lines), AT_ONCE):
        async with two_ways(plain) as (short, long):
            await compare(short, long, line("opens"), *lines[begin : begin + AT_ONCE], about=begin)
    assert 0.1 * EACH < len(taken) < 0.9 * EACH, len(taken)


async def test_a_call_that_is_nested_too_deeply_for_the_sdk_is_answered_where_the_sdk_says_nothing() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    async with two_ways(plain) as (short, long):
        await compare(short, long, line("opens"))
        too_deep = line(1, arguments={"b": deep})
        assert await long.ask(too_deep) == []
        assert [answer["id"] for answer in await short.ask(too_deep)] == [1]


def opening(dice: random.Random, number: int) -> bytes:
    """Return one of the lines with which connections begin, of either era and of none."""
    handshake = {"protocolVersion": dice.choice(["2025-11-25", "2026-07-28", "1"]), "capabilities": {}}
    handshake["clientInfo"] = {"name": "x", "version": "1"}
    modern = dice.random() < 0.5
    odd: Any = {"io.modelcontextprotocol/protocolVersion": dice.choice(["2025-11-25", "2026-07-28", None])}
    return dice.choice(
        [
            *[line(number)] * 3,
            line(number, modern=False),
            line(number, _meta={"progressToken": number}),
            json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"_meta": odd}}).encode(),
            line(number, "initialize", modern=False, **handshake),
            line(number, "initialize", **handshake),
            line(number, "tools/list", modern=modern),
            line(number, "ping", modern=modern),
            line(number, "server/discover"),
            notice("notifications/initialized"),
            notice("notifications/cancelled", requestId=dice.choice([1000, None])),
            *(b"", b"{}", b"[]", b"x", b"\xff", b'{"jsonrpc":"2.0","id":1,"result":{}}'),
        ]
    )


async def test_the_first_request_fixes_the_era_on_both_ways(taken: list[Any]) -> None:
    dice = random.Random(SEED)
    for connection in range(CONNECTIONS):
        async with two_ways(plain) as (short, long):
            lines = [opening(dice, number) for number in range(dice.randrange(1, 14))]
            await compare(short, long, *lines, about=connection)
            await compare(short, long, *(line(f"again-{number}") for number in range(3)), about=connection)
    assert 30 < len(taken) < 6 * CONNECTIONS


async def test_a_connection_of_a_handshake_gets_no_modern_answers(taken: list[Any]) -> None:
    begins = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    async with two_ways(plain) as (short, long):
        [first] = await compare(short, long, line(1, "initialize", modern=False, **begins))
        [refused] = await compare(short, long, line(2))
    assert first["result"]["protocolVersion"] == "2025-11-25"
    assert refused["error"]["code"] == -32600
    assert not taken


WHOLE = [result for result in RESULTS if "\\ud8" not in json.dumps(result)]
"""The SDK's writer, and with it the server, ends at half a character."""


@pytest.mark.parametrize("result", WHOLE, ids=range(len(WHOLE)))
async def test_whatever_a_tool_gave_is_told_alike(taken: list[Any], result: dict[str, Any]) -> None:
    async with two_ways(lambda: plain(result=result)) as (short, long):
        await compare(short, long, line(0), line(1))
    assert taken == [1]


async def test_half_a_character_in_a_result_is_told() -> None:
    result = {"content": [{"type": "text", "text": "\ud83d"}], "resultType": "complete"}
    async with way(serve_stdio, plain(result=result)) as short:
        await short.ask(line(0))
        [answer] = await short.ask(line(1))
    assert answer["result"]["content"] == result["content"]


ALL_ERRORS = [*ERRORS, ValueError("x")]


@pytest.mark.parametrize("error", ALL_ERRORS, ids=lambda error: type(error).__name__)
async def test_errors_and_tickets_are_told_alike(taken: list[Any], error: SemelError) -> None:
    async with two_ways(lambda: plain(error=error)) as (short, long):
        await compare(short, long, *(b"".join(request.pieces) for request in requests(SEED, 40)))
    assert taken


async def test_a_call_in_doubt_is_told_alike(taken: list[Any]) -> None:
    async with two_ways(lambda: plain(status=Status.IN_DOUBT)) as (short, long):
        await compare(short, long, line(0), line(1))
    assert taken == [1]


@pytest.mark.parametrize("wants", WANTS_MORE, ids=lambda wants: next(iter(wants)))
async def test_who_wants_more_than_an_answer_takes_the_long_way(taken: list[Any], wants: dict[str, Any]) -> None:
    async with two_ways(plain) as (short, long):
        await compare(short, long, line(0), line(1, _meta=wants), line(2, requestState="x"), line(3))
    assert taken == [3]


async def test_where_there_is_tracing_all_takes_the_long_way(taken: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semel.gateway.tracing, "_TRACING", "sys")
    async with two_ways(plain) as (short, long):
        await compare(short, long, line(0), line(1))
    assert not taken


async def test_long_lines_are_answered_whole(taken: list[Any]) -> None:
    async with two_ways(plain) as (short, long):
        await compare(short, long, line(0))
        for size in (BODY_BYTES_MAX // 2, 3 * BODY_BYTES_MAX):
            await compare(short, long, line(size, arguments={"a": 1, "text": "x" * size}))
    assert taken == [BODY_BYTES_MAX // 2]


# What is under way.


@dataclass
class Holding(FakeBackend):
    """Holds each call until it is let go, and notes what becomes of it."""

    ends: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shown = TOOLS
        self.asides.cancel = lambda call: self.ends.append(f"{call.key} unwanted")  # type: ignore[method-assign]

    async def call(self, *given: Any, key: str | None, **more: Any) -> Reply:
        assert key is not None
        self.waiting[key] = asyncio.get_running_loop().create_future()
        try:
            await self.waiting[key]
            return await super().call(*given, key=key, **more)
        except asyncio.CancelledError:
            self.ends.append(f"{key} cancelled")
            raise
        finally:
            del self.waiting[key]


def keyed(request_id: Any, key: str, **also: Any) -> bytes:
    return line(request_id, _meta={"dev.semel/idempotency-key": key, **also})


class Scene:
    """Both ways through one course of events."""

    def __init__(self, short: Way, long: Way) -> None:
        self.ways = (short, long)
        self.backends: list[Any] = [short.backend, long.backend]
        self.course: list[str] = []

    async def call(self, request_id: Any, key: str, **also: Any) -> None:
        self.course.append(f"call {request_id!r} {key} {also}")
        for each in self.ways:
            await each.say(keyed(request_id, key, **also))
        await until(lambda: all(key in backend.waiting for backend in self.backends), self.course)

    async def cancel(self, request_id: Any) -> None:
        self.course.append(f"cancel {request_id!r}")
        await compare(*self.ways, notice("notifications/cancelled", requestId=request_id), about=self.course)
        await self.same_ends()

    async def let_go(self, key: str) -> None:
        self.course.append(f"let go {key}")
        for backend in self.backends:
            backend.waiting[key].set_result(None)
        await until(lambda: not any(key in backend.waiting for backend in self.backends), self.course)
        await compare(*self.ways, about=self.course)

    async def same_ends(self) -> None:
        def same() -> bool:
            one, other = self.backends
            return bool(sorted(one.ends) == sorted(other.ends) and one.waiting.keys() == other.waiting.keys())

        await until(same, (self.course, [(each.ends, [*each.waiting]) for each in self.backends]))

    async def end(self) -> list[Any]:
        """End both; what is said at the end comes in any order."""
        one, other = [sorted(await each.end(), key=shown) for each in self.ways]
        assert shown(one) == shown(other), self.course
        await self.same_ends()
        return one


async def test_a_cancelled_call_is_given_up_and_not_answered(taken: list[Any]) -> None:
    async with two_ways(Holding) as ways:
        scene = Scene(*ways)
        await scene.call(0, "opens", progressToken=1)
        await scene.call(1, "given-up")
        await scene.call("2", "kept")
        await scene.cancel("1")
        assert sorted(scene.backends[0].ends) == ["given-up cancelled", "given-up unwanted"]
        await scene.let_go("kept")
        said = await scene.end()
    assert [answer["id"] for answer in said] == [0]
    assert taken == [1, "2"]


async def test_a_call_that_is_cancelled_at_once_was_begun(taken: list[Any]) -> None:
    async with two_ways(Holding) as ways:
        await compare(*ways, line("opens", "tools/list"))
        scene = Scene(*ways)
        await compare(*ways, keyed(1, "given-up"), notice("notifications/cancelled", requestId=1))
        await scene.same_ends()
        assert sorted(scene.backends[0].ends) == ["given-up cancelled", "given-up unwanted"]
        refused = line(2, _meta={"dev.semel/idempotency-key": 1})  # is known at once, and told before it is cancelled
        [told] = await compare(*ways, refused, notice("notifications/cancelled", requestId=2))
        assert told["id"] == 2
        assert await scene.end() == []
    assert taken == [1, 2]


async def test_who_reuses_the_id_of_a_request_under_way_takes_the_long_way(taken: list[Any]) -> None:
    async with two_ways(Holding) as ways:
        scene = Scene(*ways)
        await scene.call(1, "first")
        await scene.call(1, "second", progressToken=1)
        await scene.let_go("first")
        await scene.call(1, "third")
        await scene.cancel(1)
        assert sorted(scene.backends[0].waiting) == ["second"]
        await scene.end()
    assert not taken


async def test_calls_that_the_end_cuts_off_are_told_so(taken: list[Any]) -> None:
    async with two_ways(Holding) as ways:
        scene = Scene(*ways)
        for number in range(4):
            await scene.call(number, f"k{number}")
        said = await scene.end()
    assert [(answer["id"], answer["error"]["code"]) for answer in said] == [(number, -32000) for number in range(4)]
    assert taken == [1, 2, 3]


async def test_a_call_that_its_node_gives_up_is_told_so(taken: list[Any]) -> None:
    async with two_ways(Holding) as ways:
        scene = Scene(*ways)
        await scene.call(0, "opens")
        await scene.call(1, "given-up")
        for each in ways:
            each.backend.waiting["given-up"].cancel()
            assert (await each.hear())["error"] == {"code": -32000, "message": "Connection closed"}
        await scene.end()
    assert taken == [1]


async def test_answers_come_in_the_order_in_which_calls_end(taken: list[Any]) -> None:
    async with two_ways(Holding) as ways:
        scene = Scene(*ways)
        for number in range(6):
            await scene.call(number, f"k{number}", **({} if number % 2 else {"progressToken": number}))
        for each in ways:
            for number in (3, 0, 1, 5, 2, 4):  # by turns of the one way and the other
                each.backend.waiting[f"k{number}"].set_result(None)
                assert (await each.hear())["id"] == number
    assert taken == [1, 3, 5]


async def test_what_a_running_tool_says_is_told_before_its_answer(taken: list[Any]) -> None:
    class Telling(FakeBackend):
        async def call(self, *given: Any, party: Any, **more: Any) -> Reply:
            party.told("notifications/message", {"level": "info", "data": "x"})
            party.told("notifications/progress", {"progressToken": 1, "progress": 1})
            return await super().call(*given, party=party, **more)

    async with two_ways(Telling) as ways:
        for each in ways:
            await each.ask(line(0))
            told, answer = await each.ask(line(1))
            assert told["params"] == {"level": "info", "data": "x"}
            assert answer["id"] == 1
    assert taken == [1]


async def test_a_node_that_stops_tells_those_who_wait(taken: list[Any]) -> None:
    async with way(serve_stdio, Holding()) as short:
        for number in range(3):
            await short.say(keyed(number, f"k{number}"))
            await until(lambda number=number: f"k{number}" in short.backend.waiting, "the call")
        short.serving.cancel()
        said = await short.hear_to_the_end()
        assert short.serving.cancelled()
    assert sorted(each["id"] for each in said if each["error"]["code"] == -32000) == [0, 1, 2]
    assert short.backend.ends == [f"k{number} cancelled" for number in (0, 1, 2)]  # and none is unwanted
    assert taken == [1, 2]


async def test_a_client_that_is_gone_ends_it(taken: list[Any]) -> None:
    async with way(serve_stdio, Holding()) as short:
        for number in range(3):
            await short.say(keyed(number, f"k{number}"))
            await until(lambda number=number: f"k{number}" in short.backend.waiting, "the call")
        short.hears.close()
        short.backend.waiting["k1"].set_result(None)  # whose answer nobody takes
        async with asyncio.timeout(PATIENCE_S):
            await short.serving
    assert sorted(short.backend.ends) == ["k0 cancelled", "k2 cancelled"]
    assert taken == [1, 2]


async def test_a_client_that_takes_no_answers_holds_up_nobody_else(taken: list[Any]) -> None:
    text = "x" * 300_000
    result = {"content": [{"type": "text", "text": text}]}
    async with way(serve_stdio, plain(result=result)) as short:
        await short.say(*(line(number) for number in range(8)))
        await until(lambda: len(short.backend.asked) == 8, "all calls, though no answer was taken")
        heard = [await short.hear() for _ in range(8)]
    assert sorted(each["id"] for each in heard) == [*range(8)]
    assert all(each["result"]["content"] == result["content"] for each in heard)
    assert taken == [*range(1, 8)]


@pytest.mark.parametrize("seed", range(SCENES))
async def test_whatever_is_under_way_is_cancelled_and_answered_alike(seed: int) -> None:
    """In every other scene ids are few, so that several requests in flight have the same, on either way."""
    dice = random.Random(seed)
    few = [1, "1", 2, "2", "x", "opens"]
    async with two_ways(Holding) as ways:
        scene = Scene(*ways)
        await scene.call("opens", "opens")
        for number in range(dice.randrange(3, 16)):
            waiting = [*scene.backends[0].waiting]
            match dice.choice(["call", "call", "call", "cancel", "cancel", "let go"]):
                case "call":
                    wants = {"progressToken": number} if dice.random() < 0.4 else {}
                    await scene.call(dice.choice(few) if seed % 2 else number, f"k{number}", **wants)
                case "cancel":
                    await scene.cancel(dice.choice([*(few if seed % 2 else range(number + 1)), None, True, 1.0]))
                case _ if waiting:
                    await scene.let_go(dice.choice(waiting))
        await scene.end()
