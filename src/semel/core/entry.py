"""The entries: the facts that the log can hold, each in the past tense or as a statement of its author.

A closed union. Every entry carries the version of its format; codec.py turns them into bytes and back.
"""

from typing import Literal

import msgspec

from semel.core.call import Call, Effect, NodeId, Status

FORMAT = 1
"""The version that this semel writes, and the newest that it reads."""


class _Entry(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    v: Literal[1] = 1


class Founded(_Entry, frozen=True, kw_only=True, tag="founded"):
    """The log begins; always and only at position 1. `id` tells two clusters of one name apart."""

    cluster: str
    id: str


class Elected(_Entry, frozen=True, kw_only=True, tag="elected"):
    """`node` leads from here on in `term`; `url` is where its peers reach it."""

    term: int
    node: NodeId
    url: str
    at_ms: int


class Resigned(_Entry, frozen=True, kw_only=True, tag="resigned"):
    """The leader of `term` went down on purpose; nobody leads."""

    term: int
    node: NodeId
    at_ms: int


class Intent(_Entry, frozen=True, kw_only=True, tag="intent"):
    """`executor`, leader in `term`, is about to run `call`; valid only while it leads that term."""

    call: Call
    effect: Effect
    timeout_s: float
    lane: str | None
    term: int
    attempt: int
    executor: NodeId
    at_ms: int


class Outcome(_Entry, frozen=True, kw_only=True, tag="outcome"):
    """What came of the intent at position `intent`; `result` is JSON. The first one of a call stands.

    `executor` is who says so: whoever ran the tool, or, if `reconciled`, whoever learnt it from the tool's hook.
    """

    intent: int
    status: Status
    result: msgspec.Raw
    executor: NodeId
    duration_ms: float
    at_ms: int
    reconciled: bool = False

    def __post_init__(self) -> None:
        _check_final(self.status)


class Read(_Entry, frozen=True, kw_only=True, tag="read"):
    """`executor` ran a tool that changes nothing, without an intent; call and outcome in one."""

    call: Call
    timeout_s: float
    status: Status
    result: msgspec.Raw
    term: int
    executor: NodeId
    duration_ms: float
    at_ms: int

    def __post_init__(self) -> None:
        _check_final(self.status)


class Doubted(_Entry, frozen=True, kw_only=True, tag="doubted"):
    """Nobody can know whether the tool acted on the intent at position `intent`; a late outcome settles it."""

    intent: int
    reason: str
    at_ms: int


class Forgot(_Entry, frozen=True, kw_only=True, tag="forgot"):
    """The log's clock goes on to `at_ms`, but by `step_ms` at most; what is older than its retention is forgotten.

    A wall clock that jumps can therefore hurry forgetting by little, and turn it back by nothing.
    """

    at_ms: int
    step_ms: int
    result_retention_ms: int
    key_retention_ms: int


class Restored(_Entry, frozen=True, kw_only=True, tag="restored"):
    """The log was lost, and goes on from a backup that had folded all before this position; nobody leads.

    What was written after the backup was made is gone.
    """

    at_ms: int


def _check_final(status: Status) -> None:
    if not status.final:
        raise ValueError(f"{status} is no outcome")


Entry = Founded | Elected | Resigned | Intent | Outcome | Read | Doubted | Forgot | Restored
