"""Asks whichever member answers, and stays with it; it knows rotation, tokens and deadlines, and no log.

A request that got no answer may have been done, or may be done later: whoever asks must be able to ask the very same
again. Everything that semel asks of etcd is such.
"""

import asyncio
import time
from typing import Any, Self

from semel.errors import LogError, LogUnavailable
from semel.log.etcd import rpc
from semel.log.etcd.address import EtcdAddress
from semel.log.etcd.faults import Verdict, is_denied, told, verdict
from semel.log.etcd.health import Health, Status, status_of, unfit
from semel.log.etcd.keys import Keys
from semel.log.etcd.member import Member, Method, RpcError, credentials_of

READ_S = 3.0
"""A reading request is tried for so long, with all members, before it is said to be out of reach."""
ATTEMPT_FIRST_S = 0.3
ATTEMPT_MOST_S = 3.0
"""One attempt at one member: long for an answer on a LAN, short for noticing that a member is stopped. It doubles
while no answer comes, so that a slow etcd is not asked for ever in vain."""
ROUND_PAUSE_S = 0.02
"""Members that refuse at once, all of them, are asked again after this pause: an election takes some of them."""


class Cluster:
    """The members that the address names; `open` makes it, in the running event loop."""

    def __init__(self, address: EtcdAddress) -> None:
        self.address = address
        self.id = 0
        """etcd's own number of the cluster, from the first member that answered."""
        credentials = credentials_of(address)
        self.members = tuple(Member(endpoint, credentials) for endpoint in address.endpoints)
        self.health = Health(self.members)
        self.revision = 0
        """etcd's newest revision that an answer has named: it counts writes."""
        self.full = False
        """Whether etcd has said that it has no room; whoever makes room takes this back."""
        self.token: str | None = None
        self._current = self.members[0]
        self._login = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, address: EtcdAddress) -> Self:
        """Find a member that answers, and check every one that does.

        Raises:
            LogUnavailable: none answers.
            LogError: a member is of another cluster or of a version not to be trusted, or does not let us in.
        """
        cluster = cls(address)
        try:
            await cluster._open()
        except BaseException:
            await cluster.close()
            raise
        return cluster

    async def _open(self) -> None:
        if self.address.user is not None:
            await self._authenticate(None)
        found = await asyncio.gather(*map(self._status_or_error, self.members))
        answering = [member for member, status in zip(self.members, found, strict=True) if isinstance(status, Status)]
        for error in found:
            if isinstance(error, LogError) and not isinstance(error, LogUnavailable):
                raise error
        if not answering:
            reasons = "; ".join(str(error) for error in found)
            raise LogUnavailable(f"no etcd member of {self.address} can be reached: {reasons}")
        for member, status in zip(self.members, found, strict=True):
            if isinstance(status, Status):
                self._check(member, status)
        self._current = answering[0]

    async def _status_or_error(self, member: Member) -> Status | LogError:
        try:
            return await self._status(member, ATTEMPT_MOST_S)
        except RpcError as error:
            return told(error, member.endpoint, self.address.user)

    async def _status(self, member: Member, within_s: float) -> Status:
        """Ask a member how it is; one that tells this to administrators only is asked for its cluster by a read."""
        try:
            return await status_of(member, within_s=within_s, token=self.token)
        except RpcError as error:
            if not is_denied(error):
                raise
        request = rpc.one(Keys(self.address.prefix).tail)
        answer = await member.ask("range", request, within_s=within_s, token=self.token)
        return Status.withheld(answer.header.cluster_id)

    def _check(self, member: Member, status: Status) -> None:
        if (reason := unfit(status, member.endpoint, self.id)) is not None:
            raise reason
        self.id = status.cluster
        member.fit = True

    @property
    def current(self) -> Member:
        """The member that is asked first."""
        return self._current

    def next_to(self, member: Member) -> Member:
        """The member after this one, in the address's order and round."""
        return self.members[(self.members.index(member) + 1) % len(self.members)]

    def leave(self, member: Member) -> None:
        """Ask another member from now on, unless somebody has seen to that."""
        if self._current is member:
            self._current = self.next_to(member)

    async def ask(self, method: Method, request: Any, *, within_s: float = READ_S, attempt_s: float = 0.0) -> Any:
        """Return the answer to a request that may be done more than once.

        Each attempt at a member takes `attempt_s` at most, the first; then twice as long, and so on.

        Raises:
            LogUnavailable: no member has answered; the request may have been done, or may be done later.
            LogError: asking again cannot help.
        """
        ends_at = time.monotonic() + within_s
        attempt_s = attempt_s or ATTEMPT_FIRST_S
        for number in range(1, 1_000_000):
            member, left_s = self._current, ends_at - time.monotonic()
            trouble, found = await self._attempt(member, method, request, min(attempt_s, left_s))
            if trouble is None:
                return found
            self.full = self.full or trouble is Verdict.FULL
            self.health.trouble()
            left_s = ends_at - time.monotonic() - ROUND_PAUSE_S
            if left_s <= 0 or trouble is Verdict.FULL:
                break
            if trouble is Verdict.LATER:
                attempt_s = min(2 * attempt_s, ATTEMPT_MOST_S)
            if number % len(self.members) == 0:
                await asyncio.sleep(ROUND_PAUSE_S)
        raise self._unavailable(found) if trouble is not Verdict.FULL else found

    async def _attempt(
        self, member: Member, method: Method, request: Any, within_s: float
    ) -> tuple[Verdict | None, Any]:
        """Ask one member, which is left if it does not answer; return no verdict and the answer, or why not."""
        token = self.token
        try:
            if not member.fit:
                status = await self._status(member, within_s)
                if (reason := unfit(status, member.endpoint, self.id)) is not None:
                    self.leave(member)
                    return Verdict.ELSEWHERE, reason
                member.fit = True
            answer = await member.ask(method, request, within_s=within_s, token=token)
        except RpcError as error:
            self.check_open()
            fault, what = told(error, member.endpoint, self.address.user), verdict(error)
            if what is Verdict.NEVER:
                raise fault from error
            if what is Verdict.TOKEN and self.address.user is not None:
                await self._authenticate(token)
            else:
                self.leave(member)
            return what, fault
        self._check_answer(answer, member)
        self.health.well()
        return None, answer

    def _check_answer(self, answer: Any, member: Member) -> None:
        if answer.header.cluster_id not in (0, self.id):  # etcd 3.4 does not say it of alarms
            member.fit = False
            raise LogError(
                f"etcd at {member.endpoint} has become another cluster ({answer.header.cluster_id:x}, it was "
                f"{self.id:x}): name the members of one cluster, and start this node again"
            )
        self.revision = max(self.revision, answer.header.revision)

    async def _authenticate(self, refused: str | None) -> None:
        """Get a token in place of `refused`, unless somebody else has got one by now."""
        async with self._login:
            if self.token != refused:
                return
            faults = []
            for _ in self.members:
                member = self._current
                request = rpc.login(self.address.user or "", self.address.password or "")
                try:
                    answer = await member.ask("authenticate", request, within_s=ATTEMPT_MOST_S, token=None)
                except RpcError as error:
                    if "authentication is not enabled" in (error.details() or ""):
                        return
                    faults.append(told(error, member.endpoint, self.address.user))
                    if verdict(error) is Verdict.NEVER:
                        raise faults[-1] from error
                    self.leave(member)
                else:
                    self.token = self.health.token = answer.token
                    return
        raise LogUnavailable(f"no etcd member of {self.address} can be reached: {'; '.join(map(str, faults))}")

    def _unavailable(self, fault: Any) -> LogUnavailable:
        finding = self.health.finding
        return LogUnavailable(f"{finding} ({fault})" if finding and finding != str(fault) else str(fault))

    def check_open(self) -> None:
        """Raise a `LogError` if this was closed."""
        if self._closed:
            raise LogError(f"the log {self.address} is closed")

    async def close(self) -> None:
        """Cut all connections; who still asks gets a `LogError`."""
        if self._closed:
            return
        self._closed = True
        await self.health.close()
        for member in self.members:
            member.close()
