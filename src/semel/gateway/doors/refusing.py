"""How an error is told at the door: as JSON-RPC has it, or as a ticket with which the client asks again by itself.

Knows the errors and what their kinds mean to a client; nothing of calls but their ticket.
"""

from collections.abc import Mapping
from typing import Any

from mcp import MCPError, types
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from semel.errors import CallError, Draining, KeyMissing, KeyReused, NoLeader, SemelError, Undecided
from semel.gateway import meta
from semel.gateway.doors.asked import Asked, ticket_of
from semel.gateway.doors.ticket import HELD_MAX

_TITLES: Mapping[type[SemelError], tuple[str, int]] = {
    KeyMissing: ("Idempotency-Key is missing", 400),
    KeyReused: ("Idempotency-Key is already used", 422),
    Undecided: ("A request is outstanding for this Idempotency-Key", 409),
}
"""The three problems that the IETF's draft of `Idempotency-Key` knows, as it titles and numbers them. (A retry while
the call runs is none here: it waits for the same outcome.)"""


def as_protocol_error(error: SemelError) -> MCPError:
    """Return `error` as JSON-RPC has it: the request's fault, or the cluster's; `data` says which error it is."""
    code = types.INVALID_PARAMS if isinstance(error, CallError) else types.INTERNAL_ERROR
    return MCPError(code, str(error), data_of(error))


def may_ask_again(error: SemelError, given: Asked, protocol_version: str) -> bool:
    """Return True if the client will ask again by itself, and that may help.

    Not when a node is busy: requests that come again at once would make it busier.
    """
    passing = isinstance(error, NoLeader | Undecided | Draining)
    return passing and given.held < HELD_MAX and protocol_version in MODERN_PROTOCOL_VERSIONS


def held(error: SemelError, given: Asked) -> dict[str, Any]:
    """Return an InputRequiredResult that asks for nothing but to be asked again, and says why."""
    ticket = ticket_of(given, held=given.held + 1)
    why = {**data_of(error), "message": str(error)}
    said = {meta.KEY: given.key, meta.HELD: why}
    return {"resultType": "input_required", "requestState": ticket.text(), "_meta": said}


def data_of(error: SemelError) -> dict[str, Any]:
    """Return what a program may want to know of an error."""
    data: dict[str, Any] = {"source": "semel", "code": error.code, "retrySafe": error.retry_safe}
    if type(error) in _TITLES:
        data["title"], data["status"] = _TITLES[type(error)]
    return data
