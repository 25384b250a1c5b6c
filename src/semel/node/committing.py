"""When a node's replica is committed, and as of which entry of the log; knows no decisions."""

import asyncio
from collections.abc import Callable
from functools import partial

from semel.core.ledger import Ledger
from semel.node.replica import Replica, digest_of_entry

COMMIT_S = 0.1
"""How long the replica's file may be behind what the node has folded, if nobody reads it: most calls have begun and
ended by then."""


class Committing:
    """The commits of one replica, whose ledger this is; when one is due, `commit` is called, which calls `now`."""

    def __init__(self, replica: Replica, ledger: Ledger, commit: Callable[[], None]) -> None:
        self._replica = replica
        self._ledger = ledger
        self._commit = commit
        self._due: asyncio.TimerHandle | None = None
        self._digests: dict[int, Callable[[], str]] = {}
        """Give the digests of entries that the log gave back, by their positions: of all at which the node may stand
        when it commits."""

    def note(self, position: int, entry: bytes) -> None:
        """Take note of the last entry of what the log gave back; it is folded next, or was before."""
        self._digests[position] = partial(digest_of_entry, entry)

    def note_digest(self, position: int, digest: str) -> None:
        """Take note of the digest of the last entry of a snapshot."""
        self._digests[position] = partial(str, digest)

    def soon(self) -> None:
        """Have what was folded committed soon; at once if it is much."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(COMMIT_S, self._commit)
        if self._replica.full:
            self._commit()

    def now(self) -> None:
        """Commit what was folded, if anything was; raises ReplicaError."""
        if self._due is None:
            return
        self._due.cancel()
        self._due = None
        totals = self._ledger.totals
        self._replica.commit(totals, self._digests[totals.position]())
        self._digests = {position: it for position, it in self._digests.items() if position >= totals.position}
