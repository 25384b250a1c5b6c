"""HTTP/1.1 as the door speaks it: uvicorn's protocol on httptools, with which a call takes half as long as with h11.

Adds what httptools leaves to its user: a bound on heads, and values without the blanks around them. And what ASGI has
no words for is among a scope's `extensions`: an answer in one piece, and heads that are known from earlier requests.
"""

import asyncio
import re
from functools import partial
from typing import Any
from weakref import proxy

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from semel.deadlines import Deadlines
from semel.gateway.doors.knownheads import KnownHead, KnownHeads

HEAD_BYTES_MAX = 64 * 1024
"""What of a head may come after its first piece, which is what the kernel gave at once: as much as h11 takes."""

_TO_HTTP2 = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)
"""The offer to go on in HTTP/2, which Java's client makes with its first request, and `curl --http2`. It may be ignored
(RFC 9110, 7.8); httptools takes what comes after such a head for the other protocol, and the body would be lost."""

WHOLE = "semel.whole"
"""Among a scope's `extensions`, what sends a whole answer: of an HTTP status, with a body of JSON.

It returns False, and has done nothing, if the answer has begun, or its end is to be that of the connection, or the
client takes nothing just now.
"""

REMEMBER = "semel.remember"
"""What is told, with the scope, that the head of this request was let in and needs no look any more, and who answers
the next one with it."""


class Heads(HttpToolsProtocol):
    """Answers 400 to a head that does not come to an end; `known` and `idle` are for all connections of one server."""

    _idle = True
    _in_head = False
    _head_bytes = 0
    _begins_with: bytes | None = None
    """What came last, if it begins with a request's head."""
    _defaults: list[tuple[bytes, bytes]] | None = None
    _defaults_written = b""

    def __init__(self, known: KnownHeads, idle: Deadlines, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._known = known
        self._kept_idle = idle

    def data_received(self, data: bytes) -> None:
        """Read on; give up on a head that is too long."""
        if self._idle and (self.cycle is None or self.cycle.response_complete):
            if (found := self._known.find(data)) is not None:
                self._begin(*found)
                return
            if b"h2c" in data:
                head, end, body = data.partition(b"\r\n\r\n")
                data = _TO_HTTP2.sub(b"", head + end) + body
            self._begins_with = data
        goes_on = self._in_head
        super().data_received(data)
        if goes_on and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._idle, self._in_head, self._head_bytes = False, True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; the blanks around its value are none of it (RFC 9110, 5.5)."""
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Note that the head has ended, and offer what ASGI does not."""
        self._in_head = False
        super().on_headers_complete()
        begins_with, self._begins_with = self._begins_with, None
        if self.cycle is None or self.cycle.scope is not self.scope:
            return  # the connection becomes a WebSocket
        if self.parser.should_upgrade():  # to what else it may be: the body would be read as the next request
            self.cycle.keep_alive = False
        offered = self._offer(self.cycle)
        if begins_with is not None and self.cycle.keep_alive and not self.expect_100_continue:
            offered[REMEMBER] = partial(self._known.remember, begins_with)

    def on_message_complete(self) -> None:
        """Note that the next request may begin."""
        self._idle = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it as long as an idle connection is kept."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._kept_idle.set(self, self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._kept_idle.call_off(self)

    def _begin(self, known: KnownHead, body: bytes) -> None:
        """Begin a request of which all is there, as httptools' calls together would."""
        self._unset_keepalive_if_required()
        state = self.app_state.copy()
        scope: Any = {**known.scope, "server": self.server, "client": self.client, "state": state}
        self.scope = scope
        self.cycle = cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        cycle.body += body
        cycle.more_body = False
        cycle.message_event.set()
        self._offer(cycle)
        self._start_asgi_task(cycle, partial(known.answer, body))

    def _offer(self, cycle: RequestResponseCycle) -> dict[str, Any]:
        """Return the extensions of a request's scope, which know nothing that knows the scope.

        They would all be garbage together, with the body, until Python's collector looks for such.
        """
        offered: dict[str, Any] = {WHOLE: partial(self._answer, proxy(cycle))}
        cycle.scope["extensions"] = offered
        return offered

    def _answer(self, cycle: RequestResponseCycle, status: int, body: bytes) -> bool:
        """Send a whole answer, as `WHOLE` says."""
        if cycle.response_started or cycle.disconnected or not cycle.keep_alive or cycle.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        if cycle.default_headers is not self._defaults:  # they are new every second, with the date
            self._defaults = cycle.default_headers
            self._defaults_written = b"".join(b"%s: %s\r\n" % header for header in self._defaults)
        self.transport.write(
            b"%s%scontent-length: %d\r\ncontent-type: application/json\r\n\r\n%s"
            % (STATUS_LINE[status], self._defaults_written, len(body), body)
        )
        cycle.message_event.set()
        cycle.on_response()
        return True
