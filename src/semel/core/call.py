"""A call and what is known of it: who asked, under which key, for which tool, and how it stands.

Knows the canonical form of arguments (RFC 8785) and what a key may look like; knows nothing of entries or nodes. There
are many of these values at a time, and none can be part of a cycle, so Python's collector need not look at them.
"""

import enum
import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import rfc8785

from semel.core.limits import NESTING_MAX, Limits
from semel.errors import BadArguments, BadKey, TooLarge

NO_META = msgspec.Raw(b"{}")

if TYPE_CHECKING:
    RawOrLeftOut: TypeAlias = msgspec.Raw | None
else:  # msgspec reads `Raw | None` as null and nothing else; the field is left out of the JSON if it is None
    RawOrLeftOut: TypeAlias = msgspec.Raw

JSON_INTEGER_MAX = 2**53 - 1
"""RFC 8785 spells numbers as IEEE doubles; integers past this would lose digits, so they are marked and kept exact."""


_sorting_encoder = msgspec.json.Encoder(order="sorted")


class Effect(enum.StrEnum):
    """What running a tool again would do."""

    READ = "read"
    """Changes nothing."""
    REPEATABLE = "repeatable"
    """Again is harmless."""
    ONCE = "once"
    """Again would do it again; the default where nothing is said."""


class Status(enum.StrEnum):
    """How a call stands in the log; the first two are not outcomes."""

    RUNNING = "running"
    IN_DOUBT = "in_doubt"
    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INPUT_REQUIRED = "input_required"
    """The end of a round: the tool asks for more, and the next round of the call brings it."""

    @property
    def final(self) -> bool:
        """True if this is an outcome (of a call or of one of its rounds), which nothing changes any more."""
        return self not in (Status.RUNNING, Status.IN_DOUBT)


