"""What sessions have sent: kept in order, by session and stream, up to a limit, and never another session's."""

from typing import Any

import pytest
from mcp.server.streamable_http import GET_STREAM_KEY, EventMessage
from mcp.types import JSONRPCError, JSONRPCNotification, JSONRPCResponse

from semel.gateway.doors import events
from semel.gateway.doors.events import EVENT_BYTES_MIN, Events, SessionEvents, is_standing

pytestmark = pytest.mark.anyio


def note(text: str = "") -> JSONRPCNotification:
    return JSONRPCNotification(jsonrpc="2.0", method="n", params={"text": text})


def answer(request_id: int, result: Any = None) -> JSONRPCResponse:
    return JSONRPCResponse(jsonrpc="2.0", id=request_id, result=result or {})


async def rest(session: SessionEvents, event_id: str) -> tuple[list[str | None], str | None]:
    sent: list[EventMessage] = []

    async def send(event: EventMessage) -> None:
        sent.append(event)

    stream = await session.replay_events_after(event_id, send)
    return [event.event_id for event in sent], stream


async def test_the_rest_of_a_stream_is_its_own_in_order() -> None:
    session = SessionEvents(Events())
    begun = await session.store_event("7", None)
    other = await session.store_event("8", None)
    first = await session.store_event("7", note())
    await session.store_event("8", note())
    standing = await session.store_event(GET_STREAM_KEY, note())
    second = await session.store_event("7", note())
    assert await rest(session, begun) == ([first, second], "7")
    assert await rest(session, first) == ([second], "7")
    assert await rest(session, second) == ([], "7")
    assert [is_standing(it) for it in (begun, other, standing)] == [False, False, True]
    last = await session.store_event("7", answer(7))
    assert await rest(session, second) == ([last], None)  # there is no more of it


async def test_what_comes_while_the_rest_is_sent_is_sent_too() -> None:
    session = SessionEvents(Events())
    begun = await session.store_event("7", None)
    await session.store_event("7", note())
    sent: list[str | None] = []

    async def send(event: EventMessage) -> None:
        sent.append(event.event_id)
        if len(sent) == 1:
            await session.store_event("7", answer(7))

    assert await session.replay_events_after(begun, send) is None
    assert len(sent) == 2


async def test_a_request_id_that_is_used_again_names_another_stream() -> None:
    session = SessionEvents(Events())
    begun = await session.store_event("7", None)
    first = await session.store_event("7", answer(7))
    again = await session.store_event("7", None)
    second = await session.store_event("7", JSONRPCError(jsonrpc="2.0", id=7, error={"code": 1, "message": "m"}))
    assert await rest(session, begun) == ([first], None)
    assert await rest(session, again) == ([second], None)


@pytest.mark.parametrize(
    "event_id", ["", "1", "1-", "1-2-3", "01-1", "1-01", "-1-1", "2-1", "1-2", "x", "1-1\n", "1-²"]
)
async def test_an_id_that_was_not_given_out_leads_nowhere(event_id: str) -> None:
    session = SessionEvents(Events())
    await session.store_event("7", None)
    assert not session.can_resume(event_id)
    assert await rest(session, event_id) == ([], None)


async def test_the_oldest_go_first_and_a_stream_with_a_gap_is_not_taken_up() -> None:
    kept = Events(kept_bytes_max=EVENT_BYTES_MIN * 5)
    one, two = SessionEvents(kept), SessionEvents(kept)
    begun = await one.store_event("7", None)
    first, second = await one.store_event("7", note()), await one.store_event("7", note())
    for _ in range(3):
        await two.store_event(GET_STREAM_KEY, note())
    assert not one.can_resume(begun)
    assert await rest(one, first) == ([second], "7")
    await two.store_event(GET_STREAM_KEY, note())
    assert not one.can_resume(first)
    assert one.can_resume(second)  # nothing is missing after it
    assert kept.kept_bytes <= EVENT_BYTES_MIN * 5


async def test_what_is_too_large_is_not_kept_and_pushes_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVENT_BYTES_MAX", 10_000)
    session = SessionEvents(Events())
    standing = await session.store_event(GET_STREAM_KEY, note())
    begun = await session.store_event("7", None)
    await session.store_event("7", answer(7, {"content": [{"type": "text", "text": "x" * 10_000}]}))
    assert not session.can_resume(begun)
    assert session.can_resume(standing)


async def test_a_session_that_has_ended_leaves_nothing() -> None:
    kept = Events()
    session = SessionEvents(kept)
    begun = await session.store_event("7", None)
    for _ in range(3):
        await session.store_event("7", note())
        await session.store_event(GET_STREAM_KEY, note())
    session.forget()
    assert (kept.kept_bytes, session.can_resume(begun)) == (0, False)
    await session.store_event("8", note())  # what was under way comes to its end
    assert kept.kept_bytes == 0


async def test_many_short_sessions_beside_a_quiet_one_keep_nothing_of_their_own() -> None:
    kept = Events()
    quiet = SessionEvents(kept)
    begun = await quiet.store_event("7", None)
    await quiet.store_event("7", note())
    for _ in range(1000):
        session = SessionEvents(kept)
        await session.store_event("1", answer(1))
        session.forget()
    assert len(kept._kept) == 1
    assert quiet.can_resume(begun)
