"""`make bench PART=paper`: what one call costs each process, what an append costs, and from that, on paper, what more
machines would carry. Nothing of that kind is built; the arithmetic is all there is.
"""

import os
import sys
from pathlib import Path

from tests.bench.contest import Contestant, compete, cpu_us, program_load, quantile_ms, rate
from tests.bench.page import measured
from tests.bench.quorum import NODES
from tests.bench.teams import PROGRAMS, Start, Team, on_etcd, team

FULL, QUICK = (5, 2.0), (1, 0.7)
BATCHES = (1, 64, 512)
"""Entries in an append; a call has two entries, and the largest batch of a leader has 512."""
LOGS = (1, 4, 16)
"""Logs that are appended to at once, as partitions would be."""
MOST = 64
CORES, MACHINES = 8, 3
"""The machines of the arithmetic."""
WHO = ("the leader", "the follower that is asked", "the other follower", "the three etcd members together")


async def nodes(made: Team) -> None:
    """Start three nodes on three members; what is measured is each one's share of the same load."""
    members, cluster = await on_etcd(made, *NODES)
    load = await made.http(cluster.listen("n2"))
    pids = [cluster.processes[node].pid for node in ("n1", "n2", "n3")]
    for who, sessions in zip(WHO, [[pid] for pid in pids] + [[p.pid for p in members.processes.values()]], strict=True):
        made.found[who] = Contestant(who, load, sessions, callers=(MOST,))
    for engine, url in (("etcd", members.url("bare-")), ("SQLite", f"sqlite://{made.folder}/bare-")):
        for entries in BATCHES:
            program = await made.program(sys.executable, PROGRAMS / "appends.py", f"{url}{entries}-{{}}", str(entries))
            name = f"{engine}, {entries} entries"
            callers = LOGS if engine == "etcd" and entries == MOST else (1,)
            made.found[name] = Contestant(name, program_load(program), [program.pid], callers=callers)


async def paper(folder: Path, rounds: int, window_s: float) -> str:
    """Measure, and return the part of the page."""
    begun = os.getloadavg()[0]
    start: dict[str, Start] = {"the nodes": nodes}
    async with team(folder / "paper", start) as made:
        assert not made.missing, made.missing
        fallen = await compete(made.found, rounds, window_s)
        assert not fallen, fallen
        found = made.found
    costs = [f"| {who} | {cpu_us(found[who], MOST):,.0f} µs |" for who in WHO]
    appends = [
        f"| {name} | {callers} | {quantile_ms(each, callers, 0.5):.2f} ms | {rate(each, callers):,.0f} |"
        for name, each in found.items()
        if name not in WHO
        for callers in each.callers
    ]
    text = [
        f"{measured('three nodes, three members, the callers')}; {rounds} rounds of {window_s:g} s. "
        f"The load average was {begun:.0f} when it began and {os.getloadavg()[0]:.0f} when it ended.",
        "\n".join([f"| CPU a call, {MOST} callers through a follower | |", "|---|---|", *costs]),
        "\n".join(["| an append of | logs at once | p50 | appends/s |", "|---|---|---|---|", *appends]),
        arithmetic(found),
    ]
    print(text[1], text[2], text[3], sep="\n\n")
    return "\n\n".join(text)


def arithmetic(found: dict[str, Contestant]) -> str:
    """Return the sums, with what goes into each."""
    leader, asked, other, members = (cpu_us(found[who], MOST) for who in WHO)
    whole = leader + asked + other + members
    batch_ms = quantile_ms(found["etcd, 512 entries"], 1, 0.5)
    ordered, spoken = 256 / batch_ms * 1000, 1e6 / leader
    at_once = rate(found[f"etcd, {MOST} entries"], LOGS[-1]) * MOST / 2
    cluster = MACHINES * CORES * 1e6 / whole
    partitions = max(1, round(cluster / spoken + 0.5))
    return "\n".join(
        [
            f"- **What one leader can order.** The log takes 512 entries, which are 256 calls, in {batch_ms:.1f} ms: "
            f"256 / {batch_ms:.1f} ms = {ordered:,.0f} calls/s. The leader's process spends {leader:,.0f} µs of CPU on "
            f"a call: 1 s / {leader:,.0f} µs = {spoken:,.0f} calls/s on a core of its own. So the leader's Python is "
            f"the limit, and the log would carry {ordered / spoken:,.0f} times as much.",
            f"- **What one etcd can commit.** {LOGS[-1]} logs at once, {MOST} entries an append, here with all members "
            f"and programs on the same cores: {at_once:,.0f} calls/s. Members on machines of their own have more.",
            f"- **What a call costs in all**, on three nodes: {leader:,.0f} + {asked:,.0f} + {other:,.0f} + "
            f"{members:,.0f} = {whole:,.0f} µs of CPU, wherever it is spent.",
            f"- **A cluster of leaders, one a partition**, on {MACHINES} machines of {CORES} cores such as these, all "
            f"work spread evenly: {MACHINES} · {CORES} · 1 s / {whole:,.0f} µs = {cluster:,.0f} calls/s at most, which "
            f"takes {partitions} partitions, since a leader stops at {spoken:,.0f}. One etcd would "
            f"{'carry' if at_once > cluster else 'not carry'} that ({at_once:,.0f} calls/s as measured here). "
            "A key names its partition, so that dedupe stays within one; an audit over all would merge several logs.",
        ]
    )
