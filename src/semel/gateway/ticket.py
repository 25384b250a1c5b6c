"""The ticket of a call that was held too long: a `requestState` with which a client of 2026-07-28 asks again by itself.

A ticket names the call and nothing else: it gives no more power than the key in `_meta` does, which anybody may send
who can reach the node. So it is not signed (nodes share no secret); its digest only finds what was damaged on its way.
Every node reads it, whichever gave it.
"""

import base64
import binascii
import hashlib
from typing import Self

import msgspec

from semel.errors import BadTicket

ROUNDS_MAX = 8
"""How many tickets a request gets before it is told the error: the SDKs ask ten times, and then fail with a text of
their own, which does not say whether a retry is safe."""

_MARK = "semel-1."
_DIGEST_CHARS = 12
_CHARS_MAX = 8192
"""More than a ticket with the longest key and the longest caller has, however they are escaped."""


class Ticket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The call that a request came for, and how many tickets it has had, this one counted."""

    key: str
    caller: str
    made: bool
    rounds: int

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
                "the requestState is damaged: send it back as it came, or send the call without it, under its key. "
                "Nothing was run"
            ) from error


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:_DIGEST_CHARS]
