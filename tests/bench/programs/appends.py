"""Bare conditional appends by semel's own engines: `appends.py URL [ENTRIES]`, as `fsyncs.py` does.

ENTRIES of 600 bytes each are appended at a time, and proposed again if there is no answer, as a node does; each caller
has a log of its own, whose number stands for `{}` in URL.
"""

import asyncio
import json
import sys
import time
from functools import partial

from semel.log.engines import open_log
from semel.log.protocol import Log
from semel.node.insisting import insist


async def main() -> None:
    url, entries = sys.argv[1], [bytes(600)] * int((sys.argv[2:] or ["1"])[0])
    logs: list[Log] = []
    tails: list[int] = []

    async def append_on(number: int, until_s: float) -> list[float]:
        latencies_ms = []
        while (at_s := time.perf_counter()) < until_s:
            tails[number] = await insist(partial(logs[number].append, tails[number], entries))
            latencies_ms.append((time.perf_counter() - at_s) * 1000)
        return latencies_ms

    while line := await asyncio.to_thread(sys.stdin.readline):
        callers, duration_s = int(line.split()[0]), float(line.split()[1])
        while len(logs) < callers:
            logs.append(await open_log(url.format(len(logs))))
            tails.append(0)
        begun_s = time.perf_counter()
        found = await asyncio.gather(*(append_on(number, begun_s + duration_s) for number in range(callers)))
        latencies_ms = [each for latencies in found for each in latencies]
        print(json.dumps({"latencies_ms": latencies_ms, "took_s": time.perf_counter() - begun_s}), flush=True)
    for log in logs:
        await log.close()


if __name__ == "__main__":
    asyncio.run(main())
