"""Appends to a log in etcd, and tells whether an append stands; it writes, and follows nothing.

An append is one transaction: if the tail is where it was expected to be, the append's key and the new tail are
written. So a request that is delivered twice, or late, meets a tail that has moved on, and writes nothing.
"""

import asyncio
from collections.abc import Sequence

from semel.errors import Conflict, LogTrimmed, LogUnavailable
from semel.log.etcd import rpc
from semel.log.etcd.cluster import ATTEMPT_FIRST_S, ATTEMPT_MOST_S, Cluster
from semel.log.etcd.framing import PIECE_BYTES_MAX, Reference, cut, frame, frame_reference, refer
from semel.log.etcd.keys import Keys, position_of, position_value
from semel.log.etcd.reader import PAGE_ATTEMPT_S, PAGE_S, PIECES_AT_ONCE, Reader
from semel.log.etcd.tails import KnownTail

BESIDE_OTHERS_BYTES_MAX = PIECE_BYTES_MAX // 2
"""Two values of this size fit into one request."""


class Appender:
    """Appends to one log, one append at a time."""

    def __init__(self, cluster: Cluster, keys: Keys, reader: Reader, known: KnownTail) -> None:
        self._cluster = cluster
        self._keys = keys
        self._reader = reader
        self._known = known
        self._patience_s = ATTEMPT_FIRST_S
        self._in_pieces: tuple[int, bytes] | None = None
        """The position and the digest of the last value whose pieces are all there: it may be proposed again."""

    async def append(self, after: int, entries: Sequence[bytes]) -> int:
        """Commit `entries` after the position `after`; return the last position written.

        Raises:
            Conflict: `after` is not the last position, and these entries are not what stands there.
            LogUnavailable: nothing is decided.
        """
        value = await self._value(after + 1, entries)
        last = after + len(entries)
        request = rpc.only_if(
            [rpc.is_value(self._keys.tail, position_value(after)) if after else rpc.is_absent(self._keys.tail)],
            [rpc.put(self._keys.log(after + 1), value), rpc.put(self._keys.tail, position_value(last))],
            [rpc.one(self._keys.tail), rpc.one(self._keys.log(after + 1))],
        )
        answer = await self._propose(request)
        if not answer.succeeded:
            await self._check_stands(answer, after, entries, value)
        self._known.learn(last)
        return last

    async def _propose(self, request: rpc.Message) -> rpc.Message:
        """Send a transaction; who is not answered has more patience the next time."""
        try:
            answer = await self._cluster.ask("txn", request, within_s=self._patience_s, attempt_s=self._patience_s)
        except LogUnavailable:
            self._patience_s = min(2 * self._patience_s, ATTEMPT_MOST_S)
            raise
        self._patience_s = ATTEMPT_FIRST_S
        return answer

    async def _check_stands(self, answer: rpc.Message, after: int, entries: Sequence[bytes], value: bytes) -> None:
        """Return if `entries` stand after `after`, in one append or in several; else raise a `Conflict`."""
        tail, there = rpc.else_value(answer, 0), rpc.else_value(answer, 1)
        if there == value:
            return
        position = position_of(tail) if tail is not None else 0
        self._known.learn(position)
        conflict = Conflict(f"the log ends at position {position}; these entries do not stand after {after}")
        if position < after + len(entries):
            raise conflict
        compared = 0
        try:
            async for chunk in self._reader.entries(after, len(entries)):
                if list(chunk) != list(entries[compared : compared + len(chunk)]):
                    raise conflict
                compared += len(chunk)
        except LogTrimmed:
            raise conflict from None

    async def begin_after(self, first: bytes, after: int, entry: bytes) -> None:
        """Make an empty log go on with `entry` after the position `after`.

        Raises:
            Conflict: the log is not empty; nothing was written.
            LogUnavailable: it may be done or not.
        """
        founding = await self._value(1, [first], BESIDE_OTHERS_BYTES_MAX)
        following = await self._value(after + 1, [entry], BESIDE_OTHERS_BYTES_MAX)
        request = rpc.only_if(
            [rpc.is_absent(self._keys.tail), rpc.is_absent(self._keys.log(1))],
            [
                rpc.put(self._keys.log(1), founding),
                rpc.put(self._keys.log(after + 1), following),
                rpc.put(self._keys.tail, position_value(after + 1)),
            ],
            [rpc.one(self._keys.tail), rpc.one(self._keys.log(1)), rpc.one(self._keys.log(after + 1))],
        )
        answer = await self._propose(request)
        if not answer.succeeded:
            found = [rpc.else_value(answer, number) for number in range(3)]
            if found != [position_value(after + 1), founding, following]:  # else this was asked for before
                raise Conflict(f"the log is not empty: it ends at position {position_of(found[0] or b'0')}")
        self._known.learn(after + 1)

    async def _value(self, first: int, entries: Sequence[bytes], inline_bytes_max: int = PIECE_BYTES_MAX) -> bytes:
        """Return the value that holds `entries` at `first`, or one that stands for pieces that are now in etcd."""
        framed = frame(entries)
        if len(framed) <= inline_bytes_max:
            return framed
        reference = await asyncio.to_thread(refer, entries, framed)
        if self._in_pieces != (first, reference.digest):
            await self._put_pieces(first, reference, cut(framed))
            self._in_pieces = (first, reference.digest)
        return frame_reference(reference)

    async def _put_pieces(self, first: int, reference: Reference, pieces: Sequence[bytes]) -> None:
        for start in range(0, len(pieces), PIECES_AT_ONCE):
            puts = [
                rpc.put(self._keys.piece(first, reference.digest, number), piece)
                for number, piece in enumerate(pieces[start : start + PIECES_AT_ONCE], start)
            ]
            asked = [self._cluster.ask("put", put, within_s=PAGE_S, attempt_s=PAGE_ATTEMPT_S) for put in puts]
            for outcome in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
