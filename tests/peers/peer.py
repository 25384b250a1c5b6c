"""What the fire knows of a system under it: it starts, takes calls, is killed in the middle, and starts again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

EFFECTS = "effects"
Outcome = Literal["ok", "in_doubt", "refused", "failed"]


@dataclass(frozen=True)
class Answer:
    """What a caller was told: `in_doubt` is any answer that says that nobody knows whether the tool acted."""

    outcome: Outcome
    text: str


class Unreachable(Exception):
    """Nobody took the request, or the connection broke: ask again with the same key, as its docs advise."""


class NotInstallable(Exception):
    """The peer cannot be had on this machine; the text is the reason, for the table."""


class Peer(Protocol):
    """One system in one setting: one row of the table."""

    title: str
    killed: str  # what the fire kills
    pattern: str  # its documented pattern for "once", as used here

    def install(self) -> str:
        """Install what is missing and return the versions."""
        ...

    async def start(self, folder: Path) -> None:
        """Start everything, with its data in an empty folder; the tool's lines go to `folder / EFFECTS`."""
        ...

    async def submit(self, key: str, amount: int) -> Answer:
        """Make one request and wait for its answer."""
        ...

    async def kill(self, busiest: Sequence[int], dice: random.Random) -> int | None:
        """Kill -9 what executes or leads, given process groups, the busiest first; return its group if it ran tools."""
        ...

    async def restart(self) -> None:
        """Start what was killed again, as a supervisor would, and return when it is ready."""
        ...

    async def stop(self) -> None:
        """End every process that was started here."""
        ...
