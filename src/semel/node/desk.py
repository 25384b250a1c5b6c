"""The desk: takes what clients ask for, and hands them the answers. Knows who waits, and decides nothing."""

import asyncio
import secrets
from types import TracebackType
from typing import Any

from semel.core.call import Call, CallId, NodeId, check_key, digest_of, encode_arguments
from semel.core.limits import Limits
from semel.errors import Busy, SemelError, TooLarge
from semel.node.backend import Details, Reply

CLIENT_CHARS_MAX = 200
"""What is kept of the name that a client program gives itself."""


class Desk:
    """The clients that wait at one node, each by the number of its ticket."""

    def __init__(self, me: NodeId, limits: Limits) -> None:
        self._me = me
        self._limits = limits
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._held_bytes = 0
        self._requests = 0
        self.closed: SemelError | None = None
        """What those are told who wait now or later, and whose answer is not known; None while answers come."""

    def __len__(self) -> int:
        return len(self._waiting)

    def call_of(
        self, tool: str, arguments: dict[str, Any], key: str | None, caller: str, client: str, details: Details
    ) -> Call:
        """Return the call that a request means, and name the request; a key is made if there is none.

        Raises:
            CallError: the key or the arguments are none.
        """
        key = secrets.token_hex(16) if key is None else key
        check_key(key, self._limits)
        check_key(caller, self._limits, "caller's name")
        encoded = encode_arguments(arguments, self._limits)
        answers = None if details.answers is None else dict(details.answers)
        self._requests += 1
        call = Call(
            id=CallId(caller, key, details.round),
            tool=tool,
            arguments=encoded,
            digest=digest_of(tool, arguments, answers),
            request=f"{self._me}/{self._requests}",
            client=client[:CLIENT_CHARS_MAX],
            meta=encode_arguments(dict(details.meta), self._limits),
            answers=None if answers is None else encode_arguments(answers, self._limits),
        )
        if call.payload_bytes > self._limits.arguments_bytes_max:  # each of the parts is smaller
            raise TooLarge(
                f"the arguments, with the answers and the _meta that came along, are {call.payload_bytes:,} bytes of "
                f"JSON, more than {self._limits.arguments_bytes_max:,}: store the data elsewhere and pass its name. "
                "Nothing was run"
            )
        return call

    def ticket(self, call: Call) -> "_Ticket":
        """Let a client wait for the answer to its request, in a context: a number for it, and what will be its answer.

        Raises:
            Busy: the arguments of those who wait are as many bytes as may be held.
        """
        size_bytes = call.payload_bytes
        if self._held_bytes and self._held_bytes + size_bytes > self._limits.in_flight_bytes_max:
            raise Busy(
                f"{self._me.name} holds {self._held_bytes:,} bytes of arguments of unanswered calls, about as many as "
                "it may: try again in a moment. This request ran nothing; retrying with the same key is safe"
            )
        return _Ticket(self, self._requests, size_bytes)

    def answer(self, ticket: int, reply: Reply) -> None:
        """Hand an answer to a client, if it still waits."""
        future = self._waiting.get(ticket)
        if future is not None and not future.done():
            future.set_result(reply)

    def refuse(self, ticket: int, error: SemelError) -> None:
        """Tell a client, if it still waits, why it gets no answer."""
        future = self._waiting.get(ticket)
        if future is not None and not future.done():
            future.set_exception(error)

    def close(self, error: SemelError) -> None:
        """Tell every client that waits why it gets no answer; nothing is waited for any more."""
        if self.closed is None:
            self.closed = error
            for ticket in list(self._waiting):
                self.refuse(ticket, error)


class _Ticket:
    """One client that waits, for as long as the context is open; written out, since every call has one."""

    def __init__(self, desk: Desk, number: int, size_bytes: int) -> None:
        self._desk = desk
        self._number = number
        self._size_bytes = size_bytes

    def __enter__(self) -> "tuple[int, asyncio.Future[Reply]]":
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._desk._waiting[self._number] = future
        self._desk._held_bytes += self._size_bytes
        return self._number, future

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._desk._held_bytes -= self._size_bytes
        del self._desk._waiting[self._number]
