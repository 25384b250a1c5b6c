"""etcd's requests in typed words; with `member`, the only place that knows the stubs, and it sends nothing.

The stubs are generated from etcd's own protocol files and shipped by `aetcd`; its client is not used.
"""

from typing import Any, NamedTuple, TypeAlias

from aetcd.rpc import rpc_pb2 as pb

Message: TypeAlias = Any
"""A generated protobuf message: etcd's words, for which there are no types."""


class Item(NamedTuple):
    """A key with its value."""

    key: bytes
    value: bytes


def one(key: bytes) -> Message:
    """Ask for one key, linearizable."""
    return pb.RangeRequest(key=key)


def span(between: tuple[bytes, bytes], *, limit: int = 0, keys_only: bool = False) -> Message:
    """Ask for the keys from the first, before the second, in order, linearizable."""
    return pb.RangeRequest(key=between[0], range_end=between[1], limit=limit, keys_only=keys_only)


def items(answer: Message) -> list[Item]:
    """Return the keys and values of an answer to `one` or `span`."""
    return [Item(kv.key, kv.value) for kv in answer.kvs]


def put(key: bytes, value: bytes, *, lease: int = 0) -> Message:
    """Ask to write one key."""
    return pb.PutRequest(key=key, value=value, lease=lease)


def delete(key: bytes) -> Message:
    """Ask to delete one key."""
    return pb.DeleteRangeRequest(key=key)


def delete_span(between: tuple[bytes, bytes]) -> Message:
    """Ask to delete the keys from the first, before the second. It writes nothing, so a full etcd takes it."""
    return pb.DeleteRangeRequest(key=between[0], range_end=between[1])


def is_value(key: bytes, value: bytes) -> Message:
    """Compare: `key` has this value now."""
    return pb.Compare(key=key, target=pb.Compare.VALUE, result=pb.Compare.EQUAL, value=value)


def is_absent(key: bytes) -> Message:
    """Compare: there is no such key now."""
    return pb.Compare(key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=0)


def only_if(compares: list[Message], puts: list[Message], else_ranges: list[Message]) -> Message:
    """Ask to write all of `puts` if all of `compares` hold, and to read `else_ranges` if not: one transaction."""
    return pb.TxnRequest(
        compare=compares,
        success=[pb.RequestOp(request_put=request) for request in puts],
        failure=[pb.RequestOp(request_range=request) for request in else_ranges],
    )


def else_value(answer: Message, number: int) -> bytes | None:
    """Return the value that the range `number` of a failed transaction has read; None if there is none."""
    kvs = answer.responses[number].response_range.kvs
    return bytes(kvs[0].value) if kvs else None


def watch_from(between: tuple[bytes, bytes], revision: int) -> Message:
    """Ask for every write to these keys from `revision` on."""
    create = pb.WatchCreateRequest(
        key=between[0],
        range_end=between[1],
        start_revision=revision,
        filters=[pb.WatchCreateRequest.FilterType.NODELETE],
    )
    return pb.WatchRequest(create_request=create)


def compact(revision: int, *, physical: bool = False) -> Message:
    """Ask to forget what was overwritten or deleted before `revision`; `physical`: to answer once that is done."""
    return pb.CompactionRequest(revision=revision, physical=physical)


def grant(ttl_s: int) -> Message:
    """Ask for a lease."""
    return pb.LeaseGrantRequest(TTL=ttl_s)


def status() -> Message:
    """Ask a member how it is."""
    return pb.StatusRequest()


def defragment() -> Message:
    """Ask a member to give free pages of its file back to the disk."""
    return pb.DefragmentRequest()


def alarms() -> Message:
    """Ask for the alarms that are raised."""
    return pb.AlarmRequest(action=pb.AlarmRequest.AlarmAction.GET)


def disarm(alarm: Message) -> Message:
    """Ask to take back an alarm, which an answer to `alarms` has shown."""
    return pb.AlarmRequest(action=pb.AlarmRequest.AlarmAction.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm)


def is_nospace(alarm: Message) -> bool:
    """Return whether an alarm says that a member's database has reached its quota."""
    return bool(alarm.alarm == pb.AlarmType.NOSPACE)


def login(user: str, password: str) -> Message:
    """Ask for a token."""
    return pb.AuthenticateRequest(name=user, password=password)
