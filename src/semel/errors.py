"""Every error that semel raises, by whose problem it is, and whether a retry is safe.

    SemelError
    ├── CallError                 the caller's request was refused; nothing was run under it
    │   ├── UnknownTool           no such tool on the node that would run it
    │   ├── BadArguments          the arguments do not fit the tool's schema
    │   ├── BadKey                the idempotency key is empty, too long or not printable
    │   ├── KeyMissing            the node takes no call of such a tool without a key
    │   ├── BadTicket             the requestState is none of ours, damaged, another call's, or not the last round's
    │   ├── KeyReused             the key names another call: other tool or other arguments
    │   ├── KeyStale              the key's call is so old that its result is forgotten
    │   └── TooLarge              the arguments are over the limit
    ├── ClusterError              the cluster cannot take the call just now
    │   ├── Busy                  too many calls are in flight
    │   ├── Draining              this node is going down on purpose
    │   ├── NoLeader              no leader was found in time
    │   ├── Undecided             the node gave up waiting; the call may have run or may yet run
    │   └── Unconfirmed           a linearizable read cannot be had: the log does not tell where it ends
    ├── ToolError                 what was to be served does not work
    │   ├── TargetError           the Python file or mcp.json cannot be loaded
    │   └── UpstreamError         an upstream MCP server does not start or has gone
    ├── LogError                  the log's
    │   ├── Conflict              another entry has taken the position
    │   ├── LogUnavailable        locked, full or out of reach for now: propose again
    │   ├── LogReadOnly           the file cannot be written
    │   ├── LogForeign            the file is not a semel log
    │   ├── LogDamaged            the file or an entry in it is damaged
    │   ├── LogTrimmed            the entries asked for are trimmed away; a peer's replica has them
    │   └── LogNewer              written by a newer semel
    ├── ReplicaError              the node's own copy is damaged, newer, or does not fit the log
    ├── NodeError                 the node cannot start as asked
    │   ├── NameTaken             a live node has this name on this log
    │   ├── ClusterMismatch       the log belongs to another cluster
    │   └── ListenError           the address cannot be bound
    ├── LocalError                the processes that `semel up` keeps on this machine
    │   ├── EtcdMissing           no etcd is installed here, or none that semel supports
    │   ├── DataInUse             another `semel up` runs on this data directory
    │   ├── DataForeign           the data directory holds something else, or another cluster
    │   ├── ChildFailed           a process cannot be started, or ended before it was ready
    │   └── MemberKnown           the running cluster knows this machine, and its data is not here
    └── UsageError                an option or argument of the console makes no sense

`retry_safe` answers one question: may the same key be sent again, as it is, without a second run?
"""

from typing import ClassVar


class SemelError(Exception):
    """The root of all errors raised on purpose; its text says what, where and what to do."""

    code: ClassVar[str] = "error"
    retry_safe: ClassVar[bool] = False


class CallError(SemelError):
    """The caller's request was refused, and nothing was run under it."""


class UnknownTool(CallError):
    """No tool of this name is on the node that would run it."""

    code = "unknown_tool"
    retry_safe = True


class BadArguments(CallError):
    """The arguments do not fit the tool's input schema, or are not JSON."""

    code = "bad_arguments"
    retry_safe = True


class BadKey(CallError):
    """The idempotency key is empty, too long, or has characters that cannot be printed."""

    code = "bad_key"


class KeyMissing(CallError):
    """The node takes calls of once tools under a key only, and the request has none."""

    code = "key_missing"


class BadTicket(CallError):
    """The requestState is not one that a node gave, is damaged, or was given for another call, caller or round."""

    code = "bad_ticket"


class KeyReused(CallError):
    """The key already names a call with another tool or other arguments."""

    code = "key_reused"


class KeyStale(CallError):
    """The key's call ended so long ago that its result is forgotten; it is never run again."""

    code = "key_stale"


