"""The connections between nodes: WebSockets on a node's own port, one from each follower to the leader.

They carry forwards to the leader and refusals back, and what passes beside the log; a message may get lost, and the
decisions allow for it.
A connection that breaks and cannot be opened again is how a leader's death is noticed at once.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any, Protocol

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from semel.core.call import NodeId
from semel.core.ledger import Leader
from semel.core.message import Forward, Hello, Message, Refuse
from semel.node.asides import AsideMessage

OUTBOX_MESSAGES_MAX = 8192
OUTBOX_BYTES_MAX = 64 * 2**20
"""Messages that wait for a connection; past it they are dropped and sent again by the decisions. What passes beside the
log has half of it: a tool that talks without end must not be in the way of calls."""
MESSAGE_BYTES_MAX = 40 * 2**20
"""A forward carries what a client sent along with a call, which has a limit of its own below this. A larger message is
not sent: it would cost the connection, and all that waits for it."""
TOGETHER_BYTES_MAX = 64 * 2**10
"""What is sent in one frame if it is several messages: each frame costs both sides about as much as a small message."""
HELLO_TIMEOUT_S = 1.0
"""A process that accepts and says nothing for this long is stalled; its missing pulse tells the rest."""
RECONNECT_S = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Waits before the first, second, … attempt; a dead process refuses at once, and a cut connection is soon mended."""

Spoken = Message | AsideMessage
"""All that peers say to each other, as JSON."""

_log = logging.getLogger(__name__)

_decoder: msgspec.json.Decoder[Spoken] = msgspec.json.Decoder(Spoken)
_several = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Transmit = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Listener(Protocol):
    """Who is told of what happens on the connections."""

    def hello(self) -> Hello:
        """Return how this node introduces itself."""
        ...

    def received(self, sender: NodeId, message: Forward | Refuse) -> None:
        """Take a message."""
        ...

    def overheard(self, sender: NodeId, message: AsideMessage) -> None:
        """Take a message that passes beside the log."""
        ...

    def greeting(self) -> Sequence[AsideMessage]:
        """Return what a peer is told first, once the connection stands."""
        ...

    def parted(self, node: NodeId) -> None:
        """Note that a connection that stood has ended."""
        ...

    def lost(self, node: NodeId) -> None:
        """Note that this incarnation's process is gone."""
        ...

    def found(self, node: NodeId) -> None:
        """Note that this incarnation answers."""
        ...


