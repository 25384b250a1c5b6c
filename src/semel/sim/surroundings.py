"""All that a machine stands in, handed around as one: time, chance, weather, log, network, tools, history, core."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from semel.core.decider import Decider, Identity
from semel.core.ledger import Archive, DictArchive, Ledger, Totals
from semel.core.limits import Limits
from semel.sim.climate import Climate
from semel.sim.history import History
from semel.sim.log import SimulatedLog
from semel.sim.network import Network
from semel.sim.timeline import Timeline
from semel.sim.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Core:
    """The core under test: the real one, or a mutant's."""

    decider: Callable[[Identity, Ledger, Limits], Decider] = Decider
    ledger: Callable[[Archive, Totals | None], Ledger] = Ledger
    archive: Callable[[], DictArchive] = DictArchive


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One simulated world, as its machines see it."""

    core: Core
    limits: Limits
    chance: Random
    timeline: Timeline
    climate: Climate
    history: History
    log: SimulatedLog
    network: Network
    toolbox: Toolbox

    def note(self, who: str, what: Callable[[], str]) -> None:
        """Write a line of the trace, now."""
        self.history.note(self.timeline.now_s, who, what)
