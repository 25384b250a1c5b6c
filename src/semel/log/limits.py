"""The limits that every log engine keeps, each with its reason; nothing here reads or writes."""

from collections.abc import Sequence

ENTRY_BYTES_MAX = 72 * 1024 * 1024
"""The largest entry holds a call's arguments and its result, and it must fit in memory a few times over on every node
that reads it."""

BATCH_ENTRIES_MAX = 1000
"""A batch that follows is small enough to be folded within a few milliseconds."""

BATCH_BYTES_MAX = 1024 * 1024
"""A batch holds no more bytes than this, unless its first entry alone is larger."""


def check_proposal(after: int, entries: Sequence[bytes]) -> None:
    """Assert that an append is one that the protocol allows; anything else is our own mistake."""
    assert after >= 0, f"no position is before 0, so nothing can follow {after}"
    assert entries, "an append has one entry or more"
    assert all(len(entry) <= ENTRY_BYTES_MAX for entry in entries), "an entry is over the limit"


def check_beginning(after: int) -> None:
    """Assert that a log can begin after this position; anything else is our own mistake."""
    assert after >= 1, f"a log that begins after position {after} is an empty one"
