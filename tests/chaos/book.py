"""The book: all that the callers asked and were told, and when, in this process's monotonic seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from semel.core.call import digest_of
from semel.gateway.clients.client import Answer

CALLER = "chaos"
Body = tuple[bool, tuple[str, ...], Any]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: what the log is said to hold of the call, and the result's own content."""

    outcome: str
    position: int
    term: int
    replayed: bool
    value: Any
    body: Body

    @property
    def final(self) -> bool:
        """True if this is an outcome, and not doubt."""
        return self.outcome != "in_doubt"


@dataclass(slots=True)
class Asked:
    """One caller's asking for one call, with all its retries."""

    key: str
    tool: str
    arguments: Mapping[str, Any]
    begun_s: float
    calm: bool
    """True if it was asked in the calm, when everything must be answered."""
    ended_s: float = float("inf")
    told: Told | None = None
    refusal: str | None = None
    """The code of the error that says that the request itself is wrong."""
    trouble: str | None = None
    """Why there was no answer in time."""

    @property
    def digest(self) -> str:
        """What makes two requests under one key the same call."""
        return digest_of(self.tool, dict(self.arguments))

    def __str__(self) -> str:
        heard = self.told.outcome if self.told else self.refusal or self.trouble or "nothing yet"
        return f"{self.key} {self.tool} {dict(self.arguments)} (asked {self.begun_s:.3f}): {heard}"


@dataclass
class Book:
    """Every asking, in the order in which they began."""

    asked: list[Asked] = field(default_factory=list)

    def by_key(self) -> dict[str, list[Asked]]:
        """Return the askings of each key."""
        found: dict[str, list[Asked]] = {}
        for asked in self.asked:
            found.setdefault(asked.key, []).append(asked)
        return found


def told_of(answer: Answer) -> Told:
    """Return what an answer says."""
    return Told(str(answer.outcome), answer.position, answer.term, answer.replayed, answer.result, body_of(answer.raw))


def body_of(result: Mapping[str, Any]) -> Body:
    """Return what a tool itself put into a CallToolResult, however it travelled."""
    texts = tuple(str(block.get("text", block)) for block in result.get("content", ()))
    return bool(result.get("isError")), texts, result.get("structuredContent")
