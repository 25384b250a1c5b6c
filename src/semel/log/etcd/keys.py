"""The names of a log's keys in etcd; it knows their order, and nothing of their values.

    /<prefix>/log/<first position>                     one append
    /<prefix>/pieces/<first position>/<digest>/<n>     parts of one that is too large for a value
    /<prefix>/pulse/<node>                             a sign of life
    /<prefix>/tail                                     the last position

Positions are 16 hexadecimal digits, so that keys sort as positions do. `pulse/` and `tail` are neighbours on purpose:
one range reads both.
"""

from semel.errors import LogDamaged

_DIGITS = 16


class Keys:
    """The keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._root = b"/" + prefix.encode() + b"/"
        self.tail = self._root + b"tail"
        self._log = self._root + b"log/"
        self._pulse = self._root + b"pulse/"

    def log(self, first: int) -> bytes:
        """Name the append whose first position is `first`."""
        return self._log + _hex(first)

    @property
    def whole_log(self) -> tuple[bytes, bytes]:
        """The range of all appends."""
        return self._log, _after(self._log)

    def log_from(self, first: int) -> tuple[bytes, bytes]:
        """The range of the appends whose first position is `first` or later."""
        return self.log(first), _after(self._log)

    def log_between(self, first: int, end: int) -> tuple[bytes, bytes]:
        """The range of the appends whose first position is `first` or later, and before `end`."""
        return self.log(first), self.log(end)

    def position(self, key: bytes) -> int:
        """Return the first position of the append that `key` names."""
        digits = key.removeprefix(self._log)
        try:
            position = int(digits, 16)
        except ValueError:
            position = 0
        if position < 1 or self.log(position) != key:
            raise LogDamaged(f"the etcd key {key!r} is none of semel's, and stands among its log")
        return position

    def piece(self, first: int, digest: bytes, number: int) -> bytes:
        """Name the part `number` of the value `digest`, which stands or is to stand at `first`."""
        return self._pieces(first) + digest.hex().encode() + b"/%06d" % number

    def pieces_between(self, first: int, end: int) -> tuple[bytes, bytes]:
        """The range of all parts of what stands, or was to stand, from `first` on and before `end`."""
        return self._pieces(first), self._pieces(end)

    def _pieces(self, first: int) -> bytes:
        return self._root + b"pieces/" + _hex(first) + b"/"

    def pulse(self, node: str) -> bytes:
        """Name the sign of life of `node`."""
        return self._pulse + node.encode("utf-8", "surrogatepass")

    def node(self, key: bytes) -> str | None:
        """Return the node whose sign of life `key` names; None if it is another key."""
        return key.removeprefix(self._pulse).decode("utf-8", "surrogatepass") if key.startswith(self._pulse) else None

    @property
    def pulses_and_tail(self) -> tuple[bytes, bytes]:
        """The range of all signs of life and the tail."""
        return self._pulse, self.tail + b"\0"


def position_value(position: int) -> bytes:
    """Return the value of the tail's key at `position`."""
    return _hex(position)


def position_of(value: bytes) -> int:
    """Return the position that the tail's key holds as `value`."""
    try:
        return int(value, 16)
    except ValueError:
        raise LogDamaged(f"etcd holds {value[:32]!r} for the log's last position, which is no position") from None


def _hex(position: int) -> bytes:
    return b"%0*x" % (_DIGITS, position)


def _after(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with `prefix`, which ends in a slash."""
    return prefix[:-1] + b"0"  # 0 follows the slash
