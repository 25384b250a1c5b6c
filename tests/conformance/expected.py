"""What falls short of the suite, by version of the protocol and scenario, each with its reason.

What is listed here and does not fall short fails the tests as well, so that the lists only shrink.
"""

NO_TASKS = "semel has no tasks yet"
NO_EVENT_STORE = "a stream that broke is not resumed; not scored, and the suite's own server does not pass it either"

DIRECT: dict[str, dict[str, str]] = {
    "2026-07-28": {},
    "2025-11-25": {"server-sse-polling": NO_EVENT_STORE},
}
"""Without semel: what the SDK, or our server on it, does not do."""

SEMEL: dict[str, dict[str, str]] = {"2026-07-28": {}, "2025-11-25": {}}
"""Through semel; the same through a follower and after a failover."""

TASKS: dict[str, str] = {
    "tasks-lifecycle": NO_TASKS,
    "tasks-capability-negotiation": NO_TASKS,
    "tasks-wire-fields": NO_TASKS,
    "tasks-request-state-removal": NO_TASKS,
    "tasks-mrtr-input": NO_TASKS,
    "tasks-request-headers": NO_TASKS,
    "tasks-dispatch-and-envelope": NO_TASKS,
    "tasks-required-task-error": NO_TASKS,
    "tasks-mrtr-composition": NO_TASKS,
}
"""The scenarios of the tasks extension, which are of 2026-07-28 alone, through semel."""
