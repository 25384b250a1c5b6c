"""What sessions have sent, kept for a while, so that a client whose stream broke can have the rest of it.

Knows messages, streams and their limits; neither sessions nor HTTP. It is a courtesy and in memory alone: what is no
longer here, a retry under the same key gets from the log.

The SDK's own way, one store for all sessions, would not do: it names streams by request ids, which clients choose.
"""

import re
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from mcp.server.streamable_http import GET_STREAM_KEY, EventCallback, EventMessage, EventStore
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCResponse

KEPT_BYTES_MAX = 32 * 2**20
"""Of all sessions together. On a node with 500 answers a second of 2 KiB that is 20 s, and a client that lost its
stream asks for the rest of it within a second or two."""

EVENT_BYTES_MAX = 4 * 2**20
"""A larger one is not kept: it would push out thousands of others."""

EVENT_BYTES_MIN = 1024
"""What an event costs beside its text, roughly."""

STANDING = 0
"""The number of the stream that stands for itself, opened by a GET; those of answers are counted from 1."""

_ID = re.compile(r"(0|[1-9][0-9]{0,11})-(0|[1-9][0-9]{0,15})")


@dataclass(slots=True)
class _Event:
    serial: int
    """Its number among those of all sessions."""
    number: int
    """Its number in its stream."""
    message: JSONRPCMessage
    weight_bytes: int


@dataclass(slots=True, eq=False)
class _Stream:
    """One stream of a session; what of it is still here are its last events, without a gap."""

    id: str
    number: int
    siblings: dict[int, "_Stream"]
    events: deque[_Event] = field(default_factory=deque)
    newest: int = 0
    lost: int = 0
    """The newest event that is not here any more."""
    ended: bool = False


class Events:
    """The events of all sessions of a node; the oldest go first."""

    def __init__(self, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._kept_bytes_max = kept_bytes_max
        self._kept: OrderedDict[int, _Stream] = OrderedDict()
        self._serial = 0
        self.kept_bytes = 0

    def keep(self, stream: _Stream, message: JSONRPCMessage) -> None:
        """Keep the newest event of a stream, and let go of the oldest of all if there is no room for it."""
        weight_bytes = EVENT_BYTES_MIN + _weigh(message)
        if weight_bytes > min(EVENT_BYTES_MAX, self._kept_bytes_max):
            self.lose(stream, stream.newest)
            return
        self._serial += 1
        stream.events.append(_Event(self._serial, stream.newest, message, weight_bytes))
        self._kept[self._serial] = stream
        self.kept_bytes += weight_bytes
        while self.kept_bytes > self._kept_bytes_max:
            oldest = next(iter(self._kept.values()))
            self.lose(oldest, oldest.events[0].number)

    def lose(self, stream: _Stream, up_to: int) -> None:
        """Let go of a stream's events up to one, and of the stream if nothing more can come of it."""
        while stream.events and stream.events[0].number <= up_to:
            event = stream.events.popleft()
            del self._kept[event.serial]
            self.kept_bytes -= event.weight_bytes
        stream.lost = up_to
        if stream.ended and not stream.events:
            stream.siblings.pop(stream.number, None)


class SessionEvents(EventStore):
    """The events of one session: an id of another session's means nothing here."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._streams: dict[int, _Stream] = {}
        self._going: dict[str, _Stream] = {}
        self._answers = 0
        self._over = False

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep what a stream sends and return its id; None is where a stream begins, and has an id, too."""
        stream = self._going.get(stream_id) or self._begin(stream_id)
        stream.newest += 1
        if isinstance(message, JSONRPCResponse | JSONRPCError) and stream.number != STANDING:
            stream.ended = True
            del self._going[stream_id]
        if message is not None and not self._over:
            self._events.keep(stream, message)
        return f"{stream.number}-{stream.newest}"

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send what came after an event, and what comes meanwhile; return the stream if there may be more of it."""
        found = self._find(last_event_id)
        if found is None:
            return None
        stream, number = found
        while (event := next((event for event in stream.events if event.number > number), None)) is not None:
            number = event.number
            await send_callback(EventMessage(event.message, f"{stream.number}-{number}"))
        return None if stream.ended else stream.id

    def can_resume(self, last_event_id: str) -> bool:
        """Return whether all that came after an event is still here."""
        return self._find(last_event_id) is not None

    def forget(self) -> None:
        """Let go of everything, and keep nothing any more: the session has ended."""
        self._over = True
        for stream in list(self._streams.values()):
            self._events.lose(stream, stream.newest)
        self._streams.clear()
        self._going.clear()

    def _begin(self, stream_id: str) -> _Stream:
        number = STANDING
        if stream_id != GET_STREAM_KEY:
            self._answers += 1
            number = self._answers
        stream = self._streams[number] = self._going[stream_id] = _Stream(stream_id, number, self._streams)
        return stream

    def _find(self, last_event_id: str) -> tuple[_Stream, int] | None:
        match = _ID.fullmatch(last_event_id)
        stream = None if match is None else self._streams.get(int(match[1]))
        if match is None or stream is None or not stream.lost <= int(match[2]) <= stream.newest:
            return None
        return stream, int(match[2])


def is_standing(event_id: str) -> bool:
    """Return whether an event is one of a stream that a GET opened."""
    match = _ID.fullmatch(event_id)
    return match is not None and int(match[1]) == STANDING


def _weigh(message: JSONRPCMessage) -> int:
    """Return roughly how much text is in a message, without writing it out."""
    error = getattr(message, "error", None)
    left: list[Any] = [getattr(message, "result", None), getattr(message, "params", None), getattr(error, "data", None)]
    weight_bytes = 0
    while left and weight_bytes <= EVENT_BYTES_MAX:
        match left.pop():
            case str() as text:
                weight_bytes += len(text)
            case dict() as items:
                weight_bytes += sum(map(len, items))
                left.extend(items.values())
            case list() as items:
                left.extend(items)
            case _:
                weight_bytes += 8
    return weight_bytes
