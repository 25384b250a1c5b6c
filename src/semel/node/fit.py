"""Whether a log is the one that a node's replica was made from, and of the cluster that the node was told.

Asked once, at a node's start, before anything is folded or decided.
"""

from semel.core.codec import decode_entry
from semel.core.entry import Founded
from semel.core.ledger import Totals
from semel.errors import ClusterMismatch, LogDamaged, LogTrimmed, ReplicaError
from semel.log.protocol import Log
from semel.node.replica import digest_of_entry


async def check_fit(log: Log, tail: int, totals: Totals, last_entry: str, cluster: str) -> None:
    """Return if a replica of these totals, whose last entry has that digest, can go on from the log.

    Raises:
        ClusterMismatch: the log belongs to another cluster than the one named.
        ReplicaError: the log has lost entries, or is another one.
        LogDamaged: the log does not begin as a log does.
    """
    if totals.position > tail:
        raise ReplicaError(
            f"this node's replica has {totals.position} entries, and the log only {tail}: the log was replaced or "
            "has lost entries. If the log was replaced on purpose, move the node's folder away; else restore it"
        )
    if tail == 0:
        return
    first = await log.first()
    founded = decode_entry(1, first) if first is not None else None
    if not isinstance(founded, Founded):
        raise LogDamaged("the log does not begin with the founding of a cluster: restore it from a copy")
    if founded.cluster != cluster:
        raise ClusterMismatch(
            f"the log belongs to the cluster {founded.cluster!r}, and this node is of {cluster!r}: "
            "name another --log, or this cluster with --cluster"
        )
    if totals.position == 0:
        return
    if founded.id != totals.cluster_id:
        raise ReplicaError(
            f"this node's replica is of another log than this one (both of a cluster {founded.cluster!r}): "
            "name the right --log, or move the node's folder away"
        )
    try:
        entry = await _entry_at(log, totals.position)
    except LogTrimmed:
        return  # what is trimmed was held durably by all who lived; a peer's replica tells the rest
    if digest_of_entry(entry) != last_entry:
        raise ReplicaError(
            "this node's replica and the log have different histories: another entry stands at position "
            f"{totals.position} than the one that this node read there. An older copy of the log was put in its "
            "place, perhaps. Restore the right log; or, to lose what it does not have, move the node's folder away"
        )


async def _entry_at(log: Log, position: int) -> bytes:
    stream = log.follow(position - 1)
    batch = await anext(stream)
    await stream.aclose()
    return batch.entries[0]
