"""Keeps etcd small: deletes what was trimmed, compacts its history, gives free pages back; it reads no entry.

Deleting, compacting and defragmenting put nothing, so a full etcd takes them, and may have room again afterwards.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from semel.errors import LogError
from semel.log.etcd import rpc
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.faults import told
from semel.log.etcd.health import Status, statuses
from semel.log.etcd.keys import Keys
from semel.log.etcd.member import Member, Method, RpcError
from semel.log.etcd.reader import Reader

DELETE_S = 10.0
DELETE_ATTEMPT_S = 2.0
"""A trim deletes thousands of keys at once."""
FRAGMENTED_BYTES = 64 * 1024 * 1024
"""A member's file below this size is not worth the pause that defragmenting takes."""
DEFRAGMENT_S = 60.0
"""A member answers nobody while it copies what is in use, some hundred megabytes in a second."""
ROOM = 0.5
"""An alarm is taken back once each file has shrunk to this part of its size under the alarm, which was the quota."""

logger = logging.getLogger("semel")


class Housekeeping:
    """Trims one log, and looks after etcd on that occasion."""

    def __init__(self, cluster: Cluster, keys: Keys, reader: Reader) -> None:
        self._cluster = cluster
        self._keys = keys
        self._reader = reader
        self._revision = 0
        """etcd's revision at the last trim: history before it is nobody's need any more."""
        self._tidying: asyncio.Task[None] | None = None

    async def trim(self, before: int) -> None:
        """Forget the appends below the one that holds `before`, but never the first and the last one.

        To be called now and then even if nothing is to be forgotten: signs of life are history, too.

        Raises:
            LogUnavailable: it may be done or not.
        """
        tail, revision = await self._reader.tail()
        before = min(before, tail)
        if before > 2:
            end = (await self._reader.holding(before)).first
            if end > 2:
                await self._delete(self._keys.log_between(2, end))
                revision = await self._delete(self._keys.pieces_between(2, end))
        if self._cluster.address.compact:
            await self._compact(self._revision)
            self._revision = revision
            if self._tidying is None:
                self._tidying = asyncio.create_task(self._tidy(revision), name="etcd housekeeping")

    async def _delete(self, between: tuple[bytes, bytes]) -> int:
        """Delete keys; return the revision of that."""
        answer = await self._cluster.ask(
            "delete", rpc.delete_span(between), within_s=DELETE_S, attempt_s=DELETE_ATTEMPT_S
        )
        return int(answer.header.revision)

    async def _compact(self, revision: int) -> None:
        """Forget history before `revision`, which a follower that lags by less than a trim still needs none of."""
        if not revision:
            return
        try:
            await self._cluster.ask("compact", rpc.compact(revision))
        except LogError as error:  # compacted further by another, or not allowed, or out of reach: the next trim does
            logger.debug("etcd was not compacted: %s", error)

    async def _tidy(self, revision: int) -> None:
        """Defragment a member that is worth it; under an alarm, make room and take the alarm back."""
        try:
            members = self._cluster.members
            found = await statuses(members, self._cluster.token)
            if any(status is not None and status.full for status in found):
                await self._make_room(found, revision)
                return
            for member, status in _leader_last(members, found):
                if status.file_bytes > FRAGMENTED_BYTES and 2 * status.used_bytes < status.file_bytes:
                    await self._defragment(member)
                    return  # the next trim sees to the next one
        except (LogError, RpcError) as error:
            logger.warning("etcd could not be tidied: %s", error)
        finally:
            self._tidying = None

    async def _make_room(self, full: Sequence[Status | None], revision: int) -> None:
        """Free all that can be freed, at every member, and disarm the alarm if that was enough."""
        await self._compact(revision)
        members = self._cluster.members
        for member, _ in _leader_last(members, full):
            await self._defragment(member)
        for was, now in zip(full, await statuses(members, self._cluster.token), strict=True):
            if was is None or now is None or now.file_bytes > ROOM * was.file_bytes:
                logger.warning("etcd's database is still full (NOSPACE alarm): raise its --quota-backend-bytes")
                return
        for alarm in (await self._cluster.ask("alarm", rpc.alarms())).alarms:
            if rpc.is_nospace(alarm):
                await self._cluster.ask("alarm", rpc.disarm(alarm))
        logger.warning("etcd's database was full (NOSPACE alarm), has room again, and the alarm is taken back")

    async def _defragment(self, member: Member) -> None:
        self._cluster.leave(member)  # it answers nobody for a while
        await self._direct(member, "defragment", rpc.defragment())

    async def _direct(self, member: Member, method: Method, request: rpc.Message) -> Any:
        try:
            return await member.ask(method, request, within_s=DEFRAGMENT_S, token=self._cluster.token)
        except RpcError as error:
            raise told(error, member.endpoint, self._cluster.address.user) from error

    async def close(self) -> None:
        """End what is under way."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait([self._tidying])


def _leader_last(members: Sequence[Member], found: Sequence[Status | None]) -> Sequence[tuple[Member, Status]]:
    """Return the members that answer with their status, the leader behind the others: a pause of it is everybody's."""
    answering = [(member, status) for member, status in zip(members, found, strict=True) if status is not None]
    return sorted(answering, key=lambda pair: pair[1].leads)
