"""The weather: a storm of faults, drawn from the seed, and then the calm in which everything must come right."""

from collections.abc import Callable
from random import Random

from semel.sim.climate import Fault
from semel.sim.machine import Machine
from semel.sim.surroundings import Surroundings

ODDS = {
    Fault.CRASH_BEFORE_STEP: 0.004,
    Fault.CRASH_BETWEEN_EFFECTS: 0.01,
    Fault.CRASH_WHEN_ELECTED: 0.7,
    Fault.APPEND_REFUSED: 0.15,
    Fault.APPEND_UNKNOWN: 0.15,
    Fault.APPEND_LATE: 0.1,
    Fault.ACKNOWLEDGEMENT_LATE: 0.1,
    Fault.READS_LAG: 0.2,
    Fault.PULSE_LOST: 0.3,
    Fault.MESSAGE_LOST: 0.3,
    Fault.MESSAGE_DOUBLED: 0.3,
    Fault.MESSAGE_LATE: 0.3,
    Fault.PEER_LOSS_UNSEEN: 0.4,
    Fault.TOOL_SLOW: 0.5,
    Fault.TOOL_FAILED: 0.1,
    Fault.TOOL_LOST: 0.6,
    Fault.TOOL_STUCK: 0.1,
    Fault.HOOK_BLIND: 0.5,
    Fault.HOOK_SLOW: 0.5,
    Fault.HOOK_FAILED: 0.3,
    Fault.HOOK_STUCK: 0.3,
    Fault.CLIENT_HEDGED: 0.4,
    Fault.KEY_REUSED: 0.5,
    Fault.TOOL_ASKS: 0.9,
    Fault.ROUND_AGAIN: 0.4,
    Fault.ROUND_LEFT: 0.2,
    Fault.ROUND_FORGED: 0.4,
}
"""The odds of each fault where it can strike, at their worst; a seed takes some of them, each up to this."""

EVERY_S = {
    Fault.CRASH: 2.0,
    Fault.CRASH_ALL: 6.0,
    Fault.FREEZE: 2.0,
    Fault.FREEZE_WITHOUT_TIME: 2.0,
    Fault.DRAIN: 2.5,
    Fault.LOG_DOWN: 3.0,
    Fault.LOG_CUT: 2.0,
    Fault.NODES_CUT: 2.0,
    Fault.NODES_CUT_ONE_WAY: 2.0,
    Fault.PEER_LOST_FALSELY: 0.5,
    Fault.CLOCK_JUMP: 1.5,
    Fault.TRIM: 0.7,
}
"""The mean time between faults that come by themselves, at their worst."""

TROUBLE_MAX_S = 1.8
"""How long a cut, a freeze or an unavailable log lasts at most: longer than any patience."""


def draw_odds(chance: Random) -> dict[Fault, float]:
    """Return what can strike under a seed: a random half of all faults, each with odds of its own."""
    return {fault: worst * chance.random() for fault, worst in ODDS.items() if chance.random() < 0.5}


class Weather:
    """Brings the faults that come by themselves, until the storm is over, and then mends everything."""

    def __init__(self, world: Surroundings, machines: list[Machine], storm_s: float) -> None:
        self._world = world
        self._machines = machines
        self._storm_s = storm_s
        self._strike: dict[Fault, Callable[[], None]] = {
            Fault.CRASH: lambda: self._any().crash(),
            Fault.CRASH_ALL: self._crash_all,
            Fault.FREEZE: lambda: self._freeze(clock_stood=False),
            Fault.FREEZE_WITHOUT_TIME: lambda: self._freeze(clock_stood=True),
            Fault.DRAIN: lambda: self._any().drain(hurry=world.chance.random() < 0.3),
            Fault.LOG_DOWN: self._take_log_down,
            Fault.LOG_CUT: self._cut_from_log,
            Fault.NODES_CUT: lambda: self._cut_nodes(one_way=False),
            Fault.NODES_CUT_ONE_WAY: lambda: self._cut_nodes(one_way=True),
            Fault.PEER_LOST_FALSELY: self._lose_falsely,
            Fault.CLOCK_JUMP: self._jump,
            Fault.TRIM: self._trim,
        }
        for fault, mean_s in EVERY_S.items():
            if world.chance.random() < 0.4:
                self._brew(fault, mean_s * world.chance.uniform(0.3, 2.0))
        for machine in machines:
            self._persist(machine)

    def clear_up(self) -> None:
        """End the storm: mend what is broken, start what is down, and let nothing strike any more."""
        world = self._world
        world.note("world", lambda: "the storm is over")
        world.climate.calm()
        world.log.down = False
        world.log.cut.clear()
        world.network.cut.clear()
        for machine in self._machines:
            machine.thaw(clock_stood=False)
            machine.start()
        for machine in self._machines:
            machine.meet_all()

    def _brew(self, fault: Fault, mean_s: float) -> None:
        """Let a fault strike again and again, at random times, as long as the storm lasts."""
        world = self._world

        def strike() -> None:
            if world.timeline.now_s < self._storm_s:
                world.climate.count(fault)
                world.note("world", lambda: f"fault: {fault}")
                self._strike[fault]()
                self._brew(fault, mean_s)

        world.timeline.after(world.chance.expovariate(1 / mean_s), strike)

    def _any(self) -> Machine:
        return self._world.chance.choice(self._machines)

    def _for_a_while(self, mend: Callable[[], None]) -> None:
        """Call `mend` when the trouble has lasted long enough."""
        self._world.timeline.after(self._world.chance.uniform(0.05, TROUBLE_MAX_S), mend)

    def _crash_all(self) -> None:
        for machine in self._machines:
            machine.crash()

    def _freeze(self, *, clock_stood: bool) -> None:
        machine = self._any()
        machine.freeze()
        self._for_a_while(lambda: machine.thaw(clock_stood=clock_stood))

    def _take_log_down(self) -> None:
        log = self._world.log
        log.down = True

        def mend() -> None:
            log.down = False

        self._for_a_while(mend)

    def _cut_from_log(self) -> None:
        cut, name = self._world.log.cut, self._any().name
        cut.add(name)
        self._for_a_while(lambda: cut.discard(name))

    def _cut_nodes(self, *, one_way: bool) -> None:
        if len(self._machines) < 2:
            return
        one, other = self._world.chance.sample(self._machines, 2)
        cut = self._world.network.cut
        pairs = {(one.name, other.name)} | (set() if one_way else {(other.name, one.name)})
        cut |= pairs
        for here, there in ((one, other), (other, one)):
            if there.process is not None:
                here.lose(there.process.node)

        def mend() -> None:
            cut.difference_update(pairs)
            one.meet(other)

        self._for_a_while(mend)

    def _lose_falsely(self) -> None:
        if len(self._machines) < 2:
            return
        one, other = self._world.chance.sample(self._machines, 2)
        if other.process is not None:
            one.lose(other.process.node)
            self._for_a_while(lambda: one.meet(other))

    def _jump(self) -> None:
        self._any().clock.jumped_ms += self._world.chance.randrange(-1500, 1500)

    def _trim(self) -> None:
        """Trim what all machines that live have on their disks; those that are down or frozen are not asked."""
        live = [it for it in self._machines if it.process is not None and not it.process.frozen]
        if live:
            self._world.log.trim(min(machine.persisted for machine in live) + 1)

    def _persist(self, machine: Machine) -> None:
        def write() -> None:
            machine.persist()
            self._persist(machine)

        self._world.timeline.after(self._world.chance.expovariate(1 / 0.4), write)
