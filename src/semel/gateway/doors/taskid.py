"""The id of a task: a token that any node turns back into the call that it names. There is no table of tasks.

It carries the caller and the key, and a mark that only nodes can make: a keyed digest over the call and over what the
log says of its beginning, under the cluster's own id. So an id cannot be guessed even where the key can (`order-42`),
and cannot be had before the call stands in the log.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Self

import msgspec

from semel.core.call import Record

_PREFIX = "task-"
_MARK_BYTES = 16
_CHARS_MAX = 4096
"""More than an id with the longest key and the longest caller has."""


class TaskId(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The call that a task is, and the mark that shows that a node said so."""

    caller: str
    key: str
    mark: str

    @classmethod
    def of(cls, record: Record, cluster_id: str) -> Self:
        """Return the id of the task that a call is, of which this is the first round.

        It is the same at every node and for every request with the call's key.
        """
        said = msgspec.json.encode([record.id.caller, record.id.key, record.request])
        mark = hmac.digest(cluster_id.encode(), said, "sha256")[:_MARK_BYTES]
        return cls(record.id.caller, record.id.key, _encoded(mark))

    def text(self) -> str:
        """Return the id as it goes over the wire: letters, digits, - and _, as a header can carry it."""
        return _PREFIX + _encoded(msgspec.json.encode(self))

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Return what an id names, None if no node can have made it. Whether one did, `names` tells."""
        body = text.removeprefix(_PREFIX)
        if body == text or len(text) > _CHARS_MAX:
            return None
        try:
            read = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=cls)
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            return None
        return read if read.text() == text else None  # one id a task, and not as many as base64 has spellings

    def names(self, record: Record, cluster_id: str) -> bool:
        """Return whether a node made this id for this call."""
        made = TaskId.of(record, cluster_id)
        return hmac.compare_digest(_digest(made), _digest(self))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _digest(task: TaskId) -> bytes:
    return hashlib.sha256(task.text().encode()).digest()
