"""One simulated world, from a seed to its history: it is put together here, lives through storm and calm, and ends."""

from collections import Counter
from dataclasses import dataclass
from random import Random

from semel.core.entry import Entry
from semel.core.limits import Limits
from semel.sim.climate import Climate, Fault
from semel.sim.history import History
from semel.sim.log import SimulatedLog
from semel.sim.machine import Machine
from semel.sim.network import Network
from semel.sim.surroundings import Core, Surroundings
from semel.sim.timeline import Clock, Timeline
from semel.sim.toolbox import TOOLS, Toolbox
from semel.sim.weather import Weather, draw_odds
from semel.sim.workload import Workload

CALM_MAX_S = 25.0
"""By then every client that keeps asking must have its answer: many times any waiting time of the core."""

SETTLING_S = 2.5
"""How long the world goes on after the last answer, so that what nobody waits for comes to its end too."""

READING_S = 0.1
"""In the calm every node has read an entry after this time; for entries of the last moment."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is left of a world for the judge."""

    seed: int
    core: Core
    limits: Limits
    history: History
    entries: list[Entry]
    committed_s: list[float]
    struck: Counter[Fault]
    unanswered: list[str]
    """Clients that kept asking and got no answer."""
    laggards: list[str]
    """Nodes that are not where they should be at the end, and why."""


def simulate(seed: int, core: Core | None = None, *, tracing: bool = False) -> Run:
    """Let one world live from beginning to end."""
    chance = Random(seed)
    surroundings = _surroundings(chance, core or Core(), tracing=tracing)
    machines = _machines(surroundings)
    storm_s = chance.uniform(1.0, 4.0)
    weather = Weather(surroundings, machines, storm_s)
    workload = Workload(surroundings, machines, chance.randrange(4, 40), storm_s + 0.3)
    timeline = surroundings.timeline
    timeline.run_until(storm_s)
    weather.clear_up()
    while not workload.done and timeline.now_s < storm_s + CALM_MAX_S:
        timeline.run_until(timeline.now_s + 0.2)
    timeline.run_until(timeline.now_s + SETTLING_S)
    tail = surroundings.log.tail
    timeline.run_until(timeline.now_s + READING_S)
    for machine in machines:
        machine.checkpoint()
    return Run(
        seed=seed,
        core=surroundings.core,
        limits=surroundings.limits,
        history=surroundings.history,
        entries=surroundings.log.entries,
        committed_s=surroundings.log.committed_s,
        struck=surroundings.climate.struck,
        unanswered=[
            f"{errand.wish} (open: {sorted(errand.open)})"
            for errand in workload.errands
            if errand.persistent and not errand.done
        ],
        laggards=[text for machine in machines if (text := _what_is_wrong(machine, tail))],
    )


def _surroundings(chance: Random, core: Core, *, tracing: bool) -> Surroundings:
    timeline, history = Timeline(), History(tracing)
    climate = Climate(chance, draw_odds(chance))
    return Surroundings(
        core=core,
        limits=_limits(chance),
        chance=chance,
        timeline=timeline,
        climate=climate,
        history=history,
        log=SimulatedLog(timeline, chance, climate),
        network=Network(timeline, chance, climate),
        toolbox=Toolbox(timeline, chance, climate, history),
    )


def _limits(chance: Random) -> Limits:
    """Return limits so small that each of them is met."""
    return Limits(
        concurrency_max=chance.choice((1, 2, 3, 8)),
        in_flight_max=chance.choice((3, 10, 30)),
        batch_entries_max=chance.choice((2, 4, 16)),
        batch_bytes_max=chance.choice((60, 1000)),
        attempts_max=chance.choice((2, 3)),
        patience_s=0.5,
        grace_s=0.1,
        hold_s=chance.choice((0.6, 2.0)),
        unlogged_after_s=chance.choice((0.2, 1.0)),
        forward_again_s=0.15,
        forget_every_s=chance.choice((0.5, 2.0, 100.0)),
        result_retention_ms=chance.choice((500, 4000, 1_000_000)),
        key_retention_ms=chance.choice((6000, 1_000_000, 1_000_000)),
    )


def _machines(world: Surroundings) -> list[Machine]:
    chance = world.chance
    machines = []
    for number in range(1, chance.choice((1, 2, 3, 3, 3, 3, 5)) + 1):
        clock = Clock(world.timeline, chance.uniform(0.0, 1000.0), chance.uniform(0.8, 1.25))
        machines.append(Machine(world, f"n{number}", clock))
    for machine in machines:
        machine.peers = [peer for peer in machines if peer is not machine]
        machine.start_after(chance.uniform(0.0, 0.2))
        if chance.random() < 0.05:
            world.climate.count(Fault.TOOL_UNKNOWN)
            world.toolbox.lacking.add((machine.name, chance.choice(list(TOOLS))))
    return machines


def _what_is_wrong(machine: Machine, tail: int) -> str | None:
    process = machine.process
    if process is None:
        return f"{machine.name} is down"
    decider = process.decider
    if decider.ledger.position < tail:
        return f"{process.node} has read up to {decider.ledger.position} of {tail}"
    if decider.ledger.leader is None:
        return f"{process.node} knows no leader"
    if not decider.live:
        return f"{process.node} is not live"
    return None if decider.leads or decider.idle else f"{process.node} still owes something"
