"""Calls that a node remembers, without the hours that it would take to make them: its replica is written as if it had
folded them all, and its log goes on where they end, as after a restored backup.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from semel.core.call import CallId, Effect, NodeId, Record, Status, digest_of
from semel.core.codec import encode
from semel.core.entry import Founded, Restored
from semel.core.ledger import Totals
from semel.gateway.doors.asked import ANONYMOUS
from semel.log.engines import open_log
from semel.node.replica import Replica

WRITER = NodeId("n0", "gone")
ODD = 0x9E3779B97F4A7C15
FIRST_ENTRIES = 2
"""The foundation and an election."""


def key_of(number: int) -> str:
    """Return the key of one of them; in the order in which they were made, keys are in none."""
    return f"{number * ODD % 2**64:016x}"


async def remember(log_url: str, replica: Path, calls: int) -> None:
    """Write a replica and a log of so many calls of `add`, of a number and 1."""
    totals = Totals(
        position=FIRST_ENTRIES + 2 * calls,
        clock_ms=time.time_ns() // 1_000_000,
        cluster="semel",
        cluster_id="remembered",
        term=1,
        calls=calls,
        rounds=calls,
        executions_by_node={WRITER.name: calls},
    )
    replica.parent.mkdir(parents=True)
    with closing(Replica(replica)) as archive:
        for record in records(calls, totals.clock_ms):
            archive.keep(record)
            if archive.full:
                archive.commit(totals, "")
        archive.commit(totals, "")
    log = await open_log(log_url)
    first = encode(Founded(cluster=totals.cluster, id=totals.cluster_id))
    await log.begin_after(first, totals.position, encode(Restored(at_ms=totals.clock_ms)))
    await log.close()


def records(calls: int, now_ms: int) -> Iterator[Record]:
    """Yield them as they stand, each with its outcome."""
    for number in range(1, calls + 1):
        arguments = {"a": number, "b": 1}
        content = [{"type": "text", "text": str(number + 1)}]
        result = {"content": content, "structuredContent": {"result": number + 1}, "isError": False}
        intent = FIRST_ENTRIES + 2 * number - 1
        yield Record(
            id=CallId(ANONYMOUS, key_of(number)),
            tool="add",
            arguments=msgspec.Raw(json.dumps(arguments).encode()),
            digest=digest_of("add", arguments),
            request=f"{WRITER}/{number}",
            client="",
            effect=Effect.ONCE,
            timeout_s=60.0,
            lane=None,
            execution_id=number,
            intents=(intent,),
            position=intent + 1,
            term=1,
            attempt=1,
            executor=WRITER,
            status=Status.OK,
            timestamp_ms=now_ms,
            clock_ms=now_ms,
            result=msgspec.Raw(json.dumps(result).encode()),
            duration_ms=1.0,
        )
