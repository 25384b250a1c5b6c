"""Callers of semel's Python API in the process of a follower: `embedded.py URL NAME PORT DATA`, as `fsyncs.py` does."""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path

import uvloop

from semel.serving import Node

TOOLS = Path(__file__).with_name("semel_tools.py")


async def main() -> None:
    url, name, port, data = sys.argv[1:]
    numbers = itertools.count()
    async with Node(TOOLS, log=url, name=name, listen=f"127.0.0.1:{port}", data=Path(data)) as node:
        print("READY", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            callers, duration_s = int(line.split()[0]), float(line.split()[1])
            begun_s, latencies_ms = time.perf_counter(), []

            async def call_on(begun_s: float, duration_s: float, latencies_ms: list[float]) -> None:
                while (at_s := time.perf_counter()) - begun_s < duration_s:
                    number = next(numbers)
                    answer = await node.call("add", {"a": number, "b": 1}, key=f"embedded-{number}")
                    latencies_ms.append((time.perf_counter() - at_s) * 1000)
                    assert answer.outcome == "ok", answer

            async with asyncio.TaskGroup() as group:
                for _ in range(callers):
                    group.create_task(call_on(begun_s, duration_s, latencies_ms))
            took_s = time.perf_counter() - begun_s
            print(json.dumps({"latencies_ms": latencies_ms, "took_s": took_s}), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
