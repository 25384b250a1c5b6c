"""How etcd's members are, in a sentence for an operator: who can be reached, whether they have a leader and room.

It asks every member at once, off the path of any request and not too often; it decides nothing.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from semel.errors import LogError
from semel.log.etcd import rpc
from semel.log.etcd.faults import FULL, is_denied
from semel.log.etcd.member import Member, RpcError

PROBE_S = 0.5
"""A member that lives answers in a millisecond or two; this is for a busy one."""
PROBE_EVERY_S = 1.0
"""While there is trouble, members are asked so often at most."""
FRESH_S = 5.0
"""What was found longer ago says nothing about trouble of now."""


UNTOLD = "untold"
_SOMEBODY = -1


@dataclass(frozen=True, slots=True)
class Status:
    """How one member says that it is."""

    cluster: int
    version: str
    leader: int
    """The member's id that it takes for the leader, 0 for none."""
    member: int
    file_bytes: int
    used_bytes: int
    alarms: Sequence[str]

    @classmethod
    def withheld(cls, cluster: int) -> Self:
        """Return what is known of a member that answers, and tells administrators only how it is."""
        return cls(cluster, UNTOLD, _SOMEBODY, 0, 0, 0, ())

    @property
    def leads(self) -> bool:
        """Whether this member is the leader."""
        return self.leader == self.member

    @property
    def full(self) -> bool:
        """Whether a database of the cluster has reached its quota."""
        return any("NOSPACE" in alarm for alarm in self.alarms)


async def status_of(member: Member, *, within_s: float = PROBE_S, token: str | None = None) -> Status:
    """Ask one member how it is; raises `RpcError`."""
    answer = await member.ask("status", rpc.status(), within_s=within_s, token=token)
    header = answer.header
    return Status(
        header.cluster_id,
        answer.version,
        answer.leader,
        header.member_id,
        answer.dbSize,
        answer.dbSizeInUse,
        tuple(answer.errors),
    )


def unfit(status: Status, endpoint: str, cluster: int) -> LogError | None:
    """Return why not to ask a member: it is of another cluster (0 is any), or of a version not to be trusted."""
    if cluster not in (0, status.cluster):
        return LogError(
            f"etcd at {endpoint} belongs to another cluster ({status.cluster:x}) than the members named before it "
            f"({cluster:x}): name the members of one cluster"
        )
    if status.version == UNTOLD:  # versions that withhold it are newer than those that must be refused
        return None
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", status.version)
    version = tuple(map(int, numbers.groups())) if numbers else (0, 0, 0)
    if (3, 5, 0) <= version <= (3, 5, 2):
        return LogError(
            f"etcd {status.version} at {endpoint} can corrupt its data when it is killed: update it to 3.5.3+"
        )
    if not (3, 4) <= version < (4,):
        return LogError(
            f"etcd {status.version or '(of no version)'} at {endpoint} is not supported: use 3.4, 3.5 or 3.6"
        )
    return None


class Health:
    """What was last found out about the members, for the text of an error."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self.token: str | None = None
        self._finding: str | None = None
        self._found_at = -FRESH_S
        self._probe: asyncio.Task[None] | None = None
        self._probed_at = -PROBE_EVERY_S

    @property
    def finding(self) -> str | None:
        """The newest finding, None if nothing is known that says something about now."""
        return self._finding if time.monotonic() - self._found_at < FRESH_S else None

    def trouble(self) -> None:
        """Find out more in the background, unless that is under way or has just been done."""
        if self._probe is None and time.monotonic() - self._probed_at >= PROBE_EVERY_S:
            self._probed_at = time.monotonic()
            self._probe = asyncio.create_task(self._find(), name="etcd health")

    def well(self) -> None:
        """Forget the trouble: a request was answered."""
        self._finding = None

    async def _find(self) -> None:
        try:
            self._finding = finding(await statuses(self._members, self.token))
            self._found_at = time.monotonic()
        finally:
            self._probe = None

    async def close(self) -> None:
        """End a probe that is under way."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait([self._probe])


async def statuses(members: Sequence[Member], token: str | None = None) -> Sequence[Status | None]:
    """Ask all members how they are, at once; None for who does not answer."""

    async def ask(member: Member) -> Status | None:
        try:
            return await status_of(member, token=token)
        except RpcError as error:
            return Status.withheld(0) if is_denied(error) else None

    return await asyncio.gather(*map(ask, members))


def finding(found: Sequence[Status | None]) -> str:
    """Return what the members' answers, or their silence, add up to."""
    reached = [status for status in found if status is not None]
    of = f"{len(reached)} of {len(found)} etcd members reachable"
    if not reached:
        return f"no quorum: {of}"
    if any(status.full for status in reached):
        return FULL
    if not any(status.leader for status in reached):
        return f"no quorum: {of}" if 2 * len(reached) <= len(found) else f"etcd has no leader; {of}"
    if 2 * len(reached) <= len(found):
        return f"{of}, and no answer from there: there may be no quorum"
    return f"etcd is slow or is electing a leader; {of}"
