"""The names that semel uses in MCP, most of them in `_meta`: what it reads, what it adds, and nothing else."""

from typing import Final

EXTENSION: Final = "dev.semel/once"
"""Not in `_meta` but among a server's extensions: its author has put semel into it."""

KEY: Final = "dev.semel/idempotency-key"
"""On a request: names the call. On an answer: the same, also where the node made it."""

KEY_MADE: Final = "dev.semel/key-made"
"""On a request: true if the key was made for this one call, so that nobody but who asks now asks under it."""

CALLER: Final = "dev.semel/caller"
"""On a request: who asks; the same key of two callers names two calls."""

PARTY: Final = "dev.semel/party"
"""On a call in the log whose client can be asked: names that client, so that what a server asks or says on a shared
pipe in the course of several calls is known to be for the one client of all of them. On a request that `semel connect`
passes on: a random word for the one client that it has."""

HELD: Final = "dev.semel/held"
"""On an answer that only asks to be asked again: the error that it stands for, as error data have it, with its text."""

CLIENT: Final = "dev.semel/client"
"""On a request that `semel connect` passes on: what the program behind it calls itself, for the audit alone."""

PROTOCOL_ERROR: Final = "dev.semel/protocol-error"
"""On an answer that says that its tool failed: the error of JSON-RPC that its server gave, as it came."""

ERRORS_AS_RESULTS: Final = "dev.semel/errors-as-results"
"""On a request: true if such an error is to be answered as a result, with what the log says of the call; other clients
get the error itself."""

ERROR: Final = "dev.semel/error"
"""On an answer that says that the arguments do not fit: what the data of an error of semel's say. MCP wants such to be
told as a tool's failure, which a model gets to see and can mend (SEP-1303); semel's own client gets the error."""

LOGS_UNASKED: Final = "dev.semel/logs-unasked"
"""On a request that `semel connect` passes on: true if its client, of the handshake eras, has named no level of log
lines, and takes what comes."""

AS_TASK: Final = "dev.semel/as-task"
"""On a call that `semel connect` passes on: true if its client, of 2025-11-25, wants a task for an answer, however soon
the call ends."""

TASK_GIVEN: Final = "dev.semel/task-given"
"""Within semel's client: the handle of a task, on its way through the SDK, which knows no such result."""

REFUSED: Final = "dev.semel/refused"
"""On a request with answers to questions that a server asks in its middle: the errors with which some were answered, by
the questions' names; MCP 2026-07-28 has results for that alone."""

EFFECT: Final = "dev.semel/effect"
"""On a tool: read, repeatable or once."""

EFFECT_FROM: Final = "dev.semel/effect-from"
"""On a tool: who says so: "operator" (mcp.json), "author" (the server, by that name), "annotations" or "default"."""

RECONCILE: Final = "dev.semel/reconcile"
"""On a tool: the name of the tool that is asked whether a lost call of it acted."""

ACTED: Final = "dev.semel/acted"
"""On the answer of a tool that is asked so: true if the lost call acted, and this is its result."""

TIMEOUT: Final = "dev.semel/timeout-s"
"""On a tool: the time limit of one run, in seconds."""

SERIALIZE_BY: Final = "dev.semel/serialize-by"
"""On a tool: the argument by whose value its calls run one after the other."""

TASK: Final = "dev.semel/task"
"""On a tool: whether its calls become tasks: never, auto, always or required."""

TERM: Final = "dev.semel/term"
ATTEMPT: Final = "dev.semel/attempt"
"""On a request to an upstream and on an answer: the leader's reign, and the how manieth run of the call it was."""

POSITION: Final = "dev.semel/position"
EXECUTION_ID: Final = "dev.semel/execution-id"
EXECUTOR: Final = "dev.semel/executor"
REPLAYED: Final = "dev.semel/replayed"
OUTCOME: Final = "dev.semel/outcome"
SOURCE: Final = "dev.semel/source"
"""On an answer: where it stands in the log, which node ran it, whether another request caused it, how it ended,
and, of a failure, whose word it is: "tool", or "semel" in the place of a tool that gave none.

Position 0 is not in the log: of a read for which no key was given, while the log cannot be written."""
