"""The clients: they ask, wait, lose patience, ask again elsewhere, ask twice at once, and mix up their keys.

They answer what tools ask them, or do not, ask for old rounds again, and some forge rounds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from semel.core.call import Call, CallId, Effect, Record, Status, digest_of
from semel.core.message import Abandoned, Answer, Deny, Submitted
from semel.errors import by_code
from semel.sim.climate import Fault
from semel.sim.history import Asked
from semel.sim.machine import Machine
from semel.sim.process import Told
from semel.sim.surroundings import Surroundings
from semel.sim.told import name_of
from semel.sim.toolbox import TOOLS

PATIENCE_S = 2.5
"""How long a client waits at most before it asks again elsewhere, if it does not wait for ever."""


Answers = dict[str, Any] | None
"""What a client sends along in a round, as `Call.answers` has it."""


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
    made: str = ""
    """The key that was made for the request that a tool has answered with a question, if it gave none."""
    rounds: list[Answers] = field(default_factory=lambda: [None])
    """What it brings to each round so far; nothing to the first."""
    returning: int = 0
    """How many times it is about to do so."""
    resting: bool = False
    """True if it is about to ask for the first time, or to go on."""
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
            self._ask_after(errand, chance.uniform(0.0, over_s))

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

    def _ask_after(self, errand: Errand, delay_s: float) -> None:
        """Ask after a while, but for one thing at a time."""
        if not errand.resting:
            errand.resting = True
            self._world.timeline.after(delay_s, lambda: self._wake(errand))

    def _wake(self, errand: Errand) -> None:
        errand.resting = False
        self._ask(errand)

    def _ask(self, errand: Errand) -> None:
        """Ask one node, or two at once."""
        if errand.done or errand.open:
            return
        hedged = len(self._machines) > 1 and self._world.climate.strikes(Fault.CLIENT_HEDGED)
        for machine in self._world.chance.sample(self._machines, 2 if hedged else 1):
            self._ask_at(machine, errand)
            if errand.keyed and self._world.climate.strikes(Fault.ROUND_FORGED):
                self._forge(machine, errand)
        if not errand.open:
            self._again(errand)

    def _ask_at(self, machine: Machine, errand: Errand) -> None:
        """Ask for the round that the errand has come to, or for an earlier one again."""
        number = len(errand.rounds)
        if number > 1 and self._world.climate.strikes(Fault.ROUND_AGAIN):
            number = self._world.chance.randrange(1, number)
        asked = self._asked(machine, errand, number, errand.rounds[number - 1], errand.wish.amount)
        if asked is None:
            return  # connection refused
        errand.open[asked.ticket] = asked
        self._submit(machine, asked, lambda told: self._hear(errand, asked, told))
        if errand.patience_s < math.inf:
            self._world.timeline.after(errand.patience_s, lambda: self._lose_patience(machine, errand, asked.ticket))

    def _forge(self, machine: Machine, errand: Errand) -> None:
        """Ask, as somebody who knows the key, for a round that nobody asked for; nobody waits for what is said."""
        chance, amount = self._world.chance, errand.wish.amount
        number = chance.randrange(2, len(errand.rounds) + 3)
        forged: Answers = {"requestState": "forged"}
        if number <= len(errand.rounds) and chance.random() < 0.5:
            forged, amount = errand.rounds[number - 1], amount + 1
        asked = self._asked(machine, errand, number, forged, amount)
        if asked is not None:
            self._submit(machine, asked, lambda told: self._note(asked, told))

    def _asked(self, machine: Machine, errand: Errand, number: int, answers: Answers, amount: int) -> Asked | None:
        """Return a request for a round, which is in the history from now on; None if nobody is there to hear it."""
        process, world, wish = machine.process, self._world, errand.wish
        if process is None:
            return None
        arguments = {"account": wish.account, "amount": amount}
        ticket = len(world.history.asked) + 1
        keyed = errand.keyed or errand.made != ""  # who was told the key that was made may ask under it again
        key = wish.id.key if errand.keyed else errand.made or f"{wish.id.key}-{ticket}"
        call = Call(
            id=CallId(wish.id.caller, key, number),
            tool=wish.tool,
            arguments=msgspec.Raw(msgspec.json.encode(arguments)),
            digest=digest_of(wish.tool, arguments, answers),
            request=f"r{ticket}",
            answers=None if answers is None else msgspec.Raw(msgspec.json.encode(answers)),
        )
        asked = Asked(world.timeline.now_s, ticket, process.node, call, TOOLS[wish.tool].effect, keyed)
        world.history.asked.append(asked)
        return asked

    def _submit(self, machine: Machine, asked: Asked, hear: Callable[[Told], None]) -> None:
        process, world, call = machine.process, self._world, asked.call
        assert process is not None
        arguments = bytes(call.arguments).decode()
        world.note(
            "client",
            lambda: (
                f"asks {process.node}, ticket {asked.ticket}: {name_of(call.id)} {call.tool} {arguments}"
                + (f" with {bytes(call.answers).decode()}" if call.answers is not None else "")
            ),
        )
        given = Submitted(asked.ticket, call, world.toolbox.spec(machine.name, call), asked.keyed)
        process.ask(asked.ticket, given, hear)

    def _note(self, asked: Asked, told: Told) -> None:
        """Put what a node says into the history."""
        if told is not None:
            asked.told_s = self._world.timeline.now_s
        match told:
            case Answer():
                asked.answer, asked.replayed = told.record, told.replayed
            case Deny():
                asked.refusal = told.refusal
            case None:
                pass

    def _hear(self, errand: Errand, asked: Asked, told: Told) -> None:
        """Take what a node says; think about what to do next."""
        errand.open.pop(asked.ticket, None)
        self._note(asked, told)
        match told:
            case Answer():
                self._think(errand, told.record)
                if told.record.id.round < len(errand.rounds):
                    self._go_on(errand)
                else:
                    self._finish(errand)
            case Deny():
                if by_code(told.refusal.code, "").retry_safe and told.refusal.code != "unknown_tool":
                    self._again(errand)
                else:
                    self._finish(errand)
            case None:
                self._again(errand)

    def _think(self, errand: Errand, record: Record) -> None:
        """If a tool asks for more, find an answer: one of two, so that two clients of one call may differ."""
        if record.status is not Status.INPUT_REQUIRED or record.id.round != len(errand.rounds):
            return
        if not errand.keyed:
            if errand.made not in ("", record.id.key):
                return
            errand.made = record.id.key
        question = msgspec.json.decode(record.result or b"")
        state = {"requestState": question["requestState"]} if "requestState" in question else {}
        errand.rounds.append({"inputResponses": {"sure": self._world.chance.random() < 0.5}, **state})

    def _go_on(self, errand: Errand) -> None:
        """Begin the next round after a while, unless this client has lost interest."""
        if errand.done or errand.open:
            return
        if self._world.climate.strikes(Fault.ROUND_LEFT):
            errand.done = True
            return
        if errand.keyed and self._world.climate.strikes(Fault.ROUND_FORGED):
            self._forge(self._world.chance.choice(self._machines), errand)
        self._ask_after(errand, self._world.chance.uniform(0.0, 0.3))

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
            self._ask_after(errand, self._world.chance.uniform(0.01, 0.4))

    def _lose_patience(self, machine: Machine, errand: Errand, ticket: int) -> None:
        if errand.open.pop(ticket, None) is None:
            return
        self._world.climate.count(Fault.CLIENT_LEFT)
        if machine.process is not None:
            machine.process.leave(ticket, Abandoned(ticket))
        self._again(errand)
