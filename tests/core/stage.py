"""The stage on which scenes play: a few nodes, one log in memory, one network that loses nothing by itself.

Knows what a node's shell would do with each effect, and nothing of the language that scenes are written in.
It also judges: no once call is started twice, no ticket is answered twice, and every ledger is its log's fold.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from semel.core.call import Call, CallId, Effect, NodeId, Record, Spec, Status, digest_of
from semel.core.codec import decode_entry, encode
from semel.core.decider import Decider, Identity
from semel.core.entry import Entry, Restored
from semel.core.ledger import DictArchive, Ledger
from semel.core.limits import Limits
from semel.core.message import (
    Answer,
    Append,
    Appended,
    Committed,
    Confirm,
    Confirmed,
    Deny,
    Ended,
    Forward,
    Input,
    Installed,
    Lost,
    Now,
    Output,
    Pulsed,
    Received,
    Reconcile,
    Reconciled,
    Refusal,
    Refuse,
    Run,
    Send,
    Started,
    Submitted,
    Ticked,
)

from .spoken import spell_effect, spell_entry

STEP_MS = 500
"""Time passes in steps shorter than half of any patience, or a node would think that it had slept."""

ROUNDS_MAX = 50
"""A scene that has not settled after so many rounds runs in a circle."""


@dataclass(frozen=True)
class Tool:
    effect: Effect
    lane_by: str | None = None
    hook: bool = False


@dataclass
class Player:
    """One life of a node, and what its shell holds for it."""

    id: NodeId
    decider: Decider
    archive: DictArchive
    awake: bool = True
    alive: bool = True
    pending: Append | None = None
    decided: bool | None = None
    """What the log has decided of `pending`, while the node has not been told."""
    runs: dict[int, Run] = field(default_factory=dict)
    asking: set[int] = field(default_factory=set)
    """Intents about which a reconcile hook is asked."""
    confirming: list[int] = field(default_factory=list)
    """Tickets for which it has asked the log for its tail."""


class Stage:
    """All that scenes can do to nodes; every method returns the lines of what came of it."""

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}
        self.lacking: set[tuple[str, str]] = set()
        self.limits = Limits()
        self.log: list[bytes] = []
        self.players: dict[str, Player] = {}
        self.network: list[tuple[NodeId, Send]] = []
        self.now_ms = 0
        self.wall_ms = 0
        """By how much wall clocks are ahead of the time that has passed."""
        self.lines: list[str] = []
        self._beat = 0
        self._tickets = 0
        self._done: set[int] = set()
        self._started: set[CallId] = set()

    # Nodes come and go.

    def add(self, name: str, *, keep: bool = False) -> None:
        """Let a node begin its next life, with its replica if it is to `keep` it."""
        before = self.players.get(name)
        archive = before.archive if before and keep else DictArchive()
        totals = before.decider.ledger.totals if before and keep else None
        me = NodeId(name, str(int(before.id.incarnation) + 1) if before else "1")
        identity = Identity(node=me, url=f"http://{name}", cluster="test", cluster_id="0")
        decider = Decider(identity, Ledger(archive, totals), self.limits)
        self.players[name] = Player(me, decider, archive)

    def start(self, name: str) -> None:
        self.step(name, Started(len(self.log)))

    def lives(self) -> list[str]:
        return [name for name, player in self.players.items() if player.alive and player.awake]

    # What the world does.

    def step(self, name: str, given: Input) -> None:
        player = self.players[name]
        assert player.alive, f"{name} is dead"
        assert player.awake, f"{name} is frozen"
        now = Now(self.now_ms / 1000, self.now_ms + self.wall_ms)
        for effect in player.decider.step(given, now):
            self._perform(name, player, effect)

    def submit(
        self, name: str, tool: str, call: CallId, arguments: str, answers: str = "", *, keyed: bool = True
    ) -> None:
        self._tickets += 1
        asked = Call(
            id=call,
            tool=tool,
            arguments=msgspec.Raw(arguments.encode()),
            digest=digest_of(tool, json.loads(arguments), json.loads(answers) if answers else None),
            request=f"r{self._tickets}",
            answers=msgspec.Raw(answers.encode()) if answers else None,
        )
        self.step(name, Submitted(self._tickets, asked, self._spec(name, asked), keyed))

    def append(self, name: str) -> None:
        """Let the log decide what a node has proposed; the node is not told yet."""
        player = self.players[name]
        proposed = player.pending
        assert proposed is not None, f"{name} has proposed nothing"
        assert player.decided is None, "the log has decided already"
        player.decided = proposed.after == len(self.log)
        first, last = proposed.after + 1, proposed.after + len(proposed.entries)
        if player.decided:
            self.log.extend(encode(entry) for entry in proposed.entries)
            self.say(f"log takes {first} from {name}" if first == last else f"log takes {first} to {last} from {name}")
        else:
            self.say(f"log refuses {name}: {first} is taken")

    def acknowledge(self, name: str) -> None:
        player = self.players[name]
        proposed, decided = player.pending, player.decided
        assert proposed is not None
        assert decided is not None, "the log has not decided"
        player.pending = player.decided = None
        self.step(name, Appended(proposed.after, decided))

    def read(self, name: str, until: int | None = None) -> None:
        position = self.players[name].decider.ledger.position
        entries = tuple(self.entries()[position:until])
        if entries:
            self.step(name, Committed(position + 1, entries))

    def install(self, name: str, source: str) -> None:
        """Let a node go on from a copy of another's replica."""
        player, other = self.players[name], self.players[source]
        player.archive.records, player.archive.evidence = dict(other.archive.records), dict(other.archive.evidence)
        self.step(name, Installed(other.decider.ledger.totals))

    def restore(self, name: str) -> None:
        """Lose what nobody's replica but that node's holds; its log goes on with the news of that."""
        for player in self.players.values():
            player.alive = False
        del self.log[self.players[name].decider.ledger.position :]
        self.log.append(encode(Restored(at_ms=self.now_ms + self.wall_ms)))
        self.network.clear()
        self.players = {name: self.players[name]}

    def confirm(self, name: str) -> None:
        """Tell a node the log's tail, for every ticket for which it has asked."""
        player = self.players[name]
        asked, player.confirming = player.confirming, []
        for ticket in asked:
            self.step(name, Confirmed(ticket, len(self.log)))

    def deliver(self, to: Iterable[str]) -> None:
        """Hand over what is under way to those nodes; what is sent meanwhile stays under way."""
        names = set(to)
        now, self.network = self.network, []
        for sender, send in now:
            player = self.players[send.to.name]
            if send.to.name not in names:
                self.network.append((sender, send))
            elif player.id == send.to and player.alive:
                message = send.message
                spec = self._spec(send.to.name, message.call) if isinstance(message, Forward) else None
                self.step(send.to.name, Received(sender, message, spec))

    def end(self, name: str, run: int, status: Status, result: str) -> None:
        del self.players[name].runs[run]
        self.step(name, Ended(run, status, msgspec.Raw(result.encode()), 5.0))

    def lose_tool(self, name: str, run: int, reason: str) -> None:
        del self.players[name].runs[run]
        self.step(name, Lost(run, reason))

    def tell(self, name: str, given: Reconciled) -> None:
        """Let a hook that a node has asked say what it knows."""
        self.players[name].asking.remove(given.intent)
        self.step(name, given)

    def tick(self, span_ms: int) -> None:
        """Let time pass: every node that is awake shows its pulse, sees those of the others, and ticks."""
        while span_ms > 0:
            self.now_ms += min(span_ms, STEP_MS)
            span_ms -= STEP_MS
            self._beat += 1
            beats = {name: (self.players[name].id, str(self._beat)) for name in self.lives()}
            for name in self.lives():
                self.step(name, Pulsed(beats))
                self.step(name, Ticked())

    def settle(self) -> None:
        """Let the log and the network do all that they have to do, node by node, until nothing is left."""
        busy, rounds = True, 0
        while busy:
            busy, rounds = False, rounds + 1
            assert rounds <= ROUNDS_MAX, "this never settles"
            for name in self.lives():
                player = self.players[name]
                if player.pending is not None:
                    if player.decided is None:
                        self.append(name)
                    self.acknowledge(name)
                    busy = True
                if player.decider.ledger.position < len(self.log):
                    self.read(name)
                    busy = True
                if player.confirming:
                    self.confirm(name)
                    busy = True
            if any(send.to.name in self.lives() for _, send in self.network):
                self.deliver(self.lives())
                busy = True

    # What the stage says, and how it judges.

    def say(self, line: str) -> None:
        self.lines.append(line)

    def entries(self) -> list[Entry]:
        return [decode_entry(position, data) for position, data in enumerate(self.log, 1)]

    def records(self, name: str) -> list[Record]:
        return sorted(self.players[name].archive.records.values(), key=lambda record: record.execution_id)

    def judge(self) -> None:
        """Assert that every ledger is the fold of what its node has read, whichever way it came."""
        entries = self.entries()
        for player in self.players.values():
            ledger = player.decider.ledger
            afresh = Ledger(archive := DictArchive())
            for position, entry in enumerate(entries[: ledger.position], 1):
                afresh.apply(position, entry)
            assert (ledger.totals, ledger.open) == (afresh.totals, afresh.open)
            assert player.archive.records == archive.records
            assert player.archive.evidence == archive.evidence

    def _spec(self, name: str, call: Call) -> Spec | Refusal:
        if call.tool not in self.tools or (name, call.tool) in self.lacking:
            return Refusal("unknown_tool", f"{name} has no tool {call.tool}")
        tool = self.tools[call.tool]
        lane = None if tool.lane_by is None else str(json.loads(bytes(call.arguments))[tool.lane_by])
        return Spec(effect=tool.effect, lane=lane)

    def _perform(self, name: str, player: Player, effect: Output) -> None:
        match effect:
            case Append():
                assert player.pending is None, "one append at a time"
                player.pending = effect
                for position, entry in enumerate(effect.entries, effect.after + 1):
                    self.say(f"{name} proposes {position}: {spell_entry(entry)}")
                return
            case Run():
                self._judge_run(name, effect)
                player.runs[effect.run] = effect
            case Reconcile():
                assert effect.intent not in player.asking, "asked twice"
                player.asking.add(effect.intent)
                if not self.tools[effect.call.tool].hook:
                    self.tell(name, Reconciled(effect.intent, None))
                    return
            case Send():
                assert isinstance(effect.message, Forward | Refuse)
                self.network.append((player.id, effect))
            case Confirm():
                player.confirming.append(effect.ticket)
            case Answer() | Deny():
                assert effect.ticket not in self._done, "one answer a ticket"
                self._done.add(effect.ticket)
        self.say(spell_effect(name, effect))

    def _judge_run(self, name: str, run: Run) -> None:
        spec = self._spec(name, run.call)
        if isinstance(spec, Spec) and spec.effect is Effect.ONCE:
            assert run.call.id not in self._started, "a once call is started once"
            self._started.add(run.call.id)
