"""Sessions of the handshake eras over HTTP: on the node that keeps them, through any other, and when that is gone."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from mcp import types
from mcp.types import ElicitRequestParams, ElicitResult

from semel.gateway.doors import relaying
from semel.gateway.doors.http import BODY_BYTES_MAX
from semel.node.members import Home
from tests.ports import free_port

from .nodes import HEADERS, INITIALIZE, RoundRobin, answered, call, client, doors, elsewhere, events, raw, said

pytestmark = pytest.mark.anyio

LIMIT_S = 30


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "AGAIN_S", 0.02)
    monkeypatch.setattr(relaying, "SIGN_S", 0.1)


async def answer_name(_context: Any, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada"})


async def test_one_session_is_served_whichever_node_its_requests_come_to() -> None:
    async with doors("n1", "n2", "n3") as nodes:
        turns = RoundRobin(nodes.urls)
        async with asyncio.timeout(LIMIT_S), client(turns) as asking:
            answers = {said(await asking.call_tool("where")) for _ in range(7)}
        assert answers == {"n1"}  # initialize came there
        assert {url for _, url, _ in turns.tried} == set(nodes.urls)
        assert all(status < 400 for _, _, status in turns.tried)
        assert turns.tried[-1][0] == "DELETE"
        assert not any(len(door.sessions) for door in nodes.doors.values())


async def test_a_tool_asks_its_client_and_gets_the_answer_through_other_nodes() -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        doors("n1", "n2", "n3") as nodes,
        client(RoundRobin(nodes.urls), elicitation_callback=answer_name) as asking,
    ):
        for _ in range(4):
            assert said(await asking.call_tool("ask")) == "n1: {'name': 'Ada'}"


async def test_a_client_is_told_that_the_tools_changed_on_a_stream_through_another_node() -> None:
    told = asyncio.Event()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.set()

    async with asyncio.timeout(LIMIT_S), doors("n1", "n2") as nodes:
        one, two = nodes.doors.values()
        turns = RoundRobin(nodes.urls, listens_at=two.url)
        async with client(turns, message_handler=hear) as asking:
            await asking.list_tools()
            while ("GET", two.url, 200) not in turns.tried:
                await asyncio.sleep(0.01)
            one.announcer.happened("tools", "")
            await told.wait()
        one.announcer.happened("tools", "")  # nobody is left to be told, and nothing breaks
        await asyncio.sleep(0)


async def test_a_cancelled_call_is_cancelled_where_it_runs() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        waiting = asyncio.create_task(asking.post(two.url, session, call("wait", 5)))
        await asyncio.wait_for(one.began.wait(), LIMIT_S)
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
        assert (await asking.post(two.url, session, cancel)).status_code == 202
        await asyncio.wait_for(one.cancelled.wait(), LIMIT_S)
        assert (await answered(await waiting))["error"]["message"] == "Request cancelled"


async def test_what_a_request_carries_reaches_the_owner_and_hops_keep_their_own() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        carried = {
            "authorization": "Bearer x",
            "idempotency-key": '"k"',
            "traceparent": "00-1",
            "connection": "x-hop, keep-alive",
            "x-hop": "1",
            "origin": two.url,
        }
        response = await asking.post(two.url, session, call("where"), **carried)
        assert (await answered(response))["result"]["content"][0]["text"] == "n1"
        (got,) = one.asked
        assert [got.get(name) for name in ("authorization", "idempotency-key", "traceparent")] == [
            "Bearer x",
            '"k"',
            "00-1",
        ]
        assert not {"x-hop", "origin"} & got.keys()
        assert (got["host"], got["semel-passed-on"]) == (one.url.removeprefix("http://"), "n2")
        assert response.headers["mcp-session-id"] == session
        assert all(len(response.headers.get_list(name)) == 1 for name in ("date", "server", "content-type"))
        note = await asking.post(two.url, session, {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
        assert (note.status_code, note.headers.get_list("content-length")) == (202, ["0"])


async def test_foreign_pages_are_kept_out_before_anything_is_passed_on() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
            assert (await asking.post(two.url, session, call("where"), **headers)).status_code in (403, 421)
        assert not one.asked


# Streams.


async def test_a_stream_flows_through_as_it_comes_and_ends_where_the_client_leaves() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        async with asyncio.timeout(LIMIT_S):
            for _ in range(
                3
            ):  # one may be open at a time: the next tells that the last one's end has come to the owner
                async with contextlib.AsyncExitStack() as open_stream:
                    while True:
                        listening = await open_stream.enter_async_context(asking.get(two.url, session))
                        if listening.status_code == 200:
                            break
                        assert listening.status_code == 409
                        await asyncio.sleep(0.02)
                    await asking.post(two.url, session, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
                    one.announcer.happened("tools", "")
                    event = await anext(events(listening))
                    assert event.data["method"] == "notifications/tools/list_changed"


async def test_a_stream_that_its_node_closes_goes_on_where_the_client_asks_for_the_rest() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        async with asking.stream(two.url, session, call("close", 7)) as answer:
            seen = [event async for event in events(answer)]
        (first,) = seen  # the tool closed the stream before it answered
        assert (first.data, first.retry) == (None, "500")
        async with asking.get(
            two.url, session, **{"last-event-id": first.id, "mcp-protocol-version": "2025-11-25"}
        ) as rest:
            assert rest.status_code == 200
            one.let_go.set()
            event = await anext(events(rest))
        assert (event.data["id"], event.data["result"]["content"][0]["text"]) == (7, "n1")
        async with asking.get(one.url, session, **{"last-event-id": first.id}) as again:
            assert [event.data["id"] async for event in events(again)] == [7]  # and it ends, for that was all


async def test_an_event_of_another_session_or_of_none_is_nothing_to_go_on_from() -> None:
    async with doors("n1") as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        (one,) = nodes.doors.values()
        mine, other = await asking.open(one.url), await asking.open(one.url)
        async with asking.stream(one.url, mine, call("where", 7)) as answer:
            first, *_ = [event async for event in events(answer)]
        for session, event_id in ((other, first.id), (mine, "9-9"), (mine, "x" * 5000), (mine, "1-99999999")):
            response = await asking.http.get(
                f"{one.url}/mcp", headers={**HEADERS, "mcp-session-id": session, "last-event-id": event_id}
            )
            assert (response.status_code, response.json()["error"]["data"]["code"]) == (400, "event_gone")


async def test_a_listener_that_missed_what_is_not_kept_hears_what_comes() -> None:
    async with doors("n1") as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        (one,) = nodes.doors.values()
        session = await asking.open(one.url)
        await asking.post(one.url, session, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
        async with asking.get(one.url, session, **{"last-event-id": "0-12"}) as listening:
            assert listening.status_code == 200
            one.announcer.happened("tools", "")
            event = await anext(events(listening))
        assert (event.id, event.data["method"]) == ("0-1", "notifications/tools/list_changed")


# Sessions that are gone.


async def test_a_client_whose_node_died_is_told_once_and_goes_on_at_another() -> None:
    async with doors("n1", "n2", "n3") as nodes, raw() as asking:
        one, two, three = nodes.doors.values()
        session = await asking.open(one.url)
        await nodes.stop("n1")
        lost = await asking.post(two.url, session, call("where", 4))
        assert lost.status_code == 404
        assert lost.json()["id"] == 4
        assert "Initialize anew" in lost.json()["error"]["message"]
        assert lost.json()["error"]["data"] == {"source": "semel", "code": "session_gone", "retrySafe": True}
        for headers in ({}, {"mcp-session-id": session}):  # some clients forget to leave it out
            fresh = await asking.open(three.url, **headers)
            assert fresh != session
            assert (await answered(await asking.post(two.url, fresh, call("where"))))["result"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_node_that_gives_no_sign_of_life_is_not_asked(method: str) -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        nodes.known["n1"] = Home(one.url, False)
        headers = {**HEADERS, "mcp-session-id": session}
        body = {"json": call("where")} if method == "POST" else {}
        response = await asking.http.request(method, f"{two.url}/mcp", headers=headers, **body)
        assert response.status_code == 404
        assert not one.asked


@pytest.mark.parametrize("seen", [None, False], ids=["new", "late"])
async def test_a_node_that_is_new_or_late_is_waited_for(monkeypatch: pytest.MonkeyPatch, seen: bool | None) -> None:
    monkeypatch.setattr(relaying, "SIGN_S", LIMIT_S)
    async with doors("n1", "n2") as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        known = nodes.known.pop("n1")
        if seen is not None:
            nodes.known["n1"] = Home(one.url, seen)
        waiting = asyncio.create_task(asking.post(two.url, session, call("where")))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        nodes.known["n1"] = known
        assert (await waiting).status_code == 200


async def test_a_node_that_was_restarted_does_not_know_the_sessions_of_its_former_life() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        await nodes.stop("n1")
        again = await nodes.start("n1", "4567cdef")
        for url in (two.url, again.url):
            response = await asking.post(url, session, call("where"))
            assert response.status_code == 404
            assert "restarted" in response.json()["error"]["message"]
        fresh = await asking.open(two.url)
        assert (await asking.post(again.url, fresh, call("where"))).status_code == 200


async def test_a_session_that_its_client_ended_is_gone_on_every_node() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        headers = {**HEADERS, "mcp-session-id": session}
        assert (await asking.http.delete(f"{two.url}/mcp", headers=headers)).status_code == 200
        for url in nodes.urls:
            assert (await asking.post(url, session, call("where"))).status_code == 404
        assert (await asking.http.delete(f"{one.url}/mcp", headers=headers)).status_code == 404


async def test_a_node_that_lives_and_cannot_be_reached_keeps_its_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "REACH_S", 0.2)
    monkeypatch.setattr(relaying, "CONNECT_S", 0.2)
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with contextlib.ExitStack() as waiting:
                for _ in range(4):  # a queue that is full takes no further connection, and refuses none
                    knock = waiting.enter_context(socket.socket())
                    knock.setblocking(False)
                    knock.connect_ex(full.getsockname())
                nodes.known["n1"] = Home(f"http://127.0.0.1:{full.getsockname()[1]}", True)
                response = await asking.post(two.url, session, call("where"))
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["error"]["data"]["code"] == "session_out_of_reach"
        nodes.blind = True
        assert (await asking.post(two.url, session, call("where"))).status_code == 503
        nodes.blind, nodes.known["n1"] = False, Home(one.url, True)
        assert (await asking.post(two.url, session, call("where"))).status_code == 200


async def test_a_connection_that_breaks_before_the_answer_is_no_word_on_what_was_run() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as broken:
            nodes.known["n1"] = Home(f"http://127.0.0.1:{broken.sockets[0].getsockname()[1]}", True)
            response = await asking.post(two.url, session, call("where"))
        assert (response.status_code, response.json()["error"]["data"]["code"]) == (502, "undecided")
        assert "unknown" in response.json()["error"]["message"]


async def test_a_node_that_falls_silent_ends_the_streams_that_others_pass_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "SILENCE_S", 0.3)
    async with doors("n1", "n2") as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        async with asking.get(two.url, session) as listening, asking.stream(two.url, session, call("wait")) as answer:
            nodes.known["n1"] = Home(one.url, False)
            assert [event.data async for event in events(listening)] == []
            assert [event.data async for event in events(answer)] == [None]


async def test_a_stream_ends_with_the_node_that_keeps_it_and_the_answer_of_a_call_does_first() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        async with asking.get(two.url, session) as listening, asking.stream(two.url, session, call("wait")) as answer:
            await one.began.wait()
            stopping = asyncio.create_task(nodes.stop("n1"))
            assert [event.data async for event in events(listening)] == []
            one.let_go.set()
            assert [event.data and event.data["id"] async for event in events(answer)] == [None, 1]
            await stopping


async def test_a_node_that_goes_down_ends_the_streams_that_it_passes_on() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        async with asking.get(two.url, session) as listening:
            stopping = asyncio.create_task(nodes.stop("n2"))
            assert [event.data async for event in events(listening)] == []
            await stopping
        assert (await asking.post(one.url, session, call("where"))).status_code == 200


# What makes no sense.


@pytest.mark.parametrize(
    "session",
    [
        "x",
        "x" * 60_000,
        "../../etc/passwd",
        "0" * 32,
        f"{'0' * 32}.0123abcd.",
        f"{'0' * 32}.0123abcd.n9",
        f"{'0' * 32}.0123abcd.{'n' * 65}",
        f"{'0' * 32}.0123abcd.n1/..",
        f"{'0' * 32}.0123abcd.127.0.0.1:1@n1",
        f"{'0' * 32}.0123abcd.n1",
        f"{'0' * 32}.0123abcd.n2",
        f"{'0' * 32}.ffffffff.n1",
        "\xe9~!{}",
    ],
    ids=lambda session: session[:50],
)
async def test_an_id_that_no_node_gave_out_is_an_unknown_session(session: str) -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        for url in nodes.urls:
            response = await asking.http.post(
                f"{url}/mcp", json=call("where"), headers={**HEADERS, "mcp-session-id": session.encode("latin-1")}
            )
            assert response.status_code == 404
            opened = await asking.http.post(
                f"{url}/mcp", json=INITIALIZE, headers={**HEADERS, "mcp-session-id": session.encode("latin-1")}
            )
            assert opened.status_code == 200
        assert not any(door.asked for door in nodes.doors.values())


async def test_a_request_is_passed_on_once_and_to_members_only() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking, elsewhere(307, {"location": "/elsewhere"}) as (url, asked):
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        passed = await asking.post(two.url, session, call("where"), **{"semel-passed-on": "n3"})
        assert passed.status_code == 404
        nodes.known["n1"], nodes.known["n2"] = (
            Home(two.url, True),
            Home(one.url, True),
        )  # each takes itself for the other
        assert (await asking.post(two.url, session, call("where"))).status_code == 404
        nodes.known["n1"] = Home(url, True)
        told = await asking.post(two.url, session, call("where"))
        assert (told.status_code, len(asked), asked[0].url.path) == (307, 1, "/mcp")  # and it was not followed


async def test_two_session_headers_are_refused() -> None:
    async with doors("n1") as nodes, raw() as asking:
        (one,) = nodes.doors.values()
        session = await asking.open(one.url)
        twice = [*HEADERS.items(), ("mcp-session-id", session), ("mcp-session-id", session)]
        response = await asking.http.post(f"{one.url}/mcp", json=call("where"), headers=twice)
        assert response.status_code == 400
        assert "two Mcp-Session-Id" in response.json()["error"]["message"]
        assert (await asking.http.post(f"{one.url}/mcp", json=INITIALIZE, headers=twice)).status_code == 200


async def test_what_names_no_session_stands_for_itself_or_is_told_where_to_get_one() -> None:
    async with doors("n1") as nodes, raw() as asking:
        (one,) = nodes.doors.values()
        response = await asking.http.post(f"{one.url}/mcp", json=call("where"), headers=HEADERS)
        assert (await answered(response))["result"]["content"][0]["text"] == "n1"
        assert "mcp-session-id" not in response.headers
        for method in ("GET", "DELETE"):
            refused = await asking.http.request(method, f"{one.url}/mcp", headers=HEADERS)
            assert (refused.status_code, refused.json()["error"]["data"]["code"]) == (400, "no_session")
        assert len(one.sessions) == 0


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"", 400), (b"[]", 400), (b'{"method": "initialize"}', 400), (b"\xff", 400)]
)
async def test_a_body_that_is_no_message_is_answered_as_ever(body: bytes, status: int) -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        for headers in (HEADERS, {**HEADERS, "mcp-session-id": session}):
            assert (await asking.http.post(f"{two.url}/mcp", content=body, headers=headers)).status_code == status
        assert len(one.sessions) + len(two.sessions) == 1


async def test_a_body_beyond_all_measure_is_not_read() -> None:
    async with doors("n1") as nodes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(nodes.urls[0].rpartition(":")[2]))
        length = f"Content-Length: {BODY_BYTES_MAX + 1}"
        writer.write(f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: x\r\n{length}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()
        await writer.wait_closed()


# Limits.


async def test_the_session_that_was_unused_for_longest_makes_room_and_one_in_use_does_not() -> None:
    async with doors("n1", sessions_max=2) as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        (one,) = nodes.doors.values()
        first, second = await asking.open(one.url), await asking.open(one.url)
        assert (await asking.post(one.url, first, call("where"))).status_code == 200
        third = await asking.open(one.url)
        statuses = [(await asking.post(one.url, it, call("where"))).status_code for it in (first, second, third)]
        assert statuses == [200, 404, 200]
        async with asking.get(one.url, first), asking.get(one.url, third):
            full = await asking.http.post(f"{one.url}/mcp", json=INITIALIZE, headers=HEADERS)
            assert (full.status_code, full.headers["retry-after"]) == (503, "1")
            assert (await asking.post(one.url, first, call("where"))).status_code == 200
        while True:  # until the node has noticed that the streams have ended
            if (await asking.http.post(f"{one.url}/mcp", json=INITIALIZE, headers=HEADERS)).status_code == 200:
                break
            await asyncio.sleep(0.02)


async def test_an_unused_session_ends_and_one_that_listens_does_not() -> None:
    async with doors("n1", idle_s=1.0) as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        (one,) = nodes.doors.values()
        listening = await asking.open(one.url)
        async with asking.get(one.url, listening):
            await asking.open(one.url)
            while len(one.sessions) > 1:
                await asyncio.sleep(0.02)
            await asyncio.sleep(1.2)
            assert (await asking.post(one.url, listening, call("where"))).status_code == 200


async def test_an_initialize_that_is_refused_leaves_no_session() -> None:
    async with doors("n1") as nodes, raw() as asking:
        (one,) = nodes.doors.values()
        only_json = {**HEADERS, "accept": "application/json"}
        assert (await asking.http.post(f"{one.url}/mcp", json=INITIALIZE, headers=only_json)).status_code == 406
        assert len(one.sessions) == 0


async def test_clients_that_come_and_leave_in_a_hurry_leave_nothing(caplog: pytest.LogCaptureFixture) -> None:
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    async with doors("n1", "n2") as nodes, raw() as asking, asyncio.timeout(LIMIT_S):
        one, two = nodes.doors.values()

        async def hurry(url: str) -> None:
            session = await asking.open(one.url)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asking.post(url, session, call("wait"))
            await asking.post(url, session, cancel)
            await asking.http.delete(f"{url}/mcp", headers={**HEADERS, "mcp-session-id": session})

        await asyncio.gather(*(hurry(url) for url in nodes.urls * 10))
        while len(one.sessions) + len(two.sessions):
            await asyncio.sleep(0.02)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_a_node_on_a_new_port_is_found_there() -> None:
    async with doors("n1", "n2") as nodes, raw() as asking:
        one, two = nodes.doors.values()
        session = await asking.open(one.url)
        nodes.known["n1"] = Home(f"http://127.0.0.1:{free_port()}", True)
        assert (await asking.post(two.url, session, call("where"))).status_code == 404
        nodes.known["n1"] = Home(one.url, True)
        assert (await asking.post(two.url, session, call("where"))).status_code == 200
