"""Peers find the leader, carry messages, notice a death at once, and do not take a wall for one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from semel.core.call import Call, CallId, NodeId
from semel.core.ledger import Leader
from semel.core.message import Forward, Hello, Refusal, Refuse
from semel.errors import Busy
from semel.gateway.doors.http import serve_http
from semel.node.asides import Answered, AsideMessage, Asked, Happened, Stop, Told, Watched, Withdrawn
from semel.node.peers import (
    MESSAGE_BYTES_MAX,
    OUTBOX_BYTES_MAX,
    OUTBOX_MESSAGES_MAX,
    TOGETHER_BYTES_MAX,
    Outbox,
    Peers,
    _understood,
)

pytestmark = pytest.mark.anyio

LEADER, FOLLOWER = NodeId("n1", "a"), NodeId("n2", "b")
CALL = Call(id=CallId("shop", "k"), tool="charge", arguments=msgspec.Raw(b"{}"), digest="d", request="r")


class Ear:
    """A listener that remembers what it is told."""

    def __init__(self, node: NodeId, cluster: str = "c") -> None:
        self.node, self.cluster = node, cluster
        self.heard: asyncio.Queue[object] = asyncio.Queue()
        self.greetings: list[AsideMessage] = []
        self.gone: asyncio.Queue[NodeId] = asyncio.Queue()

    def hello(self) -> Hello:
        return Hello(self.cluster, self.node, together=True)

    def received(self, sender: NodeId, message: Forward | Refuse) -> None:
        self.heard.put_nowait((sender, message))

    def overheard(self, sender: NodeId, message: AsideMessage) -> None:
        self.heard.put_nowait((sender, message))

    def greeting(self) -> list[AsideMessage]:
        return self.greetings

    def parted(self, node: NodeId) -> None:
        self.gone.put_nowait(node)

    def lost(self, node: NodeId) -> None:
        self.heard.put_nowait(("lost", node))

    def found(self, node: NodeId) -> None:
        self.heard.put_nowait(("found", node))

    async def next(self) -> object:
        async with asyncio.timeout(10):
            return await self.heard.get()


@asynccontextmanager
async def serving(peers: Peers, port: int = 0) -> AsyncIterator[int]:
    app = Starlette(routes=[WebSocketRoute("/peer", peers)])
    async with serve_http(app, "127.0.0.1", port) as bound:
        yield bound


def leader_at(port: int, node: NodeId = LEADER) -> Leader:
    return Leader(node, f"http://127.0.0.1:{port}", 2)


async def test_a_forward_reaches_the_leader_and_its_refusal_comes_back() -> None:
    ear, other = Ear(LEADER), Ear(FOLLOWER)
    peers, follower = Peers(ear), Peers(other)
    async with serving(peers) as port:
        follower.follow(leader_at(port))
        follower.send(LEADER, Forward(CALL, 1))  # before there is a connection: it waits for one
        assert await other.next() == ("found", LEADER)
        assert await ear.next() == (FOLLOWER, Forward(CALL, 1))
        refusal = Refuse(CALL.id, 1, Refusal(Busy.code, "full"))
        peers.send(FOLLOWER, refusal)
        assert await other.next() == (LEADER, refusal)
        await follower.close()


async def test_a_leader_that_was_met_and_is_refused_now_is_lost() -> None:
    ear, follower = Ear(FOLLOWER), None
    async with serving(Peers(Ear(LEADER))) as port:
        follower = Peers(ear)
        follower.follow(leader_at(port))
        assert await ear.next() == ("found", LEADER)
    assert await ear.next() == ("lost", LEADER)
    await follower.close()


async def test_a_leader_that_was_never_reached_is_not_taken_for_dead() -> None:
    ear = Ear(FOLLOWER)
    async with serving(Peers(Ear(LEADER))) as port:
        pass
    follower = Peers(ear)
    follower.follow(leader_at(port))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3):  # a bound on how long it is watched, in which it knocks several times
            raise AssertionError(await ear.heard.get())
    async with serving(Peers(Ear(LEADER)), port):
        assert await ear.next() == ("found", LEADER)
        await follower.close()


async def test_another_life_of_the_leader_at_its_address_means_that_the_first_is_over() -> None:
    ear = Ear(FOLLOWER)
    async with serving(Peers(Ear(NodeId("n1", "later")))) as port:
        follower = Peers(ear)
        follower.follow(leader_at(port))
        assert await ear.next() == ("lost", LEADER)
        await follower.close()


async def test_a_node_of_another_cluster_is_turned_away() -> None:
    ear, other = Ear(LEADER), Ear(FOLLOWER, "another")
    async with serving(Peers(ear)) as port:
        follower = Peers(other)
        follower.follow(leader_at(port))
        follower.send(LEADER, Forward(CALL, 1))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):  # as above
                raise AssertionError(await ear.heard.get())
        await follower.close()
    assert ear.heard.empty()


@pytest.mark.parametrize(
    "message",
    [
        Told(CALL.id, "m", msgspec.Raw(b"{}")),
        Asked(CALL.id, "k", "m", msgspec.Raw(b"{}")),
        Answered(CALL.id, "k", result={"action": "accept", "content": {"a": [1]}}),
        Answered(CALL.id, "k", error={"code": -1, "message": "m"}),
        Withdrawn(CALL.id, "k"),
        Stop(CALL.id),
        Happened("tools"),
        Watched(("u",)),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_what_is_said_beside_the_log_is_understood(message: AsideMessage) -> None:
    ear = Ear(LEADER)
    async with serving(Peers(ear)) as port:
        follower = Peers(Ear(FOLLOWER))
        follower.follow(leader_at(port))
        follower.broadcast(message)
        sender, heard = await ear.next()  # type: ignore[misc]
        assert (sender, msgspec.json.encode(heard)) == (FOLLOWER, msgspec.json.encode(message))
        await follower.close()


async def test_both_sides_greet_and_are_told_when_it_is_over() -> None:
    ear, other = Ear(LEADER), Ear(FOLLOWER)
    ear.greetings, other.greetings = [Watched(("a",))], [Watched(("b",))]
    follower = Peers(other)
    async with serving(Peers(ear)) as port:
        follower.follow(leader_at(port))
        assert await ear.next() == (FOLLOWER, Watched(("b",)))
        assert [await other.next(), await other.next()] == [("found", LEADER), (LEADER, Watched(("a",)))]
        await follower.close()
        async with asyncio.timeout(10):
            assert (await ear.gone.get(), await other.gone.get()) == (FOLLOWER, LEADER)


async def test_what_only_a_newer_peer_says_costs_no_connection() -> None:
    """While nodes are replaced one by one, those of two versions talk to each other."""
    ear, other = Ear(LEADER), Ear(FOLLOWER)
    peers, follower = Peers(ear), Peers(other)
    async with serving(peers) as port:
        follower.follow(leader_at(port))
        assert await other.next() == ("found", LEADER)
        for outbox in (follower._outboxes[LEADER], peers._outboxes[FOLLOWER]):
            for later in (b'{"type":"later","what":1}', b'{"type":"told","call":5}', b"[]"):
                outbox._messages.append(later)
                outbox._bytes += len(later)
                outbox._filled.set()
        follower.send(LEADER, Forward(CALL, 1))
        refusal = Refuse(CALL.id, 1, Refusal(Busy.code, "full"))
        peers.send(FOLLOWER, refusal)
        assert await ear.next() == (FOLLOWER, Forward(CALL, 1))
        assert await other.next() == (LEADER, refusal)
        assert ear.gone.empty()
        await follower.close()


async def test_what_is_too_large_for_a_peer_costs_no_connection() -> None:
    ear, other = Ear(LEADER), Ear(FOLLOWER)
    async with serving(Peers(ear)) as port:
        follower = Peers(other)
        follower.follow(leader_at(port))
        assert await other.next() == ("found", LEADER)
        text = msgspec.Raw(msgspec.json.encode("x" * MESSAGE_BYTES_MAX))
        follower.broadcast(Told(CALL.id, "notifications/message", text))
        follower.send(LEADER, Forward(CALL, 1))
        assert await ear.next() == (FOLLOWER, Forward(CALL, 1))
        assert ear.gone.empty()
        await follower.close()


@pytest.mark.parametrize("line", [b"{}", b'"' + b"x" * 2**20 + b'"'], ids=["many", "large"])
async def test_a_tool_that_talks_without_end_leaves_room_for_calls(line: bytes) -> None:
    outbox = Outbox()
    sent: list[bytes] = []
    for _ in range(OUTBOX_MESSAGES_MAX):
        outbox.post(Told(CALL.id, "notifications/message", msgspec.Raw(line)))
    assert outbox._bytes <= OUTBOX_BYTES_MAX
    outbox.post(Forward(CALL, 1))

    async def send(data: bytes) -> None:
        sent.append(data)

    draining = asyncio.create_task(outbox.drain(send, together=False))
    await asyncio.sleep(0.1)
    draining.cancel()
    assert msgspec.json.decode(sent[-1], type=Forward) == Forward(CALL, 1)
    assert outbox._bytes == 0


@pytest.mark.parametrize("together", [True, False])
async def test_what_is_sent_at_once_goes_in_one_frame_to_who_takes_it_so(together: bool) -> None:
    outbox, large = Outbox(), msgspec.Raw(b'"' + b"x" * TOGETHER_BYTES_MAX + b'"')
    messages: list[Any] = [Forward(CALL, number) for number in range(1, 501)]
    messages.insert(250, Told(CALL.id, "notifications/message", large))
    for message in messages:
        outbox.post(message)
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    draining = asyncio.create_task(outbox.drain(frames.put, together=together))
    heard: list[Any] = []
    count = 0
    async with asyncio.timeout(10):
        while len(heard) < len(messages):
            heard += list(_understood(frame := await frames.get()))
            count += 1
            assert len(frame) <= len(large) + 1000
    draining.cancel()
    assert heard == messages
    assert outbox._bytes == 0
    assert (count < 20) is together


def test_of_a_frame_what_is_not_understood_is_passed_over() -> None:
    known = msgspec.json.encode(Forward(CALL, 1))
    assert list(_understood(b'[{"type":"new"},%s,7,[%s]]' % (known, known))) == [Forward(CALL, 1)]
    assert list(_understood(b"[]")) == []
    with pytest.raises(ValueError, match="truncated"):
        list(_understood(b"[%s" % known))


async def test_a_burst_of_forwards_arrives_in_order() -> None:
    ear, other = Ear(LEADER), Ear(FOLLOWER)
    async with serving(Peers(ear)) as port:
        follower = Peers(other)
        follower.follow(leader_at(port))
        assert await other.next() == ("found", LEADER)
        for number in range(1, 301):
            follower.send(LEADER, Forward(CALL, number))
        for number in range(1, 301):
            assert await ear.next() == (FOLLOWER, Forward(CALL, number))
        await follower.close()
