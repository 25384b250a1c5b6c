"""Restores a lost log from a backup: the first node gets the backup as its replica, and an empty log goes on behind it.

Knows the order in which that is done, so that an interruption can be followed by another try; nobody serves meanwhile.
"""

import time
from contextlib import suppress
from pathlib import Path

from semel.core.codec import decode_entry, encode
from semel.core.entry import Founded, Restored
from semel.core.ledger import Totals
from semel.disk import sync
from semel.errors import Conflict, ReplicaError, UsageError
from semel.log.protocol import Log
from semel.node.place import Place
from semel.node.snapshot import Snapshot


async def restore(backup: Path, log: Log, place: Place) -> Totals:
    """Make a backup, or any node's replica, the beginning of an empty log, and the replica of the node at `place`.

    Raises:
        UsageError: the log is not empty, the node has a replica of its own, or the backup holds nothing.
        ReplicaError: the backup is damaged, or there is no room for it.
        LogUnavailable: it may be done or not; do it again.
    """
    incoming = place.replica.with_suffix(".incoming")
    snapshot = Snapshot.take(backup, incoming)
    try:
        totals = snapshot.totals
        if totals.position == 0:
            raise UsageError(f"{backup} holds nothing: start a node on the empty log instead")
        restored_already = await _is_restored(log, totals)
        if not restored_already and (tail := await log.tail()):
            raise UsageError(
                f"the log is not empty (it ends at position {tail}), and nothing was changed: a backup is restored "
                "into an empty log only. Name another --log, or remove what is there"
            )
        _put(snapshot, place)
    finally:
        with suppress(OSError):
            incoming.unlink(missing_ok=True)
    if not restored_already:
        first = encode(Founded(cluster=totals.cluster, id=totals.cluster_id))
        entry = encode(Restored(at_ms=time.time_ns() // 1_000_000))
        try:
            await log.begin_after(first, totals.position, entry)
        except Conflict as error:
            raise UsageError(
                f"somebody has written to the log meanwhile: stop all nodes, and look ({error})"
            ) from error
    return totals


async def _is_restored(log: Log, totals: Totals) -> bool:
    """Return whether this very backup is where the log begins, from an earlier try."""
    if await log.tail() != totals.position + 1:
        return False
    first = await log.first()
    stream = log.follow(totals.position)
    batch = await anext(stream)
    await stream.aclose()
    founded = decode_entry(1, first) if first is not None else None
    same = isinstance(founded, Founded) and founded.id == totals.cluster_id
    return same and isinstance(decode_entry(batch.first, batch.entries[0]), Restored)


def _put(snapshot: Snapshot, place: Place) -> None:
    """Make the snapshot the node's replica, durably, if it has none or this one."""
    if place.replica.exists():
        there = place.replica.with_suffix(".there")
        try:
            same = Snapshot.take(place.replica, there).totals == snapshot.totals
        finally:
            there.unlink(missing_ok=True)
        if not same:
            raise UsageError(
                f"the node {place.name} has a replica of its own, and nothing was changed: move {place.folder} away, "
                "or name another --node"
            )
        return
    try:
        snapshot.path.rename(place.replica)
        sync(place.folder)
    except OSError as error:
        raise ReplicaError(f"{place.replica} cannot be written: {error.strerror}") from error
