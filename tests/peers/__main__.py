"""`make chaos-peers`: install the peers, put each under the same fire, and write the table.

It takes about a quarter of an hour; `--only semel` and the like takes a part, and then writes no table.
"""

import argparse
import asyncio
import datetime
import os
import tempfile
from pathlib import Path

from tests.peers import table
from tests.peers.fire import ANSWER_LIMIT_S, CALLS, fire
from tests.peers.install import ROOT
from tests.peers.on_celery import OnCelery
from tests.peers.on_dbos import OnDBOS
from tests.peers.on_restate import OnRestate
from tests.peers.on_semel import OnSemel
from tests.peers.on_temporal import OnTemporal
from tests.peers.peer import NotInstallable, Peer

GUARANTEES = Path(__file__).parents[2] / "docs/GUARANTEES.md"
FAIRNESS = Path(__file__).with_name("fairness.md")
LIMIT_S = 180.0


def peers() -> list[Peer]:
    return [
        OnSemel("charge", "once"),
        OnSemel("store", "repeatable"),
        OnRestate("Restate, 3 nodes", "node"),
        OnRestate("Restate, 3 nodes", "service"),
        OnRestate("Restate, 3 nodes, `maxAttempts: 1`", "node", attempts=1),
        OnRestate("Restate, 3 nodes, `maxAttempts: 1`", "service", attempts=1),
        OnDBOS("DBOS on PostgreSQL, 3 executors", recoveries=100),
        OnDBOS("DBOS, `max_recovery_attempts=0`", recoveries=0),
        OnTemporal("Temporal, 3 workers", attempts=0),
        OnTemporal("Temporal, `maximum_attempts=1`", attempts=1),
        OnCelery("Celery on Redis, `acks_late`, 3 workers", acks="late"),
        OnCelery("Celery on Redis, early acknowledgement (its default)", acks="early"),
    ]


async def row(peer: Peer, rounds: int, seed: int) -> table.Row:
    """Put one peer under fire; whatever goes wrong is said in its row."""
    print(f"{peer.title}; killed: {peer.killed}", flush=True)
    version = ""
    try:
        version = peer.install()
        with tempfile.TemporaryDirectory(prefix="semel-peers-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o711)  # PostgreSQL runs as nobody and has to find its data
            verdict = await fire(peer, Path(folder), rounds, seed, LIMIT_S)
    except (NotInstallable, AssertionError, OSError, TimeoutError) as error:
        print(f"  not run: {error}", flush=True)
        return table.Row(
            peer.title, peer.killed, peer.pattern, version, None, (str(error) or type(error).__name__).splitlines()[0]
        )
    done = table.Row(peer.title, peer.killed, peer.pattern, version, verdict)
    print("  " + "; ".join(f"{head}: {cell}" for head, cell in zip(table.HEADINGS, table.cells(done), strict=True)))
    return done


async def all_rows(chosen: list[Peer], rounds: int, seed: int) -> list[table.Row]:
    return [await row(peer, rounds, seed) for peer in chosen]


def conditions(rounds: int, seed: int) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"Measured on {today} by `make chaos-peers` on a shared machine with {os.cpu_count()} cores: "
        f"{rounds} kills each, {CALLS} calls made before each kill, seed {seed}. "
        f"The tool appends a line to a file, takes a second and returns. What was killed is started again at once. "
        f"A caller asks again with the same key when its connection breaks, and waits {ANSWER_LIMIT_S:g} s at most. "
        "Every server binds to loopback and keeps its state on disk, with its durable settings."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="peers whose title has this in it")
    given = parser.parse_args()
    ROOT.mkdir(exist_ok=True)
    chosen = [peer for peer in peers() if given.only.lower() in peer.title.lower()]
    rows = asyncio.run(all_rows(chosen, given.rounds, given.seed))
    text = table.markdown(rows, conditions(given.rounds, given.seed))
    if given.only:
        print(text)
    else:
        table.write(GUARANTEES, f"{text}\n\n{FAIRNESS.read_text()}")


if __name__ == "__main__":
    main()
