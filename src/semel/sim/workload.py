"""The clients: they ask, wait, lose patience, ask again elsewhere, ask twice at once, and mix up their keys."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from semel.core.call import Call, CallId, Effect, digest_of
from semel.core.message import Abandoned, Answer, Deny, Submitted
from semel.errors import by_code
from semel.sim.climate import Fault
from semel.sim.history import Asked
from semel.sim.machine import Machine
from semel.sim.process import Told
from semel.sim.surroundings import Surroundings
from semel.sim.toolbox import TOOLS

PATIENCE_S = 2.5
"""How long a client waits at most before it asks again elsewhere, if it does not wait for ever."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants done, under which key."""

    id: CallId
    tool: str
    account: str
    amount: int


@dataclass(slots=True)
class Errand:
    """A client that wants one call done: how patient it is, and whether it ever gives up."""

    wish: Wish
    persistent: bool
    patience_s: float
    asks_again: int
    """How often it asks for the same again, after its answer."""
    keyed: bool = True
    """False if it gives no key, so that each of its requests is a call of its own."""
    returning: int = 0
    """How many times it is about to do so."""
    done: bool = False
    open: dict[int, Asked] = field(default_factory=dict)


class Workload:
    """All errands of a run, spread over the storm and the first of the calm."""

    def __init__(self, world: Surroundings, machines: list[Machine], count: int, over_s: float) -> None:
        self._world = world
        self._machines = machines
        self.errands: list[Errand] = []
        chance = world.chance
        for number in range(count):
            errand = self._errand(number)
            self.errands.append(errand)
            world.timeline.after(chance.uniform(0.0, over_s), self._asking(errand))

    @property
    def done(self) -> bool:
        """True if every client that does not give up has got what it came for, and none will ask once more."""
        return all((errand.done or not errand.persistent) and not errand.returning for errand in self.errands)

    def _errand(self, number: int) -> Errand:
        chance = self._world.chance
        wish = Wish(
            id=CallId(f"client-{chance.randrange(3)}", f"k{number}"),
            tool=chance.choice(list(TOOLS)),
            account=f"account-{chance.randrange(2)}",
            amount=chance.randrange(100),
        )
        if self.errands and chance.random() < 0.25:  # the same call from another process of the same caller
            wish = chance.choice(self.errands).wish
            if self._world.climate.strikes(Fault.KEY_REUSED):
                wish = replace(wish, amount=wish.amount + 1, tool=chance.choice(list(TOOLS)))
        return Errand(
            wish,
            persistent=chance.random() < 0.8,
            patience_s=math.inf if chance.random() < 0.2 else chance.uniform(0.1, PATIENCE_S),
            asks_again=chance.choice((0, 0, 0, 1, 2)),
            keyed=TOOLS[wish.tool].effect is not Effect.READ or chance.random() < 0.5,
        )

    def _asking(self, errand: Errand) -> Callable[[], None]:
        return lambda: self._ask(errand)

    def _ask(self, errand: Errand) -> None:
        """Ask one node, or two at once."""
        if errand.done or errand.open:
            return
        hedged = len(self._machines) > 1 and self._world.climate.strikes(Fault.CLIENT_HEDGED)
        for machine in self._world.chance.sample(self._machines, 2 if hedged else 1):
            self._ask_at(machine, errand)
        if not errand.open:
            self._again(errand)

    def _ask_at(self, machine: Machine, errand: Errand) -> None:
        process, world, wish = machine.process, self._world, errand.wish
        if process is None:
            return  # connection refused
        arguments = {"account": wish.account, "amount": wish.amount}
        ticket = len(world.history.asked) + 1
        call = Call(
            id=wish.id if errand.keyed else CallId(wish.id.caller, f"{wish.id.key}-{ticket}"),
            tool=wish.tool,
            arguments=msgspec.Raw(msgspec.json.encode(arguments)),
            digest=digest_of(wish.tool, arguments),
            request=f"r{ticket}",
        )
        asked = Asked(world.timeline.now_s, ticket, process.node, call, TOOLS[wish.tool].effect, errand.keyed)
        world.history.asked.append(asked)
        errand.open[ticket] = asked
        world.note("client", lambda: f"asks {process.node}, ticket {ticket}: {wish.id.key} {wish.tool} {wish.amount}")
        given = Submitted(ticket, call, world.toolbox.spec(machine.name, call), errand.keyed)
        process.ask(ticket, given, lambda told: self._hear(errand, asked, told))
        if errand.patience_s < math.inf:
            world.timeline.after(errand.patience_s, lambda: self._lose_patience(machine, errand, ticket))

    def _hear(self, errand: Errand, asked: Asked, told: Told) -> None:
        """Take what a node says; think about what to do next."""
        errand.open.pop(asked.ticket, None)
        if told is not None:
            asked.told_s = self._world.timeline.now_s
        match told:
            case Answer():
                asked.answer, asked.replayed = told.record, told.replayed
                self._finish(errand)
            case Deny():
                asked.refusal = told.refusal
                if by_code(told.refusal.code, "").retry_safe and told.refusal.code != "unknown_tool":
                    self._again(errand)
                else:
                    self._finish(errand)
            case None:
                self._again(errand)

    def _finish(self, errand: Errand) -> None:
        """Be content; ask once more later, if curious."""
        errand.done = True
        if errand.asks_again:
            errand.asks_again -= 1
            errand.returning += 1
            self._world.timeline.after(self._world.chance.uniform(0.0, 1.5), lambda: self._reopen(errand))

    def _reopen(self, errand: Errand) -> None:
        errand.returning -= 1
        if not errand.open:
            errand.done = False
            self._ask(errand)

    def _again(self, errand: Errand) -> None:
        """Ask again after a while, unless this client gives up."""
        if errand.persistent and not errand.done and not errand.open:
            self._world.timeline.after(self._world.chance.uniform(0.01, 0.4), self._asking(errand))

    def _lose_patience(self, machine: Machine, errand: Errand, ticket: int) -> None:
        if errand.open.pop(ticket, None) is None:
            return
        self._world.climate.count(Fault.CLIENT_LEFT)
        if machine.process is not None:
            machine.process.leave(ticket, Abandoned(ticket))
        self._again(errand)