class TooLarge(CallError):
    """The arguments are over the size limit."""

    code = "too_large"


class ClusterError(SemelError):
    """The cluster cannot take the call just now; the same key may be sent again."""

    retry_safe = True


class Busy(ClusterError):
    """Too many calls are in flight; this one was not run."""

    code = "busy"


class Draining(ClusterError):
    """The node is going down on purpose and took no more calls; ask another node."""

    code = "draining"


class NoLeader(ClusterError):
    """No leader took the call in time; it was not run."""

    code = "no_leader"


class Undecided(ClusterError):
    """The node gave up waiting; the call may have run or may yet run, and the key will tell."""

    code = "undecided"


class Unconfirmed(ClusterError):
    """A linearizable read cannot be had just now: ask again, or for what the node has read so far."""

    code = "unconfirmed"


class ToolError(SemelError):
    """What was to be served does not work; its author or operator can mend it."""


class TargetError(ToolError):
    """The Python file or mcp.json cannot be loaded."""

    code = "target"


class UpstreamError(ToolError):
    """An upstream MCP server does not start, does not answer, or has gone."""

    code = "upstream"


class LogError(SemelError):
    """The log refused, or cannot be used."""


class Conflict(LogError):
    """Another entry has taken the position; read it before you append again."""

    code = "conflict"


class LogUnavailable(LogError):
    """The log could not decide: locked, full or out of reach. The very same append may be proposed again."""

    code = "log_unavailable"
    retry_safe = True


class LogReadOnly(LogError):
    """The log's file or folder cannot be written by this user."""

    code = "log_read_only"


class LogForeign(LogError):
    """The file exists and is not a semel log; it was not touched."""

    code = "log_foreign"


class LogDamaged(LogError):
    """The log's file, or an entry in it, is damaged; nothing was changed."""

    code = "log_damaged"


class LogTrimmed(LogError):
    """The entries that were asked for are trimmed away; a peer's replica still has what they added up to."""

    code = "log_trimmed"


class LogNewer(LogError):
    """The log, or an entry in it, was written by a newer semel; this one never skips what it cannot read."""

    code = "log_newer"


class ReplicaError(SemelError):
    """The node's own copy of the ledger is damaged, newer, full or does not fit the log."""

    code = "replica"


class NodeError(SemelError):
    """The node cannot start as asked."""


class NameTaken(NodeError):
    """A live node already has this name on this log."""

    code = "name_taken"


class ClusterMismatch(NodeError):
    """The log belongs to another cluster than the one named."""

    code = "cluster_mismatch"


class ListenError(NodeError):
    """The address to listen on cannot be bound."""

    code = "listen"


class LocalError(SemelError):
    """The processes that `semel up` keeps on this machine cannot be started."""

    code = "local"


class EtcdMissing(LocalError):
    """No etcd is installed here, or none that semel supports; nothing was started."""

    code = "etcd_missing"


class DataInUse(LocalError):
    """Another `semel up` runs on this data directory; nothing was started."""

    code = "data_in_use"


class DataForeign(LocalError):
    """The data directory cannot be used, or holds another cluster; nothing in it was changed."""

    code = "data_foreign"


class ChildFailed(LocalError):
    """A process cannot be started, or ended before it was ready; the text ends with its last words."""

    code = "child_failed"


class MemberKnown(LocalError):
    """The running cluster has a member at this machine's address, and its data is not here."""

    code = "member_known"


class UsageError(SemelError):
    """An option or argument makes no sense."""

    code = "usage"


def by_code(code: str, message: str) -> SemelError:
    """Return the error that travelled between nodes or to a client as `code` and `message`."""
    return _BY_CODE.get(code, SemelError)(message)


def _tree(root: type[SemelError]) -> list[type[SemelError]]:
    return [root, *(leaf for branch in root.__subclasses__() for leaf in _tree(branch))]


_BY_CODE = {kind.code: kind for kind in reversed(_tree(SemelError))}
