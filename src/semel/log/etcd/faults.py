"""Tells the errors of gRPC and etcd in semel's words: what can be tried elsewhere, later, or never; it asks nothing."""

from enum import Enum, auto

import grpc

from semel.errors import LogDamaged, LogError, LogUnavailable
from semel.log.etcd.member import RpcError

_Code = grpc.StatusCode

FULL = (
    "etcd's database is full (NOSPACE alarm): semel trims what all nodes hold, which frees space by and by; "
    "if it does not, raise --quota-backend-bytes, or compact and defragment etcd, then `etcdctl alarm disarm`"
)


class EtcdFull(LogUnavailable):
    """etcd says that it has no room. Versions up to 3.5 at least say so of writes, too, that they have just done."""


class Verdict(Enum):
    """What an error means for the request that met it."""

    ELSEWHERE = auto()
    """This member cannot decide: ask another one at once."""
    LATER = auto()
    """No answer in time: it may have been done, or may yet be done; ask again, another member and more patiently."""
    FULL = auto()
    """The cluster has no room; all members would say the same."""
    TOKEN = auto()
    """The token is not known any more: get a new one, and ask again."""
    NEVER = auto()
    """Asking again cannot help; somebody has to look."""


def verdict(error: RpcError) -> Verdict:
    """Return what to do about an error of etcd or of the way to it; what is unknown is worth another attempt."""
    details = error.details() or ""
    match error.code():
        case _Code.UNAUTHENTICATED:
            return Verdict.TOKEN
        case _Code.INVALID_ARGUMENT if "revision of auth store is old" in details:
            return Verdict.TOKEN
        case _Code.INVALID_ARGUMENT | _Code.PERMISSION_DENIED | _Code.FAILED_PRECONDITION | _Code.DATA_LOSS:
            return Verdict.NEVER
        case _Code.OUT_OF_RANGE | _Code.NOT_FOUND:  # what was asked for is compacted, or is no lease any more
            return Verdict.NEVER
        case _Code.DEADLINE_EXCEEDED:
            return Verdict.LATER
        case _Code.RESOURCE_EXHAUSTED if "space exceeded" in details:
            return Verdict.FULL
        case _:
            return Verdict.ELSEWHERE


def is_denied(error: RpcError) -> bool:
    """Return whether the user may not ask this."""
    return bool(error.code() is _Code.PERMISSION_DENIED)


def told(error: RpcError, endpoint: str, user: str | None) -> LogError:
    """Return the error as a `LogError`: `LogUnavailable` if asking again can help."""
    details = error.details() or error.code().name
    if verdict(error) is Verdict.FULL:
        return EtcdFull(FULL)
    if verdict(error) is not Verdict.NEVER:
        return LogUnavailable(f"etcd at {endpoint} does not answer as it should: {_short(error)}")
    match error.code():
        case _Code.PERMISSION_DENIED:
            return LogError(
                f"etcd at {endpoint} denies this to the user {user}: grant a role of his readwrite on the log's prefix"
            )
        case _Code.DATA_LOSS:
            return LogDamaged(
                f"etcd at {endpoint} says that its data is damaged: {details}; see etcd's disaster recovery"
            )
        case _ if "user name is empty" in details:
            return LogError(
                f"etcd at {endpoint} wants a user and a password: etcd://user@{endpoint}/…?password_file=FILE"
            )
        case _ if "authentication failed" in details or "user name not found" in details:
            return LogError(f"etcd at {endpoint} does not let the user {user} in: check the name and the password")
        case _ if "too large" in details:
            return LogError(f"etcd at {endpoint} refuses 1.5 MiB in one request: start it without --max-request-bytes")
        case _:
            return LogError(f"etcd at {endpoint} refuses: {details}")


def _short(error: RpcError) -> str:
    """Return what an error says, for an operator: gRPC's own words for a broken way are a page long."""
    details = error.details() or ""
    match error.code():
        case _Code.DEADLINE_EXCEEDED:
            return "no answer in time"
        case _Code.UNIMPLEMENTED:
            return "it does not speak etcd's protocol, version 3"
        case _Code.UNAVAILABLE if "CERTIFICATE_VERIFY_FAILED" in details:
            return f"its certificate is not signed by the authority that ca= names, or is another host's ({details})"
        case _Code.UNAVAILABLE if "handshake" in details.lower() or "http1" in details.lower():
            return f"it speaks another protocol; check the port, and tls= ({details})"
        case _Code.UNAVAILABLE if "refused" in details:
            return "connection refused"
        case _:
            return details or error.code().name
