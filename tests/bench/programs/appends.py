"""Bare conditional appends of 600 bytes to etcd by semel's own engine, one after the other: `appends.py URL`."""

import asyncio
import json
import sys
import time

from semel.log.engines import open_log


async def main() -> None:
    log = await open_log(sys.argv[1])
    tail = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        begun_s = time.perf_counter()
        latencies_ms = []
        while (at_s := time.perf_counter()) - begun_s < float(line.split()[1]):
            tail = await log.append(tail, [bytes(600)])
            latencies_ms.append((time.perf_counter() - at_s) * 1000)
        print(json.dumps({"latencies_ms": latencies_ms, "took_s": time.perf_counter() - begun_s}), flush=True)
    await log.close()


if __name__ == "__main__":
    asyncio.run(main())
