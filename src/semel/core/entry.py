"""The entries: the facts that the log can hold, each in the past tense or as a statement of its author.

A closed union. Every entry carries the version of its format; codec.py turns them into bytes and back.
"""

from typing import Literal

import msgspec

from semel.core.call import Call, Effect, NodeId, Status

FORMAT = 1
"""The version that this semel writes, and the newest that it reads."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
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
    """What came of the intent at position `intent`; `result` is JSON. The first one of a call stands."""

    intent: int
    status: Status
    result: msgspec.Raw
    executor: NodeId
    duration_ms: float
    at_ms: int


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


class Doubted(_Entry, frozen=True, kw_only=True, tag="doubted"):
    """Nobody can know whether the tool acted on the intent at position `intent`; a late outcome settles it."""

    intent: int
    reason: str
    at_ms: int


class Forgot(_Entry, frozen=True, kw_only=True, tag="forgot"):
    """Results that ended before the one time, and keys before the other, are forgotten on every node alike."""

    results_before_ms: int
    keys_before_ms: int
    at_ms: int


Entry = Founded | Elected | Resigned | Intent | Outcome | Read | Doubted | Forgot
