"""`python -m semel.sim.mutants`: print the seed that caught each mutant; exit 1 if one survived."""

import argparse
import sys

from semel.sim.mutants.hunt import MUTANTS, SEEDS_MAX, hunt


def main() -> int:
    """Hunt every mutant, and say which seed caught it."""
    parser = argparse.ArgumentParser(prog="python -m semel.sim.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="how many seeds a mutant must not survive")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    options = parser.parse_args()
    survivors = 0
    for mutant in MUTANTS:
        caught = hunt(mutant, range(options.first, options.first + options.seeds))
        survivors += caught is None
        text = "SURVIVED" if caught is None else f"seed {caught[0]}: {caught[1][:150]}"
        print(f"{mutant.name:<62} {text}", flush=True)
    print(f"{len(MUTANTS)} mutants, {survivors} survived {options.seeds:,} seeds")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
