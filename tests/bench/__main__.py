"""`make bench`: one run of all measurements; writes them into docs/PERFORMANCE.md."""

import argparse
import asyncio
import random
import tempfile
from pathlib import Path

from tests.bench.latency import ROUNDS, latency
from tests.bench.page import conditions, table, write
from tests.bench.quorum import Quorum
from tests.bench.silence import CALLERS, silences


async def bench(folder: Path, *, rounds: int, kills: int, seed: int) -> list[str]:
    """Measure; return the parts of the page."""
    quorum = Quorum(folder)
    try:
        await quorum.start()
        calls = table("one caller, one at a time", await latency(quorum, rounds))
        print(calls, flush=True)
        found, judged = await silences(quorum, kills, seed)
        gaps = table("killed with `kill -9`, time without service", found)
        print(gaps, judged, sep="\n")
    finally:
        await quorum.stop()
    return [conditions(), calls, f"{CALLERS} callers, without a pause between calls. {judged}.\n\n{gaps}"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only-print", action="store_true", help="leave the page as it is")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="semel-bench-") as folder:
        parts = asyncio.run(bench(Path(folder), rounds=given.rounds, kills=given.kills, seed=given.seed))
    if not given.only_print:
        write("quorum", "\n\n".join(parts))


if __name__ == "__main__":
    main()
