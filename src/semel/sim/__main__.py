"""`python -m semel.sim`: run many seeds, or one with its trace; exit 1 if a promise was broken."""

import argparse
import gc
import sys
import time

from semel.sim.judge import judge
from semel.sim.report import Tally, failure, traced
from semel.sim.world import simulate

COLLECT_EVERY = 50
"""Worlds between two collections of garbage: about 100 MB."""


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
    return _run_many(range(options.first, options.first + options.seeds))


def _run_one(seed: int, *, tracing: bool) -> int:
    if tracing:
        print(traced(seed))
    run = simulate(seed)
    found = judge(run)
    if not tracing:
        print(failure(run, found) if found else f"seed {seed}: no breach")
    return 1 if found else 0


def _run_many(seeds: range) -> int:
    tally = Tally()
    gc.disable()  # a world is dropped as a whole; collecting in between only takes time
    began_s = time.perf_counter()
    for seed in seeds:
        run = simulate(seed)
        found = judge(run)
        tally.add(run, failed=bool(found))
        if found:
            print(failure(run, found), flush=True)
        if seed % COLLECT_EVERY == 0:
            gc.collect()
    print(tally.text(time.perf_counter() - began_s))
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
