"""Entries and peer messages to bytes and back: JSON, so that a log can be read with any tool.

Payloads (arguments, results) are embedded as they came and are neither parsed nor copied here.
"""

import msgspec

from semel.core.entry import FORMAT, Entry
from semel.core.message import Message
from semel.errors import LogDamaged, LogNewer


class _Versioned(msgspec.Struct):
    v: int
    type: str = "?"


_encoder = msgspec.json.Encoder()
_entry_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)
_message_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_versioned_decoder = msgspec.json.Decoder(_Versioned)


def encode(value: Entry | Message) -> bytes:
    """Return an entry or a peer message as one JSON object."""
    return _encoder.encode(value)


def decode_entry(position: int, data: bytes) -> Entry:
    """Return the entry that stands at `position`.

    Raises:
        LogNewer: a newer semel wrote it.
        LogDamaged: it is not an entry.

    """
    try:
        return _entry_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        version = _version_of(data)
        if version is not None and version > FORMAT:
            raise LogNewer(
                f"the entry at position {position} has format {version}, and this semel reads up to {FORMAT}: "
                "upgrade semel on this node; nothing was skipped and nothing is lost"
            ) from error
        raise LogDamaged(
            f"the entry at position {position} cannot be read ({error}): restore the log from a backup or a "
            "replica; nothing was skipped"
        ) from error


def decode_message(data: bytes | str) -> Message:
    """Return a peer message.

    Raises:
        ValueError: it is none.

    """
    return _message_decoder.decode(data)


def _version_of(data: bytes) -> int | None:
    try:
        return _versioned_decoder.decode(data).v
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
