"""The nodes that show signs of life: this node's beat goes out, those of the others come in. It suspects nobody."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from semel.core.call import NodeId
from semel.log.protocol import Log


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's pulse shows; `at_s` is its own clock and only has to change."""

    incarnation: str
    url: str
    position: int
    tools: str
    at_s: float
    durable: int = 0
    """The position up to which its replica is on the disk, if the log asks for that."""


class Home(NamedTuple):
    """Where a node is reached, and whether nothing says that it is gone."""

    url: str
    alive: bool


def decode_beats(seen: Mapping[str, bytes]) -> dict[str, Beat]:
    """Return the beats of nodes by name; one that makes no sense is left out, since a beat is a courtesy."""
    beats = {}
    for name, data in seen.items():
        with suppress(ValueError):
            beats[name] = msgspec.json.decode(data, type=Beat)
    return beats


class Members:
    """The newest beat of every node, and when each was last seen to change."""

    def __init__(self, log: Log, me: str) -> None:
        """`me` is this node's name."""
        self._log = log
        self._me = me
        self.beats: Mapping[str, Beat] = {}
        self._changed_s: dict[str, float] = {}
        """By this node's own clock; a beat that was never seen to change may be of a node that is long dead."""

    async def exchange(self, beat: Beat, now_s: float) -> None:
        """Show this node's beat, and take the newest of all.

        Raises:
            LogUnavailable: nobody's pulse can be seen for now; the beats are as old as they were.
        """
        # Side by side: in a node that is busy each wait costs a long turn of the loop.
        _, seen = await asyncio.gather(self._log.pulse(self._me, msgspec.json.encode(beat)), self._log.pulses())
        self.see(decode_beats(seen), now_s)

    def see(self, beats: Mapping[str, Beat], now_s: float) -> None:
        """Take the newest beats."""
        for name, beat in beats.items():
            if name in self.beats and self.beats[name] != beat:
                self._changed_s[name] = now_s
        self._changed_s = {name: changed_s for name, changed_s in self._changed_s.items() if name in beats}
        self.beats = beats

    def age_s(self, name: str, now_s: float) -> float | None:
        """Return how long ago a node showed that it lives, None if it has not since this node began to look."""
        changed_s = self._changed_s.get(name)
        return None if changed_s is None else round(now_s - changed_s, 3)

    def signs(self) -> dict[str, tuple[NodeId, str]]:
        """Return the beats as the decisions want them: whose each is, and something that changes with it."""
        return {name: (NodeId(name, beat.incarnation), str(beat.at_s)) for name, beat in self.beats.items()}

    def others(self) -> Iterator[tuple[NodeId, Beat]]:
        """Yield the beats of all nodes but this one."""
        for name, beat in self.beats.items():
            if name != self._me:
                yield NodeId(name, beat.incarnation), beat
