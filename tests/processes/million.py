"""`make million`: a node whose log has a million calls is restarted; how soon is it ready, and how large is it?

The log is written directly, entry by entry as a leader would have written it; everything after that is a real node.
"""

import argparse
import asyncio
import random
import shutil
import tempfile
import time
import urllib.error
from pathlib import Path

import msgspec

import semel
from semel.core.call import Call, CallId, Effect, NodeId, Status
from semel.core.codec import encode
from semel.core.entry import Elected, Entry, Founded, Intent, Outcome
from semel.log.engines import open_log
from tests.processes.cluster import ClusterProcesses, get_json, until

WRITER = NodeId("n0", "gone")
BATCH_CALLS = 500


def entries_of(number: int, position: int) -> list[Entry]:
    """Return the intent and the outcome of a call as they stand in a log, from `position` on."""
    arguments = msgspec.Raw(b'{"amount":%d,"note":"a line as people write them"}' % number)
    result = msgspec.Raw(b'{"content":[{"type":"text","text":"charged %d"}],"isError":false}' % number)
    call = Call(
        id=CallId("shop", f"order-{number}-{random.getrandbits(64):016x}"),
        tool="charge",
        arguments=arguments,
        digest=f"{random.getrandbits(256):064x}",
        request=f"{WRITER}/{number}",
    )
    now_ms = time.time_ns() // 1_000_000
    intent = Intent(
        call=call, effect=Effect.ONCE, timeout_s=60.0, lane=None, term=1, attempt=1, executor=WRITER, at_ms=now_ms
    )
    outcome = Outcome(intent=position, status=Status.OK, result=result, executor=WRITER, duration_ms=1.0, at_ms=now_ms)
    return [intent, outcome]


async def write(url: str, calls: int) -> str:
    """Write a log of so many calls; return the key of one in the middle."""
    log = await open_log(url)
    elected = Elected(term=1, node=WRITER, url="http://127.0.0.1:9", at_ms=time.time_ns() // 1_000_000)
    tail = await log.append(0, [encode(Founded(cluster="semel", id="million")), encode(elected)])
    some_key = ""
    for begun in range(0, calls, BATCH_CALLS):
        batch: list[Entry] = []
        for number in range(begun, min(begun + BATCH_CALLS, calls)):
            batch += entries_of(number, tail + len(batch) + 1)
        if begun == calls // 2 // BATCH_CALLS * BATCH_CALLS and isinstance(batch[0], Intent):
            some_key = batch[0].call.id.key
        tail = await log.append(tail, [encode(entry) for entry in batch])
    await log.close()
    return some_key


def memory_mb(process: int, field: str) -> float:
    """Return a line of a process's /proc/status, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


async def timed_start(cluster: ClusterProcesses, what: str) -> None:
    begun_s = time.monotonic()
    await cluster.launch("n1")

    def ready() -> bool:
        try:
            return bool(get_json(f"{cluster.url('n1')}/readyz"))
        except urllib.error.HTTPError:
            return False

    await until(ready, limit_s=900, what="n1 to be ready")
    process = cluster.processes["n1"].pid
    print(
        f"{what}: ready after {time.monotonic() - begun_s:.1f} s, "
        f"memory {memory_mb(process, 'VmRSS'):.0f} MB (at most {memory_mb(process, 'VmHWM'):.0f})",
        flush=True,
    )


async def million(folder: Path, calls: int) -> None:
    cluster = ClusterProcesses(folder)
    try:
        await timed_start(cluster, "an empty log")
        await cluster.stop()
        for left in folder.glob("log.db*"):
            if left.is_file():
                left.unlink()
        shutil.rmtree(folder / "log.db.nodes")
        begun_s = time.monotonic()
        some_key = await write(f"sqlite://{folder}/log.db", calls)
        print(f"{calls:,} calls written in {time.monotonic() - begun_s:.0f} s", flush=True)
        await timed_start(cluster, f"{calls:,} calls, first start, the replica made from the log")
        await cluster.stop()
        await timed_start(cluster, f"{calls:,} calls, restart")
        await cluster.kill("n1")
        await timed_start(cluster, f"{calls:,} calls, restart after kill -9")
        async with semel.connect(cluster.url("n1"), caller="shop") as client:
            status = await client.get_json("/v1/status")
            assert status["calls"] == calls, status
            rows = [row async for row in client.get_lines("/v1/audit", {"key": some_key})]
            assert [row["outcome"] for row in rows] == ["ok"], rows
    finally:
        await cluster.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="semel-million-") as folder:
        asyncio.run(million(Path(folder), given.calls))


if __name__ == "__main__":
    main()
