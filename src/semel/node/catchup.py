"""Catching up: brings a peer's snapshot to a node that the log has left behind.

Knows whom to ask and how long; not how a snapshot travels, nor what the node does with it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from semel.errors import ClusterMismatch, LogUnavailable, ReplicaError
from semel.log.protocol import Log
from semel.node.fit import check_fit
from semel.node.members import decode_beats
from semel.node.snapshot import Snapshot

AGAIN_S = 1.0
"""The pause before the peers are asked again, if none of them could help."""
SAY_EVERY_S = 5.0
"""Progress is logged so often."""

logger = logging.getLogger("semel")


class Fetch(Protocol):
    """Brings a peer's snapshot."""

    async def __call__(self, urls: list[str], into: Path, tell: Callable[[str, int, int], None], /) -> None:
        """Fetch the snapshot of the first node that gives one into a file, telling of the bytes: here, and in all.

        Raises:
            LogUnavailable: none of the nodes gave one.
        """
        ...


class CatchUp:
    """One node's way back to the others; `state` says for people how far it is."""

    def __init__(self, log: Log, me: str, fetch: Fetch, into: Path) -> None:
        """`me` is the node's name; `into` is the file in which snapshots come in."""
        self._log = log
        self._me = me
        self._fetch = fetch
        self._into = into
        self._said_s = 0.0
        self.state: str | None = None

    async def bring(self, after: int, cluster_id: str) -> Snapshot:
        """Return a checked snapshot of the log that stands for more than the position `after`; wait for a peer's.

        Raises:
            ReplicaError: there is no room for it, or the log is of another cluster than `cluster_id` (if it is known).
        """
        try:
            while True:
                try:
                    snapshot = await self._ask(after)
                except LogUnavailable as error:
                    self._say(f"the log no longer gives what comes after position {after}, and {error}")
                else:
                    if cluster_id not in ("", snapshot.totals.cluster_id):
                        raise ReplicaError(
                            f"the log is of the cluster {snapshot.totals.cluster_id}, and this node's replica of "
                            f"{cluster_id}: the log was replaced. To join the other, move the node's folder away"
                        )
                    return snapshot
                await asyncio.sleep(AGAIN_S)
        except BaseException:
            self._into.unlink(missing_ok=True)  # what came of it is room on a disk that may be full
            raise
        finally:
            self.state = None

    async def _ask(self, after: int) -> Snapshot:
        beats = decode_beats(await self._log.pulses())
        ahead = sorted(
            (beat for name, beat in beats.items() if name != self._me and beat.position > after),
            key=lambda beat: beat.position,
            reverse=True,
        )
        if not ahead:
            raise LogUnavailable(
                "no other node is there whose replica has it: start one that has, or restore a backup (semel restore)"
            )
        failures = []
        for beat in ahead:
            try:
                await self._fetch([beat.url], self._into, self._progress)
                return await self._checked(beat.url, after)
            except LogUnavailable as error:
                failures.append(str(error))
        raise LogUnavailable("; ".join(failures))

    async def _checked(self, url: str, after: int) -> Snapshot:
        """Return what has come from a peer, if this log can go on from it: who answers at a URL may be anybody by now.

        Raises:
            LogUnavailable: it cannot; another peer's may.
        """
        try:
            snapshot = await asyncio.to_thread(Snapshot.check, self._into)
        except ReplicaError as error:
            raise LogUnavailable(f"the snapshot of {url} is of no use: {error}") from error
        totals = snapshot.totals
        if totals.position <= after:
            raise LogUnavailable(f"the snapshot of {url} reaches to {totals.position} only; waiting for a newer one")
        try:
            await check_fit(self._log, await self._log.tail(), totals, snapshot.last_entry, totals.cluster)
        except (ClusterMismatch, ReplicaError) as error:
            raise LogUnavailable(f"what {url} gave is no snapshot of this log, but of another one") from error
        return snapshot

    def _progress(self, url: str, here_bytes: int, whole_bytes: int) -> None:
        percent = 100 * here_bytes // max(whole_bytes, 1)
        self._say(f"a snapshot of {whole_bytes / 2**20:,.0f} MiB is on its way from {url}: {percent} %")

    def _say(self, text: str) -> None:
        self.state = f"this node was left behind by the log: {text}"
        if time.monotonic() - self._said_s >= SAY_EVERY_S:
            self._said_s = time.monotonic()
            logger.info("%s", text)
