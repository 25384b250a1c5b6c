"""Appends to a log in etcd, and tells whether an append stands; it writes, and follows nothing.

An append is one transaction: if the tail is where it was expected to be, the append's key and the new tail are
written. So a request that is delivered twice, or late, meets a tail that has moved on, and writes nothing.
"""

import asyncio
import time
from collections.abc import Sequence

from semel.errors import Conflict, LogTrimmed, LogUnavailable
from semel.log.etcd import rpc
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.faults import FULL, EtcdFull
from semel.log.etcd.framing import PIECE_BYTES_MAX, Reference, cut, frame, frame_reference, refer
from semel.log.etcd.keys import Keys, position_of, position_value
from semel.log.etcd.reader import PAGE_ATTEMPT_S, PAGE_S, PIECES_AT_ONCE, Reader
from semel.log.etcd.tails import KnownTail

PATIENCE_S = (*[0.06] * 12, 0.2, 0.4, 0.8, 1.6, 3.0)
"""How long one proposal waits for its answer, and the next ones. While etcd elects a leader, it loses proposals without
a word: only another one tells that there is a leader again. So they come fast for as long as an election takes, and
then slower, because an etcd that is slow must not be asked for ever in vain. (With 0.15 s instead of 0.06 s the median
time without appends after a kill of etcd's leader was 500 ms instead of 375 ms, 24 and 30 kills.)"""
SLOWER_THAN_USUAL = 4
FORGET = 0.95
"""An etcd whose answers take longer than that, its disk being slow, is given so many times the slowest of late."""
BESIDE_OTHERS_BYTES_MAX = PIECE_BYTES_MAX // 2
"""Two values of this size fit into one request."""


class Appender:
    """Appends to one log, one append at a time."""

    def __init__(self, cluster: Cluster, keys: Keys, reader: Reader, known: KnownTail) -> None:
        self._cluster = cluster
        self._keys = keys
        self._reader = reader
        self._known = known
        self._failures = 0
        self._usual_s = 0.0
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
        try:
            answer = await self._propose(request)
        except EtcdFull:
            await self._check_stands_in_full(after, entries)
        else:
            if not answer.succeeded:
                await self._check_stands(answer, after, entries, value)
        self._known.learn(last)
        return last

    async def _propose(self, request: rpc.Message) -> rpc.Message:
        """Send a transaction; who is not answered proposes again soon at first, and is more patient later on."""
        patience_s = max(PATIENCE_S[min(self._failures, len(PATIENCE_S) - 1)], SLOWER_THAN_USUAL * self._usual_s)
        patience_s = min(patience_s, PATIENCE_S[-1])
        asked_at = time.monotonic()
        try:
            answer = await self._cluster.ask("txn", request, within_s=patience_s, attempt_s=patience_s)
        except LogUnavailable:
            self._failures += 1
            raise
        self._failures = 0
        self._usual_s = max(time.monotonic() - asked_at, FORGET * self._usual_s)
        return answer

    async def _check_stands(self, answer: rpc.Message, after: int, entries: Sequence[bytes], value: bytes) -> None:
        """Return if `entries` stand after `after`, in one append or in several; else raise a `Conflict`."""
        tail, there = rpc.else_value(answer, 0), rpc.else_value(answer, 1)
        if there == value:
            return
        await self._check_read(position_of(tail) if tail is not None else 0, after, entries)

    async def _check_stands_in_full(self, after: int, entries: Sequence[bytes]) -> None:
        """Return if `entries` stand although etcd says that it is full, which may be said of what it has just done."""
        position, _ = await self._reader.tail()
        if position <= after:
            raise EtcdFull(FULL)  # they may yet come: nothing is decided
        await self._check_read(position, after, entries)

    async def _check_read(self, tail: int, after: int, entries: Sequence[bytes]) -> None:
        """Compare what stands after `after` with `entries`; raise a `Conflict` if it is something else."""
        self._known.learn(tail)
        conflict = Conflict(f"the log ends at position {tail}; these entries do not stand after {after}")
        if tail < after + len(entries):
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
