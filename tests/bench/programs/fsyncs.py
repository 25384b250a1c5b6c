"""Bare fsyncs: for each line `1 SECONDS` of stdin, appends of 600 bytes, each fsynced; the latencies as a JSON line."""

import json
import os
import sys
import time


def main() -> None:
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for line in sys.stdin:
        begun_s = time.perf_counter()
        latencies_ms = []
        while (at_s := time.perf_counter()) - begun_s < float(line.split()[1]):
            os.write(descriptor, bytes(600))
            os.fsync(descriptor)
            latencies_ms.append((time.perf_counter() - at_s) * 1000)
        print(json.dumps({"latencies_ms": latencies_ms, "took_s": time.perf_counter() - begun_s}), flush=True)


if __name__ == "__main__":
    main()
