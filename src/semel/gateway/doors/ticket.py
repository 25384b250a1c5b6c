"""The ticket: the `requestState` with which a client of 2026-07-28 goes on with a request, on whichever node.

A call gets one for three reasons: it was held too long; its tool ended a round and asks for more; or the tool asks in
the middle of its run, which goes on. The ticket names the call, and what it is to go on with: it gives no more power
than the key in `_meta` does, which anybody may send who can reach the node. So it is not signed (nodes share no
secret); its digest only finds what was damaged on its way. That a round was asked for is checked against the log. Every
node reads it, whichever gave it.

A request that is no call gets one of another kind, which has in it all that it takes to begin the request anew.
"""

import base64
import binascii
import hashlib
from typing import Annotated, Any, Literal, NotRequired, Self, TypedDict

import msgspec

from semel.errors import BadTicket

HELD_MAX = 8
"""How many tickets a request gets before it is told the error: the SDKs ask ten times, and then fail with a text of
their own, which does not say whether a retry is safe."""

_ROUND_MAX = 2**31
"""More than any call has; what an archive cannot count is no round."""

_MARK = "semel-1."
_DIGEST_CHARS = 12
_CHARS_MAX = 48 * 2**20
"""More than any request's answers may have; they are in the ticket of a round that is held, and of an inquiry."""


class _Answers(TypedDict, total=False):
    """What begins a round, and nothing else: a tool gets no other arguments than those that were checked."""

    requestState: str
    inputResponses: dict[str, dict[str, Any]]


class _Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be given to a client as a text, and read again."""

    def text(self) -> str:
        """Return the ticket as it goes over the wire."""
        body = base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()
        return f"{_MARK}{_digest(body)}.{body}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the ticket that a client brings back.

        Raises:
            BadTicket: it is none, or it is damaged.
        """
        digest, _, body = text.removeprefix(_MARK).partition(".")
        if not text.startswith(_MARK) or len(text) > _CHARS_MAX:
            raise BadTicket("the requestState was not given by a semel node: send the call without it. Nothing was run")
        try:
            if digest != _digest(body):
                raise ValueError("its digest is another")
            return msgspec.json.decode(base64.urlsafe_b64decode(body), type=cls)
        except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
            raise BadTicket(
                "the requestState is damaged, or of a request of another kind: send it back as it came, or send the "
                "request without it, a call under its key. Nothing was run"
            ) from error


class Ticket(_Sealed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call, and what it is to go on with.

    `why` it was given: the call is "held", and begins again with the same `answers`; its tool "wants" more, so that the
    client's replies begin the round `round`, with the tool's own `state`; or the running tool "asks" the questions of
    these keys. `held` counts the tickets that the request has had because it was held.
    """

    key: str
    caller: str
    made: bool
    why: Literal["held", "wants", "asks"] = "held"
    held: Annotated[int, msgspec.Meta(ge=0, le=HELD_MAX)] = 0
    round: Annotated[int, msgspec.Meta(ge=1, le=_ROUND_MAX)] = 1
    state: str | None = None
    answers: _Answers | None = None
    questions: tuple[str, ...] = ()


class Error(TypedDict):
    """An error of JSON-RPC."""

    code: int
    message: str
    data: NotRequired[Any]


class Answer(TypedDict, total=False):
    """What a question was answered with: a result, or an error."""

    result: dict[str, Any]
    error: Error


class InquiryTicket(_Sealed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that is no call, whose client is asked something.

    `about` is the digest of the request. `why` it was given: its server "wants" more, so that the client's replies go
    to it with its own `state`; or it "asks" the `questions` in the middle of the request, which is open under the
    `word` at the node that gave the ticket. The questions are digests, by their keys; by such digests, `answers` are
    all that were given before, in their order.
    """

    caller: str
    about: str
    why: Literal["wants", "asks"]
    state: str | None = None
    word: str = ""
    questions: dict[str, str] = {}
    answers: dict[str, list[Answer]] = {}


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:_DIGEST_CHARS]
