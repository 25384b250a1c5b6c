"""`make bench PART=peers`: semel and what people would use instead, side by side, on the same tool, in one run."""

import os
from pathlib import Path

from tests.bench import bar, teams
from tests.bench.contest import Contestant, compete, quantile_ms, rate, rows
from tests.bench.page import ROOT, measured
from tests.bench.plot import Bar, svg
from tests.bench.teams import Team, team
from tests.peers.install import DBOS, FASTMCP, MCP, RESTATE, STRACE, debian
from tests.peers.peer import NotInstallable

FULL, QUICK = (5, 1.5), (3, 1.0)
"""How many rounds, and how long each of them gives each contestant, in seconds."""
PICTURE = ROOT / "docs" / "peers.svg"
MOST = 64


async def peers(folder: Path, rounds: int, window_s: float, *, quick: bool) -> str:
    """Measure; return the part of the page. When quick, semel and the SDK alone, and no picture."""
    folder.chmod(0o711)  # PostgreSQL runs as nobody and has to find its data
    begun = os.getloadavg()[0]
    members = {name: start for name, start in teams.ONE.items() if name in teams.QUICK or not quick}
    one = await contest(folder / "one", members, rounds, window_s)
    texts = [rows(one.found)]
    three = None
    if not quick:
        three = await contest(folder / "three", teams.THREE, rounds, window_s)
        texts.append(rows(three.found))
        picture(one.found, three.found)
    missing = {**one.missing, **(three.missing if three else {})}
    verdict = bar.table(one.found, three.found if three else {})
    print(verdict, flush=True)
    loads = f"The load average was {begun:.0f} when it began and {os.getloadavg()[0]:.0f} when it ended."
    versions = f"mcp {MCP}, FastMCP {FASTMCP}, Restate {RESTATE}, DBOS {DBOS}"
    where = f"{measured('every contestant and the callers')}, {versions}; {rounds} rounds of {window_s:g} s. {loads}"
    return "\n\n".join([where, verdict, *texts, promises(one, three), *without(missing)])


async def contest(folder: Path, members: dict[str, teams.Start], rounds: int, window_s: float) -> Team:
    """Start a team, let it compete, and count its syncs."""
    async with team(folder, members) as found:
        found.missing |= await compete(found.found, rounds, window_s)
        try:
            strace = debian("strace", "strace", holding=STRACE) / STRACE
        except NotInstallable as error:
            found.missing["syncs"] = str(error)
        else:
            for each in found.found.values():
                await each.count_syncs(strace, folder)
        print(rows(found.found), flush=True)
        return found


def promises(one: Team, three: Team | None) -> str:
    """Return what each does before it answers, by its settings; the tables have what was counted."""
    both = {**one.found, **(three.found if three else {})}
    return "\n".join(
        ["What is on the disk before an answer:", "", *(f"- {name}: {each.durable}" for name, each in both.items())]
    )


def without(missing: dict[str, str]) -> list[str]:
    """Return who could not be had, and why."""
    return ["\n".join(f"- not measured: {name}: {why}" for name, why in missing.items())] if missing else []


def picture(one: dict[str, Contestant], three: dict[str, Contestant]) -> None:
    """Draw the rates."""
    panels = {
        heading: [
            Bar(
                name.replace("*", "").replace("`", "").replace(", three nodes, etcd", ", etcd"),
                rate(each, MOST),
                f"{rate(each, MOST):,.0f}/s, p50 {quantile_ms(each, MOST, 0.5):.0f} ms",
                "semel" in name,
            )
            for name, each in sorted(
                found.items(), key=lambda item: -rate(item[1], MOST) if MOST in item[1].windows else 0
            )
            if MOST in each.windows
        ]
        for heading, found in (("one node", one), ("three nodes on one machine", three))
    }
    PICTURE.write_text(
        svg(f"calls a second, {MOST} callers, logarithmic: read ratios, not rates", panels), encoding="utf-8"
    )
