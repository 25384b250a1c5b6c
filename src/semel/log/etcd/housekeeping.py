"""Keeps etcd small: deletes what was trimmed, compacts its history, gives free pages back; it reads no entry.

Deleting, compacting and defragmenting put nothing, so a full etcd takes them, and may have room again afterwards.
"""

import asyncio
import logging
import random
import time
from collections.abc import Sequence

from semel.errors import LogError, LogUnavailable
from semel.log.etcd import rpc
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.faults import told
from semel.log.etcd.health import Status, statuses
from semel.log.etcd.keys import Keys
from semel.log.etcd.member import Member, RpcError
from semel.log.etcd.reader import Reader

DELETE_S = 10.0
DELETE_ATTEMPT_S = 2.0
"""A trim deletes thousands of keys at once."""
FRAGMENTED_BYTES = 64 * 1024 * 1024
"""A member's file below this size is not worth the pause that defragmenting takes."""
DEFRAGMENT_S = 60.0
"""A member answers nobody while it copies what is in use, some hundred megabytes in a second."""
TEND_EVERY_S = 60.0
TEND_AFTER_TRIM_S = 1.0
"""History is compacted so often. What a trim has deleted is freed by the second compaction after it, so that a
follower that lags by a moment finds its events still there."""
TEND_WHEN_FULL_S = 5.0
"""If one attempt to make room was not enough, the next one waits for a trim to have deleted something."""
TAKE_TURNS_S = 2.0
"""A node that is about to tidy waits for a random part of this, so that the nodes do not do it all at once."""

logger = logging.getLogger("semel")


class Housekeeping:
    """Trims one log, and looks after etcd on that occasion."""

    def __init__(self, cluster: Cluster, keys: Keys, reader: Reader) -> None:
        self._cluster = cluster
        self._keys = keys
        self._reader = reader
        self._revision = 0
        """etcd's revision when it was last tended: history before it is nobody's need any more."""
        self._tended_at = time.monotonic()
        self._tend_at = self._tended_at + TEND_AFTER_TRIM_S
        self._soon = 0
        """So many more times it is to be tended soon: what a trim has deleted takes two compactions to be freed."""
        self._warned = False
        self._tending: asyncio.Task[None] | None = None

    async def trim(self, before: int) -> None:
        """Forget the appends below the one that holds `before`, but never the first and the last one.

        Raises:
            LogUnavailable: it may be done or not.
        """
        tail, _ = await self._reader.tail()
        before = min(before, tail)
        if before > 2:
            end = (await self._reader.holding(before)).first
            if end > 2:
                await self._delete(self._keys.log_between(2, end))
                await self._delete(self._keys.pieces_between(2, end))
                self._soon = 2
                self._tend_at = min(self._tend_at, self._tended_at + TEND_AFTER_TRIM_S)
        self.tend()

    def tend(self) -> None:
        """Compact etcd in the background, and tidy it, if it is time to; to be called now and then.

        Signs of life are history, too: even an idle cluster fills etcd if nobody compacts it.
        """
        now = time.monotonic()
        due_at = self._tended_at + TEND_WHEN_FULL_S if self._cluster.full else self._tend_at
        if self._cluster.address.compact and now >= due_at and self._tending is None:
            self._soon = max(0, self._soon - 1)
            self._tended_at, self._tend_at = now, now + (TEND_AFTER_TRIM_S if self._soon else TEND_EVERY_S)
            self._tending = asyncio.create_task(self._tend(), name="etcd housekeeping")

    async def _tend(self) -> None:
        try:
            before, self._revision = self._revision, self._cluster.revision
            await self._compact(before)
            if self._worth_tidying(await self._statuses()):
                # Every node sees the same: one of them does it, and the others see that it is done.
                await asyncio.sleep(random.uniform(0, TAKE_TURNS_S))
                await self._tidy(await self._statuses())
        except (LogError, RpcError) as error:
            logger.warning("etcd could not be tidied: %s", error)
        finally:
            self._tending = None

    async def _delete(self, between: tuple[bytes, bytes]) -> None:
        await self._cluster.ask("delete", rpc.delete_span(between), within_s=DELETE_S, attempt_s=DELETE_ATTEMPT_S)

    async def _compact(self, revision: int, *, physical: bool = False) -> None:
        """Forget history before `revision`, which a follower that lags by less than a trim still needs none of."""
        if not revision:
            return
        try:
            await self._cluster.ask(
                "compact", rpc.compact(revision, physical=physical), within_s=DELETE_S, attempt_s=DELETE_ATTEMPT_S
            )
        except LogUnavailable:
            pass  # the next trim does it
        except LogError as error:
            if "compacted" not in str(error) and not self._warned:  # another leader may have compacted further
                self._warned = True
                logger.warning("etcd's history cannot be compacted, and will grow: %s; or add compact=no", error)

    async def _statuses(self) -> Sequence[Status | None]:
        return await statuses(self._cluster.members, self._cluster.token)

    def _worth_tidying(self, found: Sequence[Status | None]) -> bool:
        return any(status is not None and (status.full or _is_fragmented(status)) for status in found)

    async def _tidy(self, found: Sequence[Status | None]) -> None:
        """Defragment a member that is worth it; under an alarm, make room and take the alarm back."""
        self._cluster.full = False  # or the next write says so again
        if any(status is not None and status.full for status in found):
            await self._make_room(found)
            return
        for member, status in _leader_last(self._cluster.members, found):
            if _is_fragmented(status):
                await self._defragment(member)
                return  # the next one has its turn the next time

    async def _make_room(self, full: Sequence[Status | None]) -> None:
        """Free all that can be freed, at every member, and take the alarm back.

        If that was not enough, the next write raises the alarm anew: nothing is lost by taking it back.
        """
        await self._compact(self._cluster.revision, physical=True)
        for member, _ in _leader_last(self._cluster.members, full):
            await self._defragment(member)
        for alarm in (await self._cluster.ask("alarm", rpc.alarms())).alarms:
            if rpc.is_nospace(alarm):
                await self._cluster.ask("alarm", rpc.disarm(alarm))
        logger.warning(
            "etcd's database was full (NOSPACE alarm); it was compacted and defragmented, and the alarm taken back. "
            "If this comes again, raise etcd's --quota-backend-bytes"
        )

    async def _defragment(self, member: Member) -> None:
        self._cluster.leave(member)  # it answers nobody for a while
        try:
            await member.ask("defragment", rpc.defragment(), within_s=DEFRAGMENT_S, token=self._cluster.token)
        except RpcError as error:
            raise told(error, member.endpoint, self._cluster.address.user) from error

    async def close(self) -> None:
        """End what is under way."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.wait([self._tending])


def _is_fragmented(status: Status) -> bool:
    return status.file_bytes > FRAGMENTED_BYTES and 2 * status.used_bytes < status.file_bytes


def _leader_last(members: Sequence[Member], found: Sequence[Status | None]) -> Sequence[tuple[Member, Status]]:
    """Return the members that answer with their status, the leader behind the others: a pause of it is everybody's."""
    answering = [(member, status) for member, status in zip(members, found, strict=True) if status is not None]
    return sorted(answering, key=lambda pair: pair[1].leads)