class Outbox:
    """What waits to be sent to one peer."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def post(self, message: Spoken) -> None:
        """Add a message, if there is room for it."""
        share = 1 if isinstance(message, Message) else 2
        if len(self._messages) >= OUTBOX_MESSAGES_MAX // share or self._bytes >= OUTBOX_BYTES_MAX // share:
            return
        data = _encoder.encode(message)
        if len(data) > MESSAGE_BYTES_MAX:
            _log.warning("a message of %d bytes is too large to be sent to another node", len(data))
            return
        self._messages.append(data)
        self._bytes += len(data)
        self._filled.set()

    async def drain(self, send: Callable[[bytes], Awaitable[None]], *, together: bool) -> None:
        """Send what is there and what comes, until the connection ends; `together` if the peer takes it so."""
        with contextlib.suppress(OSError, WebSocketException):  # the reading side notices the end
            while True:
                while not self._messages:
                    self._filled.clear()
                    await self._filled.wait()
                await send(self._frame(together))

    def _frame(self, together: bool) -> bytes:
        """Return what is sent next: a message, or several as a JSON array."""
        messages = [self._messages.popleft()]
        size = len(messages[0])
        while together and self._messages and size + len(self._messages[0]) <= TOGETHER_BYTES_MAX:
            messages.append(self._messages.popleft())
            size += len(messages[-1])
        self._bytes -= size
        return messages[0] if len(messages) == 1 else b"[%s]" % b",".join(messages)


class Peers:
    """All connections of one node. An ASGI application for the side that accepts."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._leader: Leader | None = None
        self._link: asyncio.Task[None] | None = None
        self._outboxes: dict[NodeId, Outbox] = {}

    def follow(self, leader: Leader | None) -> None:
        """Keep a connection to this leader and to no other; None for no connection at all."""
        if leader == self._leader:
            return
        if self._link is not None:
            self._link.cancel()
        if self._leader is not None:
            self._outboxes.pop(self._leader.node, None)
        self._leader, self._link = leader, None
        if leader is not None:
            outbox = self._outboxes[leader.node] = Outbox()
            self._link = asyncio.create_task(self._keep_link(leader, outbox), name=f"link to {leader.node}")

    def send(self, to: NodeId, message: Forward | Refuse) -> None:
        """Send a message if there is a way and room; it may get lost."""
        outbox = self._outboxes.get(to)
        if outbox is not None:
            outbox.post(message)

    def broadcast(self, message: AsideMessage) -> None:
        """Send a message to every peer that there is a connection to; it may get lost."""
        for outbox in self._outboxes.values():
            outbox.post(message)

    async def close(self) -> None:
        """End the outgoing connection; accepted ones end with the server."""
        link = self._link
        self.follow(None)
        if link is not None:
            await asyncio.wait([link])

    # The side that connects.

    async def _keep_link(self, leader: Leader, outbox: Outbox) -> None:
        """Keep a connection to the leader; one that was open, broke and is refused now tells that it is gone.

        A leader that was never reached may only be behind a wall; its pulse tells whether it lives.
        """
        attempt, met = 0, asyncio.Event()
        while True:
            await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
            attempt += 1
            try:
                await self._converse(leader, outbox, met)
            except (ConnectionRefusedError, InvalidHandshake, InvalidURI):
                if met.is_set():
                    self._listener.lost(leader.node)
            except (OSError, TimeoutError, WebSocketException, ValueError):
                pass  # cut or stalled: the log and the pulse decide what that means

    async def _converse(self, leader: Leader, outbox: Outbox, met: asyncio.Event) -> None:
        """Exchange messages with the leader until the connection ends; set `met` once it was the leader indeed."""
        async with connect(
            f"ws{leader.url.removeprefix('http')}/peer",
            compression=None,
            proxy=None,
            max_size=MESSAGE_BYTES_MAX,
            open_timeout=HELLO_TIMEOUT_S,
            close_timeout=HELLO_TIMEOUT_S,
            ping_interval=None,
        ) as socket:
            await socket.send(_encoder.encode(self._listener.hello()))
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                answer = _decoder.decode(await socket.recv())
            if not isinstance(answer, Hello) or answer.node != leader.node:
                self._listener.lost(leader.node)
                return
            met.set()
            self._listener.found(leader.node)
            self._greet(outbox)
            writer = asyncio.create_task(outbox.drain(socket.send, together=answer.together))
            try:
                async for data in socket:
                    for message in _understood(data):
                        self._take(leader.node, message)
            finally:
                writer.cancel()
                await asyncio.wait([writer])
                self._listener.parted(leader.node)

    # The side that accepts.

    async def __call__(self, scope: Scope, receive: Receive, send: Transmit) -> None:
        """Serve one accepted WebSocket, which begins with the peer's Hello."""
        assert scope["type"] == "websocket"
        await receive()
        if any(name == b"origin" for name, _ in scope["headers"]):
            await send({"type": "websocket.close", "code": 1008, "reason": "nodes only, no browsers"})
            return
        await send({"type": "websocket.accept"})
        try:
            await self._serve(receive, send)
        except ValueError as error:
            await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})

    async def _serve(self, receive: Receive, send: Transmit) -> None:
        messages = _messages(receive)
        peer = await anext(messages, None)
        mine = self._listener.hello()
        if not isinstance(peer, Hello) or peer.cluster != mine.cluster:
            raise ValueError("a connection begins with the Hello of a node of this cluster")
        await send({"type": "websocket.send", "bytes": _encoder.encode(mine)})

        async def transmit(data: bytes) -> None:
            await send({"type": "websocket.send", "bytes": data})

        outbox = self._outboxes[peer.node] = Outbox()
        self._greet(outbox)
        writer = asyncio.create_task(outbox.drain(transmit, together=peer.together))
        try:
            async for message in messages:
                self._take(peer.node, message)
        finally:
            writer.cancel()
            await asyncio.wait([writer])
            if self._outboxes.get(peer.node) is outbox:
                del self._outboxes[peer.node]
                self._listener.parted(peer.node)

    def _greet(self, outbox: Outbox) -> None:
        for message in self._listener.greeting():
            outbox.post(message)

    def _take(self, sender: NodeId, message: Spoken) -> None:
        match message:
            case Hello():
                raise ValueError("a second Hello on one connection")
            case Forward() | Refuse():
                self._listener.received(sender, message)
            case _:
                self._listener.overheard(sender, message)


async def _messages(receive: Receive) -> AsyncIterator[Spoken]:
    while (event := await receive())["type"] == "websocket.receive":
        for message in _understood(event.get("bytes") or event.get("text") or b""):
            yield message


def _understood(data: bytes | str) -> Iterator[Spoken]:
    """Yield the messages of a frame, but for those that only another version of semel understands.

    Raises:
        ValueError: it is no JSON.
    """
    pieces: Sequence[bytes | str | msgspec.Raw] = [data]
    if data[:1] in (b"[", "["):
        pieces = _several.decode(data)
    for piece in pieces:
        try:
            yield _decoder.decode(piece)
        except msgspec.ValidationError as error:
            _log.debug("a peer said what is not understood here: %s", error)