class NodeId(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """One life of a node: a restarted process is not the one that died."""

    name: str
    incarnation: str

    def __str__(self) -> str:
        return f"{self.name}.{self.incarnation}"


class CallId(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """What makes two requests one call; of a call in rounds, one round of it.

    A tool that asks its caller for more ends its round with what it asks for, and the caller's answers begin the next.
    """

    caller: str
    key: str
    round: int = 1

    @property
    def before(self) -> "CallId":
        """The round before this one."""
        return CallId(self.caller, self.key, self.round - 1)

    @property
    def after(self) -> "CallId":
        """The round after this one."""
        return CallId(self.caller, self.key, self.round + 1)


class Call(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One request to run a tool.

    `arguments` is a JSON object as it came; `digest` is `digest_of(tool, arguments, answers)`; `request` names the one
    request that this is, so that the answer can say whether it caused the execution; `client` is what the
    client program calls itself, for the audit alone. `meta` is a JSON object: what the request says in `_meta` that
    the tool may learn, such as its trace context. `answers` is what a round after the first brings, as a JSON object:
    the tool's own `requestState`, and the `inputResponses` to what it asked for.
    """

    id: CallId
    tool: str
    arguments: msgspec.Raw
    digest: str
    request: str
    client: str = ""
    meta: msgspec.Raw = NO_META
    answers: RawOrLeftOut = None

    @property
    def payload_bytes(self) -> int:
        """How much of its size is what the client sent along."""
        return len(self.arguments) + len(self.meta) + (0 if self.answers is None else len(self.answers))


class Spec(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How a tool wants one call to be run: `lane` names the queue of calls that run one after the other."""

    effect: Effect = Effect.ONCE
    timeout_s: float = 60.0
    lane: str | None = None


class Record(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """All that the log says of one call, or of one round of it; what the audit shows and a retry is told.

    `execution_id` counts calls, and each round of one, in log order from 1. `intents` are the positions of its intents,
    oldest first (none for a read); `position` is that of the entry that made it stand as it does. `arguments`,
    `result`, `meta` and `answers` are JSON; a forgotten call has none of them. `timestamp_ms` is when its first attempt
    began, by the clock of the node that wrote the entry; `clock_ms` is when it came to stand as it does, by the log's
    own clock, which decides when it is forgotten. `reconciled` says that the outcome is what the tool's reconcile hook
    knew; then `executor` is still the node that began to run it.
    """

    id: CallId
    tool: str
    arguments: msgspec.Raw
    digest: str
    request: str
    client: str
    effect: Effect
    timeout_s: float
    lane: str | None
    execution_id: int
    intents: tuple[int, ...]
    position: int
    term: int
    attempt: int
    executor: NodeId
    status: Status
    timestamp_ms: int
    clock_ms: int
    result: msgspec.Raw | None = None
    duration_ms: float | None = None
    reason: str | None = None
    forgotten: bool = False
    reconciled: bool = False
    meta: msgspec.Raw = NO_META
    answers: msgspec.Raw | None = None

    @property
    def call(self) -> Call:
        """The request that was executed, to run it again."""
        return Call(
            id=self.id,
            tool=self.tool,
            arguments=self.arguments,
            digest=self.digest,
            request=self.request,
            client=self.client,
            meta=self.meta,
            answers=self.answers,
        )

    @property
    def spec(self) -> Spec:
        """How it is run."""
        return Spec(effect=self.effect, timeout_s=self.timeout_s, lane=self.lane)


def check_key(key: str, limits: Limits, what: str = "idempotency key") -> None:
    """Raise BadKey unless `key` is a printable name of 1 to `limits.key_chars_max` characters; `what` is its name."""
    if not key:
        raise BadKey(f"the {what} is empty: leave it out, or say one. Nothing was run")
    if len(key) > limits.key_chars_max:
        raise BadKey(
            f"the {what} has {len(key)} characters, more than {limits.key_chars_max}: "
            "send a hash of it instead. Nothing was run"
        )
    if not key.isprintable():
        raise BadKey(
            f"the {what} has characters that cannot be printed: use letters, digits and signs. Nothing was run"
        )


def encode_arguments(arguments: dict[str, Any], limits: Limits) -> msgspec.Raw:
    """Return `arguments` as JSON bytes.

    Raises:
        BadArguments: a value is not JSON (NaN, for one), or they are nested too deeply.
        TooLarge: the JSON is over `limits.arguments_bytes_max`.

    """
    try:
        encoded = encode_payload(arguments)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArguments(f"the arguments are not JSON: {error}. Nothing was run") from error
    if len(encoded) > limits.arguments_bytes_max:
        raise TooLarge(
            f"the arguments are {len(encoded):,} bytes of JSON, more than {limits.arguments_bytes_max:,}: "
            "store the data elsewhere and pass its name. Nothing was run"
        )
    return msgspec.Raw(encoded)


def encode_payload(value: dict[str, Any], *, odd: str = "strict") -> bytes:
    """Return what a call was given or gave as JSON, which every node can read in an entry of the log.

    `odd` says what becomes of half characters (surrogates), which UTF-8 does not have: an error, or ("replace") a ?.

    Raises:
        TypeError, ValueError: it is not JSON.
        RecursionError: it is nested more deeply than `NESTING_MAX`.
    """
    if not is_plain_json(value):
        return _in_full(value, odd)
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return _in_full(value, odd)


def _in_full(value: dict[str, Any], odd: str) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors=odd)


def digest_of(tool: str, arguments: dict[str, Any], answers: dict[str, Any] | None = None) -> str:
    """Return the SHA-256 (hex) over the canonical form of a tool's name and its arguments (RFC 8785).

    Of a round that brings answers, theirs follows after a dot, so that all rounds of a call can be seen to be its.

    Raises:
        BadArguments: they are nested too deeply to be read by anybody, or are not JSON (half a character, for one).
    """
    digest = _sha256([tool, arguments])
    return digest if answers is None else f"{digest}.{_sha256([answers])}"


def arguments_digest(digest: str) -> str:
    """Return the part of a call's digest that all its rounds have: that of its tool and its arguments."""
    return digest.partition(".")[0]


def _sha256(given: list[Any]) -> str:
    try:
        canonical = _plainly_canonical(given)
        if canonical is None:
            try:
                canonical = rfc8785.dumps(given)
            except rfc8785.IntegerDomainError:
                canonical = rfc8785.dumps([*_exact(given), "with integers in digits"])
    except RecursionError as error:
        raise BadArguments("the arguments are nested too deeply. Nothing was run") from error
    except (UnicodeEncodeError, rfc8785.CanonicalizationError) as error:
        raise BadArguments(f"the arguments are not JSON: {error}. Nothing was run") from error
    return hashlib.sha256(canonical).hexdigest()


def _plainly_canonical(given: list[Any]) -> bytes | None:
    """Return the canonical form of values that are spelled alike by RFC 8785 and by msgspec, which is much faster.

    The two may differ in numbers that are no integers, and in the order of names that are not ASCII: then it is None.
    """
    if not is_plain_json(given, NESTING_MAX + 1):  # the list around it
        return None
    canonical = _sorting_encoder.encode(given)
    return canonical if canonical.isascii() else None


_ALWAYS_PLAIN = frozenset({str, bool, type(None)})


def is_plain_json(value: Any, levels: int = NESTING_MAX) -> bool:
    """Return whether a value has one spelling in JSON, but for the order of names: it has no floats and no big ints.

    Raises:
        RecursionError: it is nested more deeply than so many levels, plain or not.
    """
    kind = type(value)
    if kind in _ALWAYS_PLAIN:
        return True
    if kind is int:
        return bool(-JSON_INTEGER_MAX <= value <= JSON_INTEGER_MAX)
    plain = True
    parts: Iterable[Any] = value
    if kind is dict:
        for name in value:
            if type(name) is not str:
                plain = False
        parts = value.values()
    elif kind is not list:
        plain = False
        if isinstance(value, dict):
            parts = value.values()
        elif not isinstance(value, list | tuple):
            return False
    if not levels:
        raise RecursionError(f"nested more deeply than {NESTING_MAX} levels")
    for part in parts:  # every call is looked through, and a generator takes twice as long
        if type(part) not in _ALWAYS_PLAIN and not is_plain_json(part, levels - 1):
            plain = False
    return plain


def _exact(value: Any) -> Any:
    """Return `value` with every integer that a double cannot hold spelled out in digits, as nothing else can be."""
    match value:
        case bool():
            return value
        case int() if abs(value) > JSON_INTEGER_MAX:
            return {"": str(value)}
        case dict():
            return {f"={name}": _exact(inner) for name, inner in value.items()}
        case list():
            return [_exact(inner) for inner in value]
        case _:
            return value
