"""`make bench`: measures, and writes docs/PERFORMANCE.md. `PART` chooses one of its parts; `QUICK=1` is soon over."""

import argparse
import asyncio
import random
import tempfile
from pathlib import Path

from tests.bench import growth, paper, peers, shares
from tests.bench.gateway import FULL, QUICK, gateway
from tests.bench.latency import ROUNDS, latency
from tests.bench.page import conditions, table, write
from tests.bench.quorum import Quorum
from tests.bench.silence import CALLERS, silences

PARTS = ("quorum", "gateway", "peers", "growth", "paper", "shares")
QUICK_ROUNDS, QUICK_KILLS = 4, 3


async def bench(folder: Path, *, rounds: int, kills: int, seed: int) -> list[str]:
    """Measure latency and time without service on a quorum; return the parts of the page."""
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
    parser.add_argument("part", nargs="?", choices=PARTS, help="all, if none is named")
    parser.add_argument("--quick", action="store_true", help="less of everything, only to see that it works")
    parser.add_argument("--rounds", type=int, help="of latency on the quorum")
    parser.add_argument("--kills", type=int, help="of each kind, on the quorum")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only-print", action="store_true", help="leave the page as it is")
    given = parser.parse_args()
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    kills = given.kills or (QUICK_KILLS if given.quick else 20)
    for part in [given.part] if given.part else PARTS:
        with tempfile.TemporaryDirectory(prefix="semel-bench-", ignore_cleanup_errors=True) as named:
            folder = Path(named)
            match part:
                case "gateway":
                    text = asyncio.run(gateway(folder, *(QUICK if given.quick else FULL)))
                case "peers":
                    sizes = peers.QUICK if given.quick else peers.FULL
                    text = asyncio.run(peers.peers(folder, *sizes, quick=given.quick))
                case "growth":
                    sizes = growth.QUICK if given.quick else growth.FULL
                    text = asyncio.run(growth.growth(folder, *sizes, quick=given.quick))
                case "paper":
                    text = asyncio.run(paper.paper(folder, *(paper.QUICK if given.quick else paper.FULL)))
                case "shares":
                    text = asyncio.run(shares.shares(folder, shares.QUICK_S if given.quick else shares.FULL_S))
                case _:
                    text = "\n\n".join(asyncio.run(bench(folder, rounds=rounds, kills=kills, seed=given.seed)))
        if not (given.only_print or given.quick):
            write(part, text)


if __name__ == "__main__":
    main()
