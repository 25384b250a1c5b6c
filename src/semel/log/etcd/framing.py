"""One append as a value of etcd: its entries in a row, or a reference to pieces; it knows bytes, and no connection.

A value begins with a byte that says its form. A form that is not known was written by a newer semel.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from semel.errors import LogDamaged, LogNewer

PIECE_BYTES_MAX = 1024 * 1024
"""etcd refuses requests of more than 1.5 MiB, unless it was told otherwise; a piece and its names stay well below."""

_INLINE = b"\x01"
_REFERENCE = b"\x02"

_entries = msgspec.msgpack.Decoder(list[bytes])


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """Stands for entries that are kept in pieces: `count` entries, framed as `size` bytes of that SHA-256 digest."""

    count: int
    size: int
    digest: bytes

    @property
    def pieces(self) -> int:
        """The number of pieces, of which all but the last have the greatest size."""
        return -(-self.size // PIECE_BYTES_MAX)


_reference = msgspec.msgpack.Decoder(Reference)


def frame(entries: Sequence[bytes]) -> bytes:
    """Return `entries` as one value."""
    return _INLINE + msgspec.msgpack.encode(entries)


def refer(entries: Sequence[bytes], framed: bytes) -> Reference:
    """Return what stands for `framed`, which is `entries` framed; its digest takes a second for gigabytes."""
    return Reference(len(entries), len(framed), hashlib.sha256(framed).digest())


def frame_reference(reference: Reference) -> bytes:
    """Return `reference` as a value."""
    return _REFERENCE + msgspec.msgpack.encode(reference)


def cut(framed: bytes) -> list[bytes]:
    """Return the pieces of a value."""
    return [framed[start : start + PIECE_BYTES_MAX] for start in range(0, len(framed), PIECE_BYTES_MAX)]


def unframe(value: bytes, first: int) -> Sequence[bytes] | Reference:
    """Return what the value of the append at `first` holds: its entries, or what stands for them.

    Raises:
        LogDamaged: it is not whole.
        LogNewer: a newer semel wrote it.
    """
    try:
        match value[:1]:
            case b"\x01":
                held: Sequence[bytes] | Reference = _entries.decode(memoryview(value)[1:])
            case b"\x02":
                held = _reference.decode(memoryview(value)[1:])
            case b"":
                raise LogDamaged(f"the entries from position {first} on are empty in etcd; restore it from a backup")
            case form:
                raise LogNewer(
                    f"the entries from position {first} on have the form {form[0]}: a newer semel wrote them; update"
                )
    except msgspec.DecodeError as error:
        raise LogDamaged(f"the entries from position {first} on are damaged in etcd: {error}") from error
    if count_of(held) < 1:
        raise LogDamaged(f"the etcd key of position {first} holds no entry; restore it from a backup")
    return held


def join(pieces: Sequence[bytes], reference: Reference, first: int) -> Sequence[bytes]:
    """Return the entries that `reference` stands for, out of their pieces.

    Raises:
        LogDamaged: they are not what was written.
    """
    framed = b"".join(pieces)
    if hashlib.sha256(framed).digest() != reference.digest:
        raise LogDamaged(f"the pieces of position {first} in etcd are not what was written; restore it from a backup")
    entries = unframe(framed, first)
    if isinstance(entries, Reference) or len(entries) != reference.count:
        raise LogDamaged(f"the pieces of position {first} in etcd do not hold {reference.count} entries")
    return entries


def count_of(held: Sequence[bytes] | Reference) -> int:
    """Return how many entries a value holds or stands for."""
    return held.count if isinstance(held, Reference) else len(held)
