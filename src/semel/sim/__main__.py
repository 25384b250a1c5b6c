"""`python -m semel.sim`: run many seeds, or one with its trace; exit 1 if a promise was broken."""

import argparse
import gc
import sys
import time
from collections import Counter

from semel.sim.climate import Fault
from semel.sim.judge import judge
from semel.sim.world import simulate


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m semel.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--trace", action="store_true", help="print who did what at which position")
    options = parser.parse_args()
    if options.seed is not None:
        return _run_one(options.seed, tracing=options.trace)
    return _run_many(options.first, options.seeds)


def _run_one(seed: int, *, tracing: bool) -> int:
    run = simulate(seed, tracing=tracing)
    for line in run.history.trace:
        print(line)
    found = judge(run)
    for text in found:
        print(f"seed {seed}: {text}")
    print(f"seed {seed}: {len(found)} breaches, {len(run.entries)} entries, {len(run.history.asked)} requests")
    return 1 if found else 0


def _run_many(first: int, count: int) -> int:
    struck: Counter[Fault] = Counter()
    calls = requests = starts = failed = 0
    gc.disable()  # a world is dropped as a whole; collecting in between only takes time
    began_s = time.perf_counter()
    for seed in range(first, first + count):
        run = simulate(seed)
        struck += run.struck
        calls += len({asked.call.id for asked in run.history.asked})
        requests += len(run.history.asked)
        starts += len(run.history.starts)
        found = judge(run)
        if found:
            failed += 1
            print(f"seed {seed}: {found[0][:400]}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""))
            print(f"  replay: python -m semel.sim --seed {seed} --trace")
        if seed % 50 == 0:
            gc.collect()
    took_s = time.perf_counter() - began_s
    print("faults injected:")
    for fault, times in struck.most_common():
        print(f"  {times:9,}  {fault}")
    print(
        f"{count:,} seeds in {took_s:.1f} s ({count / took_s:.0f} a second): {calls:,} calls in {requests:,} requests, "
        f"{starts:,} starts of tools; {failed} seeds failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
