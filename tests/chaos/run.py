"""`make chaos`: storms over real nodes with calm between them, then the judge; exit code 1 for a violation."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.etcd_store import EtcdStore
from tests.chaos.field import NAMES, Field
from tests.chaos.judge import Death, Evidence, judge, read_effects, read_log, unexcused
from tests.chaos.load import CALLERS, SDK_CALLERS, Load
from tests.chaos.nemesis import storm
from tests.chaos.report import report
from tests.chaos.store import SqliteStore, Store
from tests.processes.cluster import get_audit

STORM_S = 45.0
STORES: dict[str, Callable[[Path], Store]] = {"sqlite": SqliteStore, "etcd": EtcdStore}


async def chaos(folder: Path, *, log: str, seed: int, seconds: float) -> tuple[list[str], str]:
    """Storm for so many seconds all in all; return the breaches that were found, and the report."""
    begun_s = time.monotonic()
    store = STORES[log](folder)
    try:
        field = Field(folder, store)
        load, dice = Load(field.urls, seed), random.Random(f"{seed}-nemesis")
        storms: list[tuple[float, float]] = []
        try:
            await field.open()
            while seconds > 0:
                storms.append(await _storm_and_calm(field, load, dice, min(seconds, STORM_S)))
                seconds -= STORM_S
            audits = {name: await asyncio.to_thread(get_audit, field.cluster.url(name)) for name in NAMES}
        finally:
            await load.cancel()
            await field.close()
        lines = (field.cluster.effects / "lines").read_text().splitlines()
        evidence = Evidence(read_effects(lines), read_log(await store.entries()), audits, load.book, _deaths(field))
        breaches = [*unexcused(field), *await asyncio.to_thread(judge, evidence)]
        if breaches:
            store.keep(folder)
    except BaseException:
        store.keep(folder)
        raise
    finally:
        await store.close()
    conditions = (
        f"chaos of {time.monotonic() - begun_s:.0f} s, seed {seed}: {len(NAMES)} nodes on a {log} log, "
        f"{CALLERS} callers of semel.connect and {SDK_CALLERS} of the SDK's client, {len(storms)} storms"
    )
    return breaches, f"{conditions}\n{report(evidence, field, breaches, storms)}"


async def _storm_and_calm(field: Field, load: Load, dice: random.Random, seconds: float) -> tuple[float, float]:
    """Return when the storm began and ended; after it every caller has come to its end, and every key was asked for."""
    load.start()
    begun_s = time.monotonic()
    await storm(field, dice, seconds)
    ended_s = time.monotonic()
    ready_s = await field.be_ready()
    await load.finish()
    await load.sweep()
    await field.be_level()
    print(
        f"  storm of {ended_s - begun_s:.0f} s, then all ready after {ready_s:.1f} s and all answered after "
        f"{time.monotonic() - ended_s:.1f} s; {len(load.book.asked):,} askings so far",
        flush=True,
    )
    return begun_s, ended_s


def _deaths(field: Field) -> dict[str, list[Death]]:
    """Return when each node died, and of what, by the wall clock that the log's entries have."""
    wall_ms = (time.time() - time.monotonic()) * 1000
    kills = [(harm.node, harm.begun_s, "was killed") for harm in field.harms if harm.kind == "kill"]
    ends = [(end.node, end.at_s, "had given up") for end in field.ends]
    deaths: dict[str, list[Death]] = {}
    for node, at_s, cause in sorted([*kills, *ends], key=lambda it: it[1]):
        deaths.setdefault(node, []).append(Death(at_s * 1000 + wall_ms, cause))
    return deaths


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--log", choices=sorted(STORES), default="sqlite")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="semel-chaos-"))
    kept = True
    try:
        breaches, page = asyncio.run(chaos(folder, log=given.log, seed=given.seed, seconds=given.minutes * 60))
        print(page)
        kept = bool(breaches)
    finally:
        if kept:
            print(f"kept for a look, with the seed {given.seed}: {folder}")
        else:
            shutil.rmtree(folder)
    sys.exit(1 if breaches else 0)


if __name__ == "__main__":
    main()
