"""The judge's own reading of the log: reigns and the lives of calls, by the rules of the design, not the core's code.

A call has a life from its first valid intent (or its read) until its key is forgotten; then the key is new again.
Each round of a call has a life of its own, and all of them end together.
"""

import json
from dataclasses import dataclass, field

from semel.core.call import Call, CallId, Effect, NodeId, Status
from semel.core.entry import Doubted, Elected, Entry, Forgot, Founded, Intent, Outcome, Read, Resigned


@dataclass(slots=True)
class Life:
    """One call in the log, or one round of it. Positions are None for what has not come to pass."""

    call: Call
    effect: Effect
    clock_ms: int
    """When it came to stand as it does, by the log's clock."""
    born: int
    intents: list[int] = field(default_factory=list)
    outcome: int | None = None
    doubted: int | None = None
    forgotten: int | None = None
    """Where its result was forgotten, or its key at once."""
    ended: int | None = None
    """Where its key was forgotten."""

    @property
    def id(self) -> CallId:
        """What it is the life of."""
        return self.call.id

    @property
    def digest(self) -> str:
        """What the call was begun with."""
        return self.call.digest

    @property
    def request(self) -> str:
        """The request that began it."""
        return self.call.request


class Chronicle:
    """What the entries say, from first to last."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.reigns: list[tuple[NodeId, int] | None] = [None]
        """Who led in which term after the entry at each position."""
        self.lives: list[Life] = []
        self.by_intent: dict[int, Life] = {}
        """The lives by their valid intents."""
        self.faults: list[str] = []
        self._now: dict[CallId, Life] = {}
        self._by_key: dict[CallId, list[Life]] = {}
        self._term = 0
        self._clock_ms = 0
        for position, entry in enumerate(entries, 1):
            self.reigns.append(self._reign_after(entry))
            self._read(position, entry)

    def life_at(self, call: CallId, position: int) -> Life | None:
        """Return the life that an entry at a position made, if any."""
        for life in self._by_key.get(call, ()):
            if position in (life.outcome, life.doubted, life.born) or position in life.intents:
                return life
        return None

    def lives_of(self, call: CallId) -> list[Life]:
        """Return all lives of a key, oldest first."""
        return self._by_key.get(call, [])

    def asked_for(self, call: Call, position: int) -> list[Life]:
        """Return the lives of the round before that had asked for this one up to a position; forgotten ones, too."""
        lives = self.lives_of(call.id.before)
        return [it for it in lives if it.outcome is not None and it.outcome <= position and self._asks_for(it, call)]

    def _asks_for(self, life: Life, call: Call) -> bool:
        """Return whether the outcome of a round asks for the one that this call is: same tool, arguments, state."""
        assert life.outcome is not None
        entry = self.entries[life.outcome - 1]
        assert isinstance(entry, Outcome | Read)
        if entry.status is not Status.INPUT_REQUIRED or call.answers is None:
            return False
        asked, brought = json.loads(bytes(entry.result)), json.loads(bytes(call.answers))
        one, other = ((it.tool, json.loads(bytes(it.arguments))) for it in (life.call, call))
        return one == other and bool(asked.get("requestState") == brought.get("requestState"))

    def _may_begin(self, call: Call) -> bool:
        if call.id.round == 1:
            return True
        life = self._now.get(call.id.before)
        if life is None or life.outcome is None or life.forgotten is not None:
            return False
        return self._asks_for(life, call)

    def _reign_after(self, entry: Entry) -> tuple[NodeId, int] | None:
        reign = self.reigns[-1]
        match entry:
            case Elected() if entry.term > self._term:
                if entry.term != self._term + 1:
                    self.faults.append(f"term {entry.term} follows term {self._term}")
                self._term = entry.term
                self._clock_ms = self._clock_ms or entry.at_ms
                return entry.node, entry.term
            case Resigned() if reign == (entry.node, entry.term):
                return None
            case _:
                return reign

    def _read(self, position: int, entry: Entry) -> None:
        if isinstance(entry, Founded) != (position == 1):
            self.faults.append(f"position {position} has {entry}")
        match entry:
            case Intent():
                self._intent(position, entry)
            case Read():
                if entry.call.id not in self._now and self._may_begin(entry.call):
                    life = self._bear(Life(entry.call, Effect.READ, self._clock_ms, position))
                    life.outcome = position
            case Outcome():
                life_of = self.by_intent.get(entry.intent)
                if life_of is not None and life_of.outcome is None:
                    life_of.outcome = position
                    life_of.clock_ms = self._clock_ms
            case Doubted():
                self._doubt(position, entry)
            case Forgot():
                self._forget(position, entry)
            case _:
                pass

    def _bear(self, life: Life) -> Life:
        self.lives.append(life)
        self._now[life.id] = life
        self._by_key.setdefault(life.id, []).append(life)
        return life

    def _intent(self, position: int, entry: Intent) -> None:
        if self.reigns[position - 1] != (entry.executor, entry.term):
            self.faults.append(f"the intent at {position} is of {entry.executor}, who did not lead")
            return
        life = self._now.get(entry.call.id)
        if life is None:
            if not self._may_begin(entry.call):
                return
            life = self._bear(Life(entry.call, entry.effect, self._clock_ms, position))
        elif life.effect is Effect.ONCE or life.outcome is not None or life.digest != entry.call.digest:
            return
        life.intents.append(position)
        self.by_intent[position] = life

    def _doubt(self, position: int, entry: Doubted) -> None:
        life = self.by_intent.get(entry.intent)
        if life is None or life.outcome is not None or life.doubted is not None or life.intents[-1] != entry.intent:
            return
        life.doubted = position
        if life.effect is not Effect.ONCE:
            self.faults.append(f"the {life.effect} call {life.id.key} is in doubt at {position}")

    def _forget(self, position: int, entry: Forgot) -> None:
        self._clock_ms = max(self._clock_ms, min(entry.at_ms, self._clock_ms + entry.step_ms))
        last = {(life.id.caller, life.id.key): life for life in sorted(self._now.values(), key=lambda it: it.id.round)}
        for life in list(self._now.values()):
            end = last[life.id.caller, life.id.key]
            if end.outcome is None:
                continue
            if end.clock_ms < self._clock_ms - entry.key_retention_ms:
                life.ended = position
                life.forgotten = life.forgotten or position
                del self._now[life.id]
            elif end.clock_ms < self._clock_ms - entry.result_retention_ms:
                life.forgotten = life.forgotten or position

    def status_of(self, life: Life) -> Status | None:
        """Return the status of a life's outcome."""
        if life.outcome is None:
            return None
        entry = self.entries[life.outcome - 1]
        assert isinstance(entry, Outcome | Read)
        return entry.status
