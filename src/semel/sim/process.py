"""One incarnation of a node: the real core in a simulated shell, which performs its effects as the real shell does."""

from collections.abc import Callable
from typing import assert_never

from semel.core.call import NodeId
from semel.core.codec import decode_message, encode
from semel.core.decider import Identity
from semel.core.ledger import Ledger, Totals
from semel.core.message import (
    Answer,
    Append,
    Appended,
    Committed,
    Confirm,
    Confirmed,
    Deny,
    Forward,
    Hello,
    Input,
    Installed,
    Output,
    Pulsed,
    Received,
    Reconcile,
    Reconciled,
    Run,
    Send,
    Started,
    Ticked,
)
from semel.sim.climate import Fault
from semel.sim.history import Start
from semel.sim.log import Decision
from semel.sim.surroundings import Surroundings
from semel.sim.timeline import Clock
from semel.sim.told import entry_text, output_text

TICK_S = 0.1
BACKOFF_MAX_S = 0.3

Told = Answer | Deny | None
"""What a client hears; None if the connection broke."""


class Process:
    """A node's life from start to crash. Everything that reaches it while it is frozen waits for the thaw."""

    def __init__(
        self,
        world: Surroundings,
        node: NodeId,
        clock: Clock,
        ledger: Ledger,
        *,
        on_crash: Callable[[], None],
        on_trimmed: Callable[[], None],
    ) -> None:
        self._world = world
        self._clock = clock
        self._on_crash = on_crash
        self._on_trimmed = on_trimmed
        self.node = node
        identity = Identity(node, f"http://{node.name}", "sim", f"id-{node}")
        self.decider = world.core.decider(identity, ledger, world.limits)
        self.dead = False
        self.frozen = False
        self._waiting: list[Callable[[], None]] = []
        """What happened to a frozen process, in order."""
        self._tickets: dict[int, Callable[[Told], None]] = {}
        self._running: dict[int, Start] = {}
        self._fetching = False
        self._read = ledger.position
        """The last position that was fetched from the log."""
        self._beat = 0

    def begin(self) -> None:
        """Follow the log, listen to peers, and tick."""
        world = self._world
        world.log.follow(self.node.name, self._fetch_soon)
        world.network.listen(self.node, self._hear)
        self._ask_tail(Started)
        self._fetch_soon()
        world.timeline.after(world.chance.random() * TICK_S, self._tick)

    def install(self, totals: Totals, put: Callable[[], None]) -> None:
        """Go on from a snapshot, which `put` puts into the archive, and read the log from there."""
        if totals.position > self.decider.ledger.position:
            self.step(Installed(totals), put)
        self._fetch_soon()

    def step(self, given: Input, prepare: Callable[[], None] | None = None) -> None:
        """Give an input to the core now, or at the thaw, after `prepare`, and perform what comes out."""
        if self.dead:
            return
        if self.frozen:
            self._waiting.append(lambda: self.step(given, prepare))
            return
        world = self._world
        if world.climate.strikes(Fault.CRASH_BEFORE_STEP):
            self._on_crash()
            return
        if prepare is not None:
            prepare()
        led = self.decider.leads
        try:
            outputs = self.decider.step(given, self._clock.now())
        except Exception as error:  # whatever it is, it is the core's mistake, and this is where it is caught
            world.history.breaches.append(f"the core of {self.node} raised {error!r} on {given}")
            self._on_crash()
            return
        if self.decider.leads and not led and world.climate.strikes(Fault.CRASH_WHEN_ELECTED):
            self._on_crash()
            return
        for output in outputs:
            self._perform(output)
            if world.climate.strikes(Fault.CRASH_BETWEEN_EFFECTS):
                self._on_crash()
                return

    def ask(self, ticket: int, given: Input, tell: Callable[[Told], None]) -> None:
        """Take a client's request; `tell` is called once, unless the client leaves."""
        self._tickets[ticket] = tell
        self.step(given)

    def leave(self, ticket: int, given: Input) -> None:
        """Take note that a client has gone."""
        if ticket in self._tickets:
            self._tickets[ticket] = lambda told: None  # an answer may have been on its way
            self.step(given)

    def thaw(self) -> None:
        """Go on, with all that has happened meanwhile."""
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def end(self) -> None:
        """Die; the tools that run here die too, and the clients' connections break."""
        self.dead = True
        now_s = self._world.timeline.now_s
        self._world.network.leave(self.node)
        for start in self._running.values():
            if start.ended_s is None:
                start.ended_s = now_s
        for tell in self._tickets.values():
            tell(None)

    # Effects.

    def _perform(self, output: Output) -> None:
        world = self._world
        world.note(str(self.node), lambda: output_text(output))
        match output:
            case Append():
                self._check_append(output)
                self._propose(output, tuple(encode(entry) for entry in output.entries), BACKOFF_MAX_S / 16)
            case Run():
                self._run(output)
            case Reconcile():
                self._reconcile(output)
            case Send():
                world.network.send(self.node, output.to, encode(output.message))
            case Confirm():
                self._ask_tail(lambda tail: Confirmed(output.ticket, tail))
            case Answer() | Deny():
                tell = self._tickets.pop(output.ticket, None)
                if tell is None:
                    world.history.breaches.append(f"{self.node} told ticket {output.ticket} twice, or after it left")
                else:
                    tell(output)
            case _:
                assert_never(output)

    def _propose(self, output: Append, entries: tuple[bytes, ...], backoff_s: float) -> None:
        """Propose an append, and again, until the log has decided it."""

        def hear(decision: Decision) -> None:
            if self.dead:
                return
            if self.frozen:
                self._waiting.append(lambda: hear(decision))
                return
            if decision is Decision.UNAVAILABLE:
                later = min(backoff_s * 2, BACKOFF_MAX_S)
                self._world.timeline.after(backoff_s, lambda: self._propose(output, entries, later))
                return
            self._world.note(str(self.node), lambda: f"append after {output.after}: {decision.name.lower()}")
            self.step(Appended(output.after, decision is Decision.COMMITTED))

        if self.frozen:
            self._waiting.append(lambda: self._propose(output, entries, backoff_s))
        elif not self.dead:
            self._world.log.propose(self.node.name, output.after, entries, hear)

    def _run(self, order: Run) -> None:
        world, position = self._world, self.decider.ledger.position

        def report(given: Input) -> None:
            self._running.pop(order.run, None)
            world.note(str(self.node), lambda: f"run {order.run}: {type(given).__name__.lower()}")
            world.timeline.after(world.chance.uniform(0.0, 0.003), lambda: self.step(given))

        self._running[order.run] = world.toolbox.run(self.node, position, order, report)
        if len(self._running) > world.limits.concurrency_max:
            world.history.breaches.append(f"{self.node} runs {len(self._running)} tools at once")

    def _reconcile(self, order: Reconcile) -> None:
        world = self._world

        def report(given: Reconciled) -> None:
            said = given.reason if given.result is None else bytes(given.result).decode()
            world.note(str(self.node), lambda: f"hook of intent {order.intent}: {said}")
            world.timeline.after(world.chance.uniform(0.0, 0.003), lambda: self.step(given))

        world.toolbox.reconcile(self.node, order, report)

    def _check_append(self, output: Append) -> None:
        if len(output.entries) > self._world.limits.batch_entries_max:
            self._world.history.breaches.append(f"{self.node} appends {len(output.entries)} entries at once")

    # What comes in.

    def _hear(self, sender: NodeId, data: bytes) -> None:
        message = decode_message(data)
        assert not isinstance(message, Hello)
        spec = self._world.toolbox.spec(self.node.name, message.call) if isinstance(message, Forward) else None
        self.step(Received(sender, message, spec))

    def _ask_tail(self, told: Callable[[int], Input]) -> None:
        """Ask the log for its tail until it answers, and give what comes of it to the core."""
        world = self._world
        if self.dead:
            return
        if self.frozen or not world.log.reachable(self.node.name):
            world.timeline.after(0.05, lambda: self._ask_tail(told))
            return
        given = told(world.log.tail)
        world.timeline.after(world.chance.uniform(0.001, 0.01), lambda: self.step(given))

    def _fetch_soon(self) -> None:
        if not self._fetching and not self.dead:
            self._fetching = True
            lag_s = self._world.chance.uniform(0.001, 0.006)
            if self._world.climate.strikes(Fault.READS_LAG):
                lag_s = self._world.chance.uniform(0.05, 1.0)
            self._world.timeline.after(lag_s, self._fetch)

    def _fetch(self) -> None:
        """Read what is new in the log, or a part of it, and give it to the core."""
        self._fetching = False
        log, world = self._world.log, self._world
        if self.dead:
            return
        if self.frozen or not log.reachable(self.node.name):
            self._fetching = True
            world.timeline.after(0.05, self._fetch)
            return
        self._read = max(self._read, self.decider.ledger.position)  # an acknowledgement or a snapshot may be ahead
        if self._read + 1 < log.first:
            world.note(str(self.node), lambda: "what it would read next has been trimmed")
            self._on_trimmed()
            return
        first, last = self._read + 1, log.tail
        if last - first >= 1 and world.chance.random() < 0.3:
            last = world.chance.randrange(first, last + 1)
        if first <= last:
            self._read = last
            entries = tuple(log.entries[first - 1 : last])
            world.note(str(self.node), lambda: f"reads {', '.join(map(entry_text, entries))} from {first}")
            self.step(Committed(first, entries))
        if self._read < log.tail:
            self._fetch_soon()

    def _tick(self) -> None:
        if self.dead:
            return
        world = self._world
        world.timeline.after(TICK_S, self._tick)
        if self.frozen:
            return
        if world.log.reachable(self.node.name) and not world.climate.strikes(Fault.PULSE_LOST):
            self._beat += 1
            world.log.beats[self.node.name] = (self.node, str(self._beat))
            self.step(Pulsed(dict(world.log.beats)))
        self.step(Ticked())
